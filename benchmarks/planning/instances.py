"""Planning problems of realistic size with made-up but plausible prices: transformers on mixed clusters.

``python -m benchmarks.planning.instances`` solves a few and prints times and gaps.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from autopart.planner.ilp import solve
from autopart.planner.problem import Option, Part, Problem, Setting, Tie

BACKWARD_AND_FORWARD = 3.0
BYTES_PER_PARAMETER = 16.0  # float32 parameter, gradient and two moments of AdamW


@dataclass(frozen=True, slots=True)
class Hardware:
    """A group of equal devices: achieved FLOP/s, memory, and each device's share of the network."""

    devices: int
    flops: float
    memory_bytes: float
    network_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Layer:
    """A block, by sample: forward FLOPs, bytes kept for backward, bytes handed on; and its parameters."""

    kind: int
    parameters: float
    flops: float
    kept_bytes: float
    output_bytes: float


A100 = Hardware(8, 140e12, 74e9, 12e9)
H100 = Hardware(8, 400e12, 74e9, 25e9)
V100 = Hardware(8, 60e12, 14e9, 3e9)
T4 = Hardware(8, 25e12, 14e9, 1e9)


def transformer(
    layers: int, width: int, tokens: int, vocabulary: int, *, unlike: float = 0.0, halves: bool = False
) -> tuple[Layer, ...]:
    """Embedding, equal layers, head. ``unlike``: relative spread of the layers' sizes, each then a kind of its own;
    ``halves``: attention and MLP are blocks of their own.
    """
    rng = np.random.default_rng(layers)
    table = float(vocabulary) * width
    state = 4.0 * tokens * width
    found = [Layer(0, table, 0.1 * tokens * width, state, state)]
    for index in range(layers):
        scale = 1.0 + unlike * float(rng.uniform(-1, 1))
        whole = (12.0 * width**2 * scale, 24.0 * tokens * width**2 * scale + 4.0 * tokens**2 * width, 8 * state * scale)
        parts = ((1 / 3, 1), (2 / 3, 2)) if halves else ((1.0, 1),)
        for share, kind in parts:
            found.append(Layer(10 + index if unlike else kind, whole[0] * share, whole[1] * share, whole[2] * share, state))
    found.append(Layer(3, table, 2.0 * tokens * table, 8.0 * tokens * vocabulary, 0.0))
    return tuple(found)


