"""How far every cost model is from whole blocks that were measured.

    autopart profile benchmarks/costs/gpt2.py --devices cluster.yaml -o gpt2.costs.json
    python -m benchmarks.costs.errors gpt2.costs.json bert.costs.json resnet.costs.json

Blocks are weighted by their time, so that an embedding of 20 us does not count like a layer of 20 ms; beside that the plain mean.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from autopart.cluster.costs import load_costs
from cost_models.accuracy import Errors, block_errors
from cost_models.measured import BlockCurve, Measurements, Sample


def main(paths: Sequence[str]) -> None:
    print(f"{'':24}{'blocks':>8}{'datasheet':>12}{'fit':>8}{'unseen':>8}{'ops one by one':>16}")
    for path in paths:
        measured = load_costs(path)
        errors = {error.name: error for error in block_errors(measured)}
        blocks = [block for block in measured.blocks.values() if block.name in errors]
        one_by_one = {block.name: _one_by_one(measured, block) for block in blocks}
        for name, weights in (("by time", [_time(block) for block in blocks]), ("plain", [1.0] * len(blocks))):
            row = [_mean(blocks, weights, errors, pick) for pick in (_analytic, _fitted, _unseen)]
            row.append(sum(one_by_one[b.name] * w for b, w in zip(blocks, weights, strict=True)) / sum(weights))
            cells = "".join(f"{error:>{width}.0%}" for error, width in zip(row, (12, 8, 8, 16), strict=True))
            print(f"{path[:16]:16}{name:8}{len(blocks):>8}{cells}")


def _mean(
    blocks: Sequence[BlockCurve], weights: Sequence[float], errors: dict[str, Errors], pick: Callable[[Errors], float]
) -> float:
    return sum(pick(errors[block.name]) * weight for block, weight in zip(blocks, weights, strict=True)) / sum(weights)


def _analytic(error: Errors) -> float:
    return error.analytic


def _fitted(error: Errors) -> float:
    return error.fitted


def _unseen(error: Errors) -> float:
    return error.unseen


def _time(block: BlockCurve) -> float:
    return sum(sample.forward_s + sample.backward_s for sample in block.samples)


def _one_by_one(measured: Measurements, block: BlockCurve) -> float:
    """Of the sum of its ops as measured alone, nothing scaled."""
    off = [abs(_ops_s(measured, block, sample) / (sample.forward_s + sample.backward_s) - 1) for sample in block.samples]
    return sum(off) / len(off)


def _ops_s(measured: Measurements, block: BlockCurve, at: Sample) -> float:
    found = 0.0
    for key, count in block.ops:
        sample = next(sample for sample in measured.ops[key].samples if sample.rows == at.rows)
        found += count * (sample.forward_s + sample.backward_s)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
