"""Branch and bound over boxes: a setting, an interval of the slowest stage's time, one of the longest synchronisation.

Every box is closed by a bound that enters the final lower bound, whatever closed it; so does every column that is dropped.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from autopart.planner.bounds import floor_of, relax
from autopart.planner.boxes import Box, Floors, Leaf, SolveLeaf, bound_by_column, halved, placed, restrict
from autopart.planner.columns import Columns
from autopart.planner.order import Stages, best_order
from autopart.planner.problem import Array, Candidate, Choice, Problem, Solution, extras_s, step_s
from autopart.planner.roots import Root, make_root
from autopart.planner.work import Work, work_of

CANDIDATES = 8
NEAR = 1.15  # the formula overestimates 1F1B by so much where there are about as many microbatches as stages
FIRST = 1.5  # times its bound: what pipelines of a setting cost that are looked at before there is an incumbent
TRIED = 2  # settings that are first looked at so: where they have no plan, there may be none at all
ELSEWHERE = 3  # boxes of a setting that are searched for such candidates
ROUGH = 0.05  # gap of the search for candidates beside the incumbent
SMALL = 300  # columns that go to the integer program at once
EFFORT = 0.5  # deterministic seconds of an integer program's first attempt
LARGE = 1500  # columns that it is spared, as long as the box can be split

ROUNDS = 20  # choices of stages that an attempt of the integer program may forbid, since their best order is known


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
    floor_s: float = 0.0  # a bound that is known beforehand
    beyond: float = NEAR  # times the incumbent: what columns of a setting are made for
    work: dict[int, Work] = field(default_factory=dict)
    roots: dict[int, Root] = field(default_factory=dict)
    heap: list[tuple[float, int, int, Box | None]] = field(default_factory=list)  # bound, age, setting, box (None: not yet made)
    pushed: int = 0
    current_s: float = float("inf")  # bound of the box in hand
    closed_s: float = float("inf")  # smallest bound of what was closed or dropped
    found: dict[object, Candidate] = field(default_factory=dict)
    best_s: float = float("inf")  # of what was found, or of what is worth finding
    proof: str = ""

    @property
    def cutoff_s(self) -> float:
        """Plans that cost as much are not worth finding."""
        return self.best_s * (1 - self.gap) if np.isfinite(self.best_s) else self.best_s

    @property
    def bound_s(self) -> float:
        waiting = self.heap[0][0] if self.heap else float("inf")
        return min(max(min(self.closed_s, self.current_s, waiting), self.floor_s), self.best_s)

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

    def halve(self, box: Box, floors: Floors, *, by: str) -> None:
        for half in halved(box, floors, by=by):
            self.push(half)

    def wait(self, bound_s: float, setting: int) -> None:
        """Pipelines of a setting, not yet looked at, that cost at least this."""
        heapq.heappush(self.heap, (bound_s, self.pushed, setting, None))
        self.pushed += 1


def branch_and_bound(
    problem: Problem,
    solve_leaf: SolveLeaf,
    *,
    gap: float,
    time_limit_s: float,
    progress: Callable[[float, float, float], None],
    elsewhere: bool = True,
    floor_s: float = 0.0,
    start: Sequence[Candidate] = (),
    enough_s: float = float("inf"),
) -> Solution:
    """Best box first, over all settings at once. ``start`` are pipelines that are known to be feasible."""
    search = _Search(problem, solve_leaf, gap, time.monotonic(), time_limit_s, progress, floor_s)
    for known in start:
        _remember(search, known.setting, known.choices)
    if enough_s < float("inf"):
        search.best_s = enough_s / (1 - gap)
    try:
        _weigh(search)
        _run(search)
        if elsewhere:
            _look_elsewhere(search)
        if search.found:
            search.proof = "gap" if search.bound_s >= search.cutoff_s else "rounds"
        else:
            search.proof = "gap" if enough_s < float("inf") else "infeasible"
    except _TimeUpError:
        search.proof = "time limit"
    except KeyboardInterrupt:
        search.proof = "interrupted"
    return Solution(_ranked(search), search.bound_s, search.proof)


def _weigh(search: _Search) -> None:
    """Bound every setting by how much there is to do."""
    search.current_s = 0.0
    for index, setting in enumerate(search.problem.settings):
        if setting.options:
            search.check()
            search.work[index] = work_of(search.problem.under(setting), setting)
            if np.isfinite(search.work[index].bound_s):  # else a block fits nowhere
                search.wait(search.work[index].bound_s, index)
    search.current_s = float("inf")


def _look_elsewhere(search: _Search) -> None:
    """A rough best pipeline of every setting that has none within ``NEAR`` of the incumbent, and of every other order: the
    formula is not the last word.
    """
    near_s = NEAR * search.best_s
    seen = {candidate.setting for candidate in search.found.values() if candidate.objective_s <= near_s}
    for index in sorted(search.roots.keys() - seen):
        _look_at(search, [index], near_s)
    order_of = [setting.order for setting in search.problem.settings]
    best = {order_of[candidate.setting] for candidate in search.found.values() if candidate.objective_s == search.best_s}
    for order in sorted(set(order_of) - best) if search.found else ():
        _look_at(search, [index for index in search.work if order_of[index] == order], float("inf"))


def _look_at(search: _Search, settings: Iterable[int], limit_s: float) -> None:
    """Adds the best pipelines of these settings, found roughly, that cost less than the limit."""
    side = replace(search, gap=ROUGH, progress=silent, beyond=1 - ROUGH, heap=[], found={}, best_s=limit_s / (1 - ROUGH))
    for index in settings:
        side.wait(search.work[index].bound_s, index)
    _run(side, ELSEWHERE)
    search.found |= side.found


def _run(search: _Search, most: int | None = None) -> None:
    """Until nothing is left that is worth it, or ``most`` boxes were examined."""
    for _ in count() if most is None else range(most):
        if not search.heap:
            return
        bound_s, _, setting, box = search.heap[0]
        if max(bound_s, search.floor_s) >= search.cutoff_s:
            return
        search.check()
        search.current_s = bound_s
        heapq.heappop(search.heap)
        box = box or _make_root(search, setting, bound_s)
        if box is not None:
            _examine(search, box)
        search.current_s = float("inf")
        search.progress(search.best_s, search.bound_s, time.monotonic() - search.started)


def silent(_incumbent_s: float, _bound_s: float, _elapsed_s: float) -> None:
    return


def _make_root(search: _Search, index: int, bound_s: float) -> Box | None:
    """Of a setting, with the columns of its pipelines that are worth finding. Without an incumbent to tell which those are, they
    are those of the quickest ones: the others wait their turn.
    """
    root = search.roots.get(index)
    quick = root is None and bound_s > 0 and not np.isfinite(search.best_s) and len(search.roots) < TRIED
    reach_s = FIRST * bound_s if quick else search.beyond * search.best_s
    if root is None or root.reach_s < reach_s * (1 - 1e-9):
        root = make_root(search.problem, search.problem.settings[index], search.work[index], reach_s)
        search.roots[index] = root
        if root.left_s < search.cutoff_s:
            search.wait(max(bound_s, root.left_s), index)
        elif np.isfinite(root.left_s):
            search.close(root.left_s)
    if not len(root.columns):
        return None
    return Box(index, bound_s, root.columns, Floors(-1.0, -1.0), np.zeros(len(root.chain.devices)))


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
            _offer(search, box.setting, box.columns, placed(root.chain, box.columns, path))
    box = replace(box, bound_s=max(box.bound_s, bound.value_s + base_s), price=bound.price, paths=bound.paths)
    search.current_s = box.bound_s
    if box.bound_s >= root.ceiling_s:
        return  # no pipeline costs as much: there is none
    if box.bound_s >= search.cutoff_s:
        search.close(box.bound_s)
        return
    by_column = bound_by_column(root.chain, box.columns, bound, floors)
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
        box = _drop(search, box, columns.cost_s + (chain.microbatches - 1) * slowest + longest)
        if len(box.columns) == len(columns):
            break
    return box, floors if len(box.columns) else None


def _drop(search: _Search, box: Box, by_column: Array) -> Box:
    """The box without columns whose plans are not worth finding; what they could cost is remembered."""
    ceiling_s = search.roots[box.setting].ceiling_s
    keep = by_column < min(search.cutoff_s, ceiling_s)
    possible = by_column[~keep & (by_column < ceiling_s)]
    if len(possible):
        search.close(float(possible.min()))
    return restrict(box, keep)


def _solve_or_split(search: _Search, box: Box, floors: Floors, by_column: Array) -> None:
    root, columns = search.roots[box.setting], box.columns
    over_time_s = (root.chain.microbatches - 1) * (float(columns.time_s.max()) - floors.time_s)
    over_sync_s = float(columns.sync_s.max()) - floors.sync_s
    width_s = max(over_time_s, 0.0) + max(over_sync_s, 0.0)
    tolerance_s = search.gap * min(search.best_s, root.ceiling_s)
    narrow, splits = width_s <= 2 * tolerance_s, width_s > 0.1 * tolerance_s
    if len(columns) <= SMALL or not splits or (narrow and len(columns) <= LARGE):
        leaf = _solve(search, box, floors, ROUNDS)
        box = replace(box, bound_s=max(box.bound_s, leaf.bound_s), attempts=box.attempts + 1)
        if box.bound_s >= search.cutoff_s or leaf.empty or (leaf.optimal and (leaf.exact or not splits)):
            search.close(box.bound_s)
            return
    else:
        few = np.argsort(by_column, kind="stable")[:SMALL]
        _solve(search, restrict(box, np.isin(np.arange(len(columns)), few)), floors)
    if not splits:
        search.push(box)
    elif over_time_s >= over_sync_s:
        search.halve(box, floors, by="time")
    else:
        search.halve(box, floors, by="sync")


def _solve(search: _Search, box: Box, floors: Floors, rounds: int = 0) -> Leaf:
    """Give a box to the integer program, with an effort that doubles at every attempt.

    The program does not know what only neighbours pay. Where even the best order of the stages that it found costs more than
    it thinks, it is asked for others, up to ``rounds`` times: its bound then holds for these, the incumbent for those before.
    """
    root = search.roots[box.setting]
    worth_s = max(box.bound_s, 1e-9 * root.ceiling_s)  # no more than what a plan of this box costs
    forbidden: list[Stages] = []
    while True:
        leaf = search.solve_leaf(
            root.chain, box.columns, floors, cutoff_s=search.cutoff_s, unit_s=1e-3 * search.gap * worth_s,
            slack_s=0.25 * search.gap * worth_s, effort_s=EFFORT * 2.0**box.attempts, time_s=search.remaining_s(),
            forbidden=forbidden,
        )  # fmt: skip
        if leaf.stages is None:
            return leaf
        extra, exact = _offer(search, box.setting, box.columns, leaf.stages)
        if not (extra and leaf.optimal) or leaf.bound_s >= search.cutoff_s:
            return leaf
        if not exact or len(forbidden) == rounds:
            return replace(leaf, exact=False)
        search.check()
        forbidden.append(leaf.stages)


def _offer(search: _Search, setting: int, columns: Columns, stages: Stages) -> tuple[bool, bool]:
    """Remember a feasible pipeline in its best order.

    Whether neighbours pay something extra in that order, and whether no other order costs less.
    """
    chosen = search.problem.settings[setting]
    ordered = best_order(chosen, search.roots[setting].chain, columns, stages)
    choices = tuple(Choice(i, j, int(columns.option[c])) for i, j, c in ordered.stages)
    _remember(search, setting, choices)
    return any(extras_s(chosen, choices)), ordered.exact


def _remember(search: _Search, setting: int, choices: tuple[Choice, ...]) -> None:
    """A feasible pipeline at its exact price, one for each setting, cuts and devices."""
    chosen = search.problem.settings[setting]
    options = chosen.options
    paid_s = sum(b.unit_s * b.taken(options[c.option]) for b in search.problem.budgets for c in choices)
    candidate = Candidate(setting, choices, step_s(chosen, choices), paid_s)
    key = (setting, tuple((c.start, c.stop, options[c.option].usage) for c in choices))
    if key not in search.found or candidate.objective_s < search.found[key].objective_s:
        search.found[key] = candidate
    search.best_s = min(search.best_s, candidate.objective_s)


def _ranked(search: _Search) -> tuple[Candidate, ...]:
    """The best few of each order of the blocks, best first."""
    ordered = sorted(
        search.found.values(), key=lambda c: (c.objective_s, c.setting, [(d.start, d.stop, d.option) for d in c.choices])
    )
    orders = range(1 + len(search.problem.others))
    of = search.problem.settings
    few = [_few([candidate for candidate in ordered if of[candidate.setting].order == order]) for order in orders]
    return tuple(sorted((c for each in few for c in each), key=lambda c: c.objective_s))


def _few(ordered: Sequence[Candidate]) -> Sequence[Candidate]:
    """At most three of a setting as long as others are left, since they are to be scored by simulation."""
    first = [c for n, c in enumerate(ordered) if sum(d.setting == c.setting for d in ordered[:n]) < 3]
    rest = [c for c in ordered if c not in first]
    return (first + rest)[:CANDIDATES]
