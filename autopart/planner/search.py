"""Branch and bound over boxes: a setting, an interval of the slowest stage's time, one of the longest synchronisation.

Every box is closed by a bound that enters the final lower bound, whatever closed it; so does every column that is dropped.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autopart.planner.bounds import Bound, Path, floor_of, relax
from autopart.planner.columns import Chain, Columns, make_chain, make_columns
from autopart.planner.paths import through
from autopart.planner.problem import Array, Candidate, Choice, Problem, Solution

CANDIDATES = 8
NEAR = 1.15  # the formula overestimates 1F1B by so much where there are about as many microbatches as stages
ROUGH = 0.05  # gap of the search for candidates beside the incumbent
SMALL = 300  # columns that go to the integer program at once
EFFORT = 0.5  # deterministic seconds of an integer program's first attempt
LARGE = 1500  # columns that it is spared, as long as the box can be split

Stages = tuple[tuple[int, int, int], ...]  # (start, stop, column)


@dataclass(frozen=True, slots=True)
class Floors:
    """No plan of a box has a slowest stage below ``time_s``, or a longest synchronisation below ``sync_s``."""

    time_s: float
    sync_s: float


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the integer program says of a box: a bound; the pipeline that it found, if any; whether there is none below the
    cutoff, whether what it found is the best, and whether its maxima were exact.
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
    ) -> Leaf: ...


@dataclass(frozen=True, eq=False)
class Root:
    """A setting made ready. ``ceiling_s`` exceeds the step of any of its pipelines."""

    chain: Chain
    columns: Columns
    ceiling_s: float


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


class _TimeUpError(Exception):
    pass


@dataclass(slots=True)
class _Search:
    """The state of one call."""

    problem: Problem
    solve_leaf: SolveLeaf
    gap: float
    started: float
    time_limit_s: float
    progress: Callable[[float, float, float], None]
    roots: dict[int, Root] = field(default_factory=dict)
    heap: list[tuple[float, int, int, Box | None]] = field(default_factory=list)  # bound, age, setting, box (None: not yet made)
    pushed: int = 0
    current_s: float = float("inf")  # bound of the box in hand
    closed_s: float = float("inf")  # smallest bound of what was closed or dropped
    found: dict[object, Candidate] = field(default_factory=dict)
    best_s: float = float("inf")
    proof: str = ""

    @property
    def cutoff_s(self) -> float:
        """Plans that cost as much are not worth finding."""
        return self.best_s * (1 - self.gap)

    @property
    def bound_s(self) -> float:
        waiting = self.heap[0][0] if self.heap else float("inf")
        return min(self.closed_s, self.current_s, waiting, self.best_s)

    def remaining_s(self) -> float:
        return self.started + self.time_limit_s - time.monotonic()

    def check(self) -> None:
        if self.remaining_s() <= 0:
            raise _TimeUpError

    def close(self, bound_s: float) -> None:
        self.closed_s = min(self.closed_s, bound_s)

    def push(self, box: Box) -> None:
        heapq.heappush(self.heap, (box.bound_s, self.pushed, box.setting, box))
        self.pushed += 1


def branch_and_bound(
    problem: Problem,
    solve_leaf: SolveLeaf,
    *,
    gap: float,
    time_limit_s: float,
    progress: Callable[[float, float, float], None],
) -> Solution:
    """Best box first, over all settings at once."""
    search = _Search(problem, solve_leaf, gap, time.monotonic(), time_limit_s, progress)
    for index, setting in enumerate(problem.settings):
        if setting.options:
            heapq.heappush(search.heap, (0.0, index, index, None))
    search.pushed = len(problem.settings)
    try:
        _run(search)
        search.proof = "gap" if search.found else "infeasible"
        _look_elsewhere(search)
    except _TimeUpError:
        search.proof = search.proof or "time limit"
    except KeyboardInterrupt:
        search.proof = search.proof or "interrupted"
    return Solution(_ranked(search), search.bound_s, search.proof)


def _look_elsewhere(search: _Search) -> None:
    """A rough best pipeline of every setting that has none within ``NEAR`` of the incumbent: the formula is not the last word."""
    near_s = NEAR * search.best_s
    seen = {candidate.setting for candidate in search.found.values() if candidate.step_s <= near_s}
    for index in sorted(search.roots.keys() - seen):
        side = _Search(search.problem, search.solve_leaf, ROUGH, search.started, search.time_limit_s, silent, search.roots)
        side.best_s = near_s / (1 - ROUGH)
        side.heap = [(0.0, 0, index, None)]
        _run(side)
        search.found |= side.found


def _run(search: _Search) -> None:
    while search.heap:
        bound_s, _, setting, box = search.heap[0]
        if bound_s >= search.cutoff_s:
            return
        search.check()
        search.current_s = bound_s
        heapq.heappop(search.heap)
        box = box or _make_root(search, setting)
        if box is not None:
            _examine(search, box)
        search.current_s = float("inf")
        search.progress(search.best_s, search.bound_s, time.monotonic() - search.started)


def silent(_incumbent_s: float, _bound_s: float, _elapsed_s: float) -> None:
    return


def _make_root(search: _Search, index: int) -> Box | None:
    if index in search.roots:
        return _root_box(index, search.roots[index])
    setting = search.problem.settings[index]
    chain = make_chain(search.problem, setting)
    columns = make_columns(search.problem, setting, chain)
    if not len(columns):
        return None
    ceiling_s = 2 * ((chain.limit + chain.microbatches - 1) * float(columns.time_s.max()) + float(columns.sync_s.max()))
    search.roots[index] = Root(chain, columns, max(ceiling_s, 1e-300))
    return _root_box(index, search.roots[index])


def _root_box(index: int, root: Root) -> Box:
    return Box(index, 0.0, root.columns, Floors(-1.0, -1.0), np.zeros(len(root.chain.devices)))


def _examine(search: _Search, box: Box) -> None:
    """Bound a box; close it, solve it, or split it."""
    root = search.roots[box.setting]
    box, floors = _tighten(search, box)
    if floors is None:
        return
    microbatches = root.chain.microbatches
    base_s = (microbatches - 1) * floors.time_s + floors.sync_s
    width_s = (
        (microbatches - 1) * (float(box.columns.time_s.max()) - floors.time_s) + float(box.columns.sync_s.max()) - floors.sync_s
    )
    enough_s = min(search.cutoff_s, root.ceiling_s) - base_s
    bound = relax(
        root.chain, box.columns, price=box.price, paths=box.paths, scale=root.ceiling_s, enough_s=enough_s,
        tolerance_s=max(0.02 * width_s, 1e-3 * search.gap * min(search.best_s, root.ceiling_s)), check=search.check,
    )  # fmt: skip
    for path in bound.paths[len(box.paths) :]:
        if (path.usage <= root.chain.devices).all() and (path.usage >= root.chain.least).all():
            _offer(search, box.setting, _placed(root.chain, box.columns, path))
    box = replace(box, bound_s=max(box.bound_s, bound.value_s + base_s), price=bound.price, paths=bound.paths)
    search.current_s = box.bound_s
    if box.bound_s >= root.ceiling_s:
        return  # no pipeline costs as much: there is none
    if box.bound_s >= search.cutoff_s:
        search.close(box.bound_s)
        return
    by_column = _bound_by_column(root.chain, box.columns, bound, floors)
    box = _drop(search, box, by_column)
    if not len(box.columns):
        return
    _solve_or_split(search, box, floors, by_column[by_column < min(search.cutoff_s, root.ceiling_s)])


def _tighten(search: _Search, box: Box) -> tuple[Box, Floors | None]:
    """Floors that follow from the columns, and without the columns that they alone rule out; None for an empty box."""
    chain = search.roots[box.setting].chain
    floors: Floors | None = None
    for _ in range(3):
        columns = box.columns
        if not (len(columns) and columns.time_s.max() > box.over.time_s and columns.sync_s.max() > box.over.sync_s):
            return box, None
        floors = Floors(
            max(floor_of(chain, columns, columns.time_s), float(columns.time_s[columns.time_s > box.over.time_s].min())),
            max(floor_of(chain, columns, columns.sync_s), float(columns.sync_s[columns.sync_s > box.over.sync_s].min())),
        )
        if not np.isfinite(floors.time_s):
            return box, None
        slowest, longest = np.maximum(columns.time_s, floors.time_s), np.maximum(columns.sync_s, floors.sync_s)
        box = _drop(search, box, columns.time_s + (chain.microbatches - 1) * slowest + longest)
        if len(box.columns) == len(columns):
            break
    return box, floors if len(box.columns) else None


def _bound_by_column(chain: Chain, columns: Columns, bound: Bound, floors: Floors) -> Array:
    """No plan of the box that uses the column costs less."""
    sums = through(chain, columns, bound.cost, bound.tables) - float(bound.price @ chain.devices)
    slowest, longest = np.maximum(columns.time_s, floors.time_s), np.maximum(columns.sync_s, floors.sync_s)
    found: Array = sums + (chain.microbatches - 1) * slowest + longest
    return found


def _drop(search: _Search, box: Box, by_column: Array) -> Box:
    """The box without columns whose plans are not worth finding; what they could cost is remembered."""
    ceiling_s = search.roots[box.setting].ceiling_s
    keep = by_column < min(search.cutoff_s, ceiling_s)
    possible = by_column[~keep & (by_column < ceiling_s)]
    if len(possible):
        search.close(float(possible.min()))
    return _restrict(box, keep)


def _restrict(box: Box, keep: NDArray[np.bool_]) -> Box:
    if keep.all():
        return box
    number = np.cumsum(keep) - 1
    paths = tuple(replace(path, columns=number[path.columns]) for path in box.paths if keep[path.columns].all())
    return replace(box, columns=box.columns.take(keep), paths=paths)


def _solve_or_split(search: _Search, box: Box, floors: Floors, by_column: Array) -> None:
    root, columns = search.roots[box.setting], box.columns
    over_time_s = (root.chain.microbatches - 1) * (float(columns.time_s.max()) - floors.time_s)
    over_sync_s = float(columns.sync_s.max()) - floors.sync_s
    width_s = max(over_time_s, 0.0) + max(over_sync_s, 0.0)
    tolerance_s = search.gap * min(search.best_s, root.ceiling_s)
    narrow, splits = width_s <= 2 * tolerance_s, width_s > 0.1 * tolerance_s
    if len(columns) <= SMALL or not splits or (narrow and len(columns) <= LARGE):
        leaf = _solve(search, box, floors)
        box = replace(box, bound_s=max(box.bound_s, leaf.bound_s), attempts=box.attempts + 1)
        if box.bound_s >= search.cutoff_s or leaf.empty or (leaf.optimal and (leaf.exact or not splits)):
            search.close(box.bound_s)
            return
    else:
        few = np.argsort(by_column, kind="stable")[:SMALL]
        _solve(search, _restrict(box, np.isin(np.arange(len(columns)), few)), floors)
    if not splits:
        search.push(box)
    elif over_time_s >= over_sync_s:
        _split(search, box, floors, by="time")
    else:
        _split(search, box, floors, by="sync")


def _solve(search: _Search, box: Box, floors: Floors) -> Leaf:
    """Give a box to the integer program, with an effort that doubles at every attempt."""
    root = search.roots[box.setting]
    worth_s = max(box.bound_s, 1e-9 * root.ceiling_s)  # no more than what a plan of this box costs
    leaf = search.solve_leaf(
        root.chain, box.columns, floors, cutoff_s=search.cutoff_s, unit_s=1e-3 * search.gap * worth_s,
        slack_s=0.25 * search.gap * worth_s, effort_s=EFFORT * 2.0**box.attempts, time_s=search.remaining_s(),
    )  # fmt: skip
    if leaf.stages is not None:
        _offer(search, box.setting, tuple(Choice(i, j, int(box.columns.option[c])) for i, j, c in leaf.stages))
    return leaf


def _split(search: _Search, box: Box, floors: Floors, *, by: str) -> None:
    """Halve the interval of the slowest stage's time, or of the longest synchronisation."""
    costs = box.columns.time_s if by == "time" else box.columns.sync_s
    floor_s = floors.time_s if by == "time" else floors.sync_s
    middle_s = (floor_s + float(costs.max())) / 2
    over = Floors(middle_s, box.over.sync_s) if by == "time" else Floors(box.over.time_s, middle_s)
    search.push(_restrict(box, costs <= middle_s))
    search.push(replace(box, over=over))


