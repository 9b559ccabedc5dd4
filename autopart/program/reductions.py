"""Which gradients are summed over which ranks at the end of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autopart.program.program import StageSpec

BUCKET_BYTES = 25 * 2**20  # gradients are summed in buckets of this size, as they become final in the last backward


@dataclass(frozen=True, slots=True)
class GradientSum:
    """Parameters that the same stages hold: their gradients are summed over all ranks of those stages. One stage is the
    ordinary case, several share a tied parameter.
    """

    stages: tuple[int, ...]
    ranks: tuple[int, ...]
    parameters: tuple[str, ...]


def gradient_sums(stages: Sequence[StageSpec]) -> tuple[GradientSum, ...]:
    """All of them, in the order in which every rank must run those it takes part in; none where one rank holds the parameter."""
    holders: dict[str, list[int]] = {}
    for stage in stages:
        for name in stage.parameters:
            holders.setdefault(name, []).append(stage.index)
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, held in holders.items():
        groups.setdefault(tuple(held), []).append(name)
    found = [
        GradientSum(held, tuple(rank for index in held for rank in stages[index].ranks), tuple(groups[held]))
        for held in sorted(groups)
    ]
    return tuple(group for group in found if len(group.ranks) > 1)
