"""What branch and bound divides: boxes of pipelines, and what the integer program says of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autopart.planner.bounds import Bound, Path
from autopart.planner.columns import Chain, Columns
from autopart.planner.neighbours import through
from autopart.planner.order import Stages
from autopart.planner.problem import Array


@dataclass(frozen=True, slots=True)
class Floors:
    """No plan of a box has a slowest stage below ``time_s``, or a longest synchronisation below ``sync_s``."""

    time_s: float
    sync_s: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the integer program says of a box: a bound; the pipeline that it found, if any; whether there is none below the
    cutoff, whether what it found is the best, and whether its costs were exact.
    """

    bound_s: float
    stages: Stages | None = None
    empty: bool = False
    optimal: bool = False
    exact: bool = False


class SolveLeaf(Protocol):
    def __call__(
        self,
        chain: Chain,
        columns: Columns,
        floors: Floors,
        *,
        cutoff_s: float,
        unit_s: float,
        slack_s: float,
        effort_s: float,
        time_s: float,
        forbidden: Sequence[Stages],
    ) -> Leaf: ...


@dataclass(frozen=True, eq=False)
class Box:
    """Pipelines of ``columns`` with max t in (over.time_s, ...] and max s in (over.sync_s, ...]; all cost at least ``bound_s``.
    ``price`` and ``paths`` are where its linear program starts; ``attempts`` of the integer program ran out of effort.
    """

    setting: int
    bound_s: float
    columns: Columns
    over: Floors
    price: Array
    paths: tuple[Path, ...] = ()
    attempts: int = 0


def restrict(box: Box, keep: NDArray[np.bool_]) -> Box:
    """With these of its columns."""
    if keep.all():
        return box
    number = np.cumsum(keep) - 1
    paths = tuple(replace(path, columns=number[path.columns]) for path in box.paths if keep[path.columns].all())
    return replace(box, columns=box.columns.take(keep), paths=paths)


def halved(box: Box, floors: Floors, *, by: str) -> tuple[Box, Box]:
    """Below and above the middle of the interval of the slowest stage's time, or of the longest synchronisation."""
    costs = box.columns.time_s if by == "time" else box.columns.sync_s
    floor_s = floors.time_s if by == "time" else floors.sync_s
    middle_s = (floor_s + float(costs.max())) / 2
    over = Floors(middle_s, box.over.sync_s) if by == "time" else Floors(box.over.time_s, middle_s)
    return restrict(box, costs <= middle_s), replace(box, over=over)


def bound_by_column(chain: Chain, columns: Columns, bound: Bound, floors: Floors) -> Array:
    """No plan of the box that uses the column costs less."""
    sums = through(chain, columns, bound.cost, bound.tables) - float(bound.price @ chain.devices)
    slowest, longest = np.maximum(columns.time_s, floors.time_s), np.maximum(columns.sync_s, floors.sync_s)
    found: Array = sums + (chain.microbatches - 1) * slowest + longest
    return found


def placed(chain: Chain, columns: Columns, path: Path) -> Stages:
    """A pipeline of the dynamic program, on its intervals."""
    lengths = (chain.shapes.stop - chain.shapes.start)[columns.shape[path.columns]]
    stops = np.cumsum(lengths)
    return tuple((int(b - k), int(b), int(c)) for b, k, c in zip(stops, lengths, path.columns, strict=True))