def make_problem(
    layers: Sequence[Layer], groups: Sequence[Hardware], batch_size: int, microbatches: Sequence[int], *, tied: bool
) -> Problem:
    """Every power of two of devices of a group, pairs of groups, each with and without recomputation."""
    settings = [
        Setting(schedule, count, tuple(_options(layers, groups, batch_size // count)))
        for schedule in ("1f1b", "gpipe")
        for count in microbatches
        if schedule == "1f1b" or count > 1
    ]
    ties = (Tie(0, len(layers) - 1, BYTES_PER_PARAMETER * layers[0].parameters),) if tied else ()
    return Problem(tuple(b.kind for b in layers), tuple(g.devices for g in groups), tuple(settings), ties)


def _options(layers: Sequence[Layer], groups: Sequence[Hardware], samples: int) -> Iterator[Option]:
    for parts in (*_single_parts(groups, samples), *_paired_parts(groups, samples)):
        for recompute in (False, True):
            yield _option(layers, groups, parts, recompute)


def _single_parts(groups: Sequence[Hardware], samples: int) -> Iterator[tuple[Part, ...]]:
    for group, hardware in enumerate(groups):
        for count in _counts(hardware.devices):
            if count <= samples:
                yield (Part(group, _even(samples, count)),)


def _paired_parts(groups: Sequence[Hardware], samples: int) -> Iterator[tuple[Part, ...]]:
    for a, b in combinations(range(len(groups)), 2):
        for first in _counts(groups[a].devices):
            for second in _counts(groups[b].devices):
                speed = first * groups[a].flops, second * groups[b].flops
                fair = round(samples * speed[0] / sum(speed))
                for mine in sorted({fair + k * max(1, fair // 8) for k in range(-2, 2)}):
                    if mine >= first and samples - mine >= second and max(first, second) <= 4 * min(first, second):
                        yield (Part(a, _even(mine, first)), Part(b, _even(samples - mine, second)))


def _counts(devices: int) -> list[int]:
    """Every count of a small group, powers of two of a large one."""
    return list(range(1, devices + 1)) if devices <= 8 else [2**k for k in range(devices.bit_length()) if 2**k <= devices]


def _even(samples: int, count: int) -> tuple[int, ...]:
    return tuple(samples // count + (i < samples % count) for i in range(count))


def _option(layers: Sequence[Layer], groups: Sequence[Hardware], parts: tuple[Part, ...], recompute: bool) -> Option:
    devices = sum(p.devices for p in parts)
    rows = np.array([max(p.samples) for p in parts], dtype=np.float64)[:, None]
    flops = np.array([groups[p.group].flops for p in parts])[:, None]
    network = min(groups[p.group].network_bytes_per_s for p in parts)
    parameters = np.array([b.parameters for b in layers])
    kept = np.array([b.kept_bytes for b in layers])
    handed = np.array([0.0] + [b.output_bytes for b in layers[:-1]] + [0.0])
    work = np.array([b.flops for b in layers])

    def by_part(row: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.repeat(row[None, :], len(parts), axis=0)

    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(sum(p.devices for p in parts if p.group == g) for g in range(len(groups))),
        time_s=(BACKWARD_AND_FORWARD + recompute) * rows * work / flops,
        boundary_s=float(rows.max()) * handed / network + 2e-5 * (handed > 0),
        sync_s=2 * 4 * parameters * (devices - 1) / devices / network + 1e-12 * parameters,
        capacity_bytes=np.array([groups[p.group].memory_bytes for p in parts]),
        static_bytes=by_part(BYTES_PER_PARAMETER * parameters),
        inflight_bytes=rows * (handed[:-1] if recompute else kept),
        transient_bytes=rows * kept if recompute else by_part(0 * kept),
        output_bytes=rows * handed,
    )


def instances() -> Iterator[tuple[str, Problem]]:
    small = (Hardware(4, 140e12, 40e9, 12e9), Hardware(2, 60e12, 14e9, 3e9), Hardware(2, 25e12, 14e9, 1e9))
    counts = (1, 2, 4, 8, 16, 32)
    gpt2 = transformer(12, 768, 1024, 50257)
    yield "GPT-2, 8 devices of 3 groups", make_problem(gpt2, small, 64, counts, tied=True)
    halves = transformer(12, 768, 1024, 50257, halves=True)
    yield "GPT-2 in half layers, 8 devices of 3 groups", make_problem(halves, small, 64, counts, tied=True)
    uneven = transformer(28, 1024, 1024, 50257, unlike=0.5)
    yield "30 unlike blocks, 8 devices of 3 groups", make_problem(uneven, small, 64, counts, tied=True)
    large = (Hardware(64, 400e12, 74e9, 25e9), Hardware(64, 140e12, 74e9, 12e9))
    many = (16, 32, 64, 128, 256)
    llama = transformer(80, 8192, 4096, 128256)
    yield "80 layers, 64 H100 + 64 A100", make_problem(llama, large, 1024, many, tied=False)
    halved = transformer(80, 8192, 4096, 128256, halves=True)
    yield "80 layers in halves, 64 H100 + 64 A100", make_problem(halved, large, 1024, many, tied=False)
    unlike = transformer(80, 8192, 4096, 128256, unlike=0.3)
    yield "82 unlike blocks, 64 H100 + 64 A100", make_problem(unlike, large, 1024, many, tied=False)
    huge = (Hardware(2048, 400e12, 74e9, 25e9), Hardware(1024, 140e12, 74e9, 12e9), Hardware(1024, 60e12, 30e9, 3e9))
    yield (
        "126 layers, 4096 devices of 3 groups",
        make_problem(transformer(126, 8192, 4096, 128256), huge, 4096, (8, 16, 32, 64, 128, 256), tied=False),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--time-limit", type=float, default=120.0)
    arguments = parser.parse_args()
    for name, problem in instances():
        if arguments.only not in name:
            continue
        started = time.process_time()
        solution = solve(problem, gap=arguments.gap, time_limit_s=arguments.time_limit)
        options = max(len(s.options) for s in problem.settings)
        print(f"{name}: {problem.blocks} blocks, {len(problem.settings)} settings, <= {options} options")
        print(f"    {time.process_time() - started:.2f} s CPU, gap {solution.gap:.3%}, {solution.proof}")
        for candidate in solution.candidates[:3]:
            setting = problem.settings[candidate.setting]
            print(f"    {candidate.step_s:.6f} s {setting.schedule} M={setting.microbatches}, {len(candidate.choices)} stages")


if __name__ == "__main__":
    main()
