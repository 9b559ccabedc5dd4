"""Which gradients are summed over which ranks at the end of a step."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from autopart.program.program import Program

BUCKET_BYTES = 25 * 2**20  # gradients are summed in buckets of this size, as they become final in the last backward
UNDER_WAY = 2  # buckets that travel at a time
WHOLE = -1  # in place of a column: held whole by all of them


@dataclass(frozen=True, slots=True)
class GradientSum:
    """Parameters that the same stages hold alike: their gradients are summed over ``ranks``. One stage is the ordinary case,
    several share a tied parameter.

    What is held whole is summed over all ranks of the stages, a shard over the ranks of its column. ``zero``: the level at
    which these ranks share out what belongs to the parameters; 0 where several stages hold them.
    """

    stages: tuple[int, ...]
    ranks: tuple[int, ...]
    parameters: tuple[str, ...]
    zero: int = 0

    def shared_out(self, frozen: Container[str]) -> tuple[str, ...]:
        """Those that the ranks share out: below level 3 there is nothing of a frozen parameter to share."""
        return tuple(name for name in self.parameters if self.zero == 3 or (self.zero and name not in frozen))


def gradient_sums(program: Program) -> tuple[GradientSum, ...]:
    """All of them, in the order in which every rank must run those it takes part in; none where one rank holds the parameter."""
    holders: dict[str, list[int]] = {}
    for stage in program.stages:
        for name in stage.parameters:
            holders.setdefault(name, []).append(stage.index)
    groups: dict[tuple[tuple[int, ...], int], list[str]] = {}
    for name, held in holders.items():
        for column in _columns(program, name, held[0]):
            groups.setdefault((tuple(held), column), []).append(name)
    found = (_sum(program, held, column, tuple(groups[held, column])) for held, column in sorted(groups))
    return tuple(group for group in found if len(group.ranks) > 1)


def _columns(program: Program, name: str, stage: int) -> Iterator[int]:
    yield from range(program.stages[stage].tensor) if name in program.shards else (WHOLE,)


def _sum(program: Program, held: tuple[int, ...], column: int, parameters: tuple[str, ...]) -> GradientSum:
    stages = [program.stages[index] if column == WHOLE else program.stages[index].column(column) for index in held]
    ranks = tuple(rank for stage in stages for rank in stage.ranks)
    return GradientSum(held, ranks, parameters, stages[0].zero if len(stages) == 1 and len(ranks) > 1 else 0)
