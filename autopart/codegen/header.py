"""The docstring of an emitted module: who runs what."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from autopart.plans import Plan
from autopart.program.program import Program

WIDTH = 118
GIB = 2**30


def docstring(program: Program, plan: Plan, devices: Mapping[int, str], memory_bytes: Mapping[int, int]) -> list[str]:
    """The lines, quotes included."""
    count = len(program.actions)
    size = program.batch_size // program.microbatches
    title = (
        f"{PurePath(plan.model.path).name} over {PurePath(plan.cluster.path).name}: {_count(len(program.stages), 'stage')} on "
        f"{_count(count, 'rank')}, {_count(program.microbatches, 'microbatch')} of {size}, {program.schedule}."
    )
    lines = [f'"""{title}'[:WIDTH], "", *(f"    {line}" for line in _table(program, plan, devices, memory_bytes)), ""]
    if plan.estimate is not None:
        took, gap = _seconds(plan.estimate.step_time_s), plan.estimate.gap
        proven = "" if math.isnan(gap) else f"; proven within {gap:.1%} of the best plan"
        lines.append(f"A step takes {took} by simulation{proven}.")
    if plan.unused_ranks:
        lines.append(f"{_ranks(plan.unused_ranks)} idle."[:WIDTH])
    return [*lines, "Emitted by autopart: change the plan rather than this file.", '"""']


def _table(program: Program, plan: Plan, devices: Mapping[int, str], memory_bytes: Mapping[int, int]) -> list[str]:
    rows = [["stage", "ranks", "device", "samples", "runs", "memory"]]
    for spec, stage in zip(program.stages, plan.stages, strict=True):
        names = list(dict.fromkeys(devices.get(rank, "-") for rank in spec.ranks))
        rows.append(
            [
                str(spec.index),
                _short(spec.ranks),
                ", ".join(names),
                _short(spec.shares),
                _runs(stage.blocks) + (" (recomputed)" if spec.recompute else ""),
                _memory(spec.ranks, plan, memory_bytes),
            ]
        )
    kept = [column for column in zip(*rows, strict=True) if set(column[1:]) != {"-"}]
    widths = [max(map(len, column)) for column in kept]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in zip(*kept, strict=True)
    ]


def _memory(ranks: Sequence[int], plan: Plan, memory_bytes: Mapping[int, int]) -> str:
    """What the fullest rank is expected to hold, of what its device has."""
    if plan.estimate is None or not memory_bytes:
        return "-"
    peaks = plan.estimate.peak_bytes
    fullest = max(ranks, key=lambda rank: (peaks.get(rank, 0) / memory_bytes[rank], -rank))
    return f"{peaks.get(fullest, 0) / GIB:.2f} of {memory_bytes[fullest] / GIB:.1f} GiB"


def _runs(blocks: Sequence[str]) -> str:
    text = " ".join(blocks) if len(blocks) <= 3 else f"{blocks[0]} .. {blocks[-1]}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _ranks(ranks: Sequence[int]) -> str:
    return f"Rank {ranks[0]} is" if len(ranks) == 1 else f"Ranks {_short(ranks)} are"


def _short(numbers: Sequence[int]) -> str:
    if len(numbers) > 6:
        return f"{numbers[0]} .. {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _count(number: int, word: str) -> str:
    plural = "es" if word.endswith("h") else "s"
    return f"{number} {word}{'' if number == 1 else plural}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