def _placed(chain: Chain, columns: Columns, path: Path) -> tuple[Choice, ...]:
    """A pipeline of the dynamic program, on its intervals."""
    lengths = (chain.shapes.stop - chain.shapes.start)[columns.shape[path.columns]]
    stops = np.cumsum(lengths)
    options = columns.option[path.columns]
    return tuple(Choice(int(b - k), int(b), int(o)) for b, k, o in zip(stops, lengths, options, strict=True))


def _offer(search: _Search, setting: int, choices: tuple[Choice, ...]) -> None:
    """Remember a feasible pipeline at its exact price, one for each setting, cuts and devices."""
    step = _step_s(search.problem, setting, choices)
    options = search.problem.settings[setting].options
    key = (setting, tuple((c.start, c.stop, options[c.option].usage) for c in choices))
    if key not in search.found or step < search.found[key].step_s:
        search.found[key] = Candidate(setting, choices, step)
    search.best_s = min(search.best_s, step)


def _step_s(problem: Problem, setting: int, choices: tuple[Choice, ...]) -> float:
    """The formula, from the problem's own numbers."""
    chosen = problem.settings[setting]
    times, syncs = [], []
    for c in choices:
        option = chosen.options[c.option]
        entry = float(option.boundary_s[c.start]) if c.start > 0 else 0.0
        leave = float(option.boundary_s[c.stop]) if c.stop < problem.blocks else 0.0
        inside = float(option.time_s[:, c.start : c.stop].sum(axis=1).max())
        times.append(inside + entry + leave + option.hand_on_s(c.stop))
        syncs.append(option.exposed_s(c.start, c.stop))
    return sum(times) + (chosen.microbatches - 1) * max(times) + max(syncs)


def _ranked(search: _Search) -> tuple[Candidate, ...]:
    """The best few: at most three of a setting as long as others are left, since they are to be scored by simulation."""
    ordered = sorted(search.found.values(), key=lambda c: (c.step_s, c.setting, [(d.start, d.stop, d.option) for d in c.choices]))
    first = [c for n, c in enumerate(ordered) if sum(d.setting == c.setting for d in ordered[:n]) < 3]
    rest = [c for c in ordered if c not in first]
    return tuple(sorted((first + rest)[:CANDIDATES], key=lambda c: c.step_s))
