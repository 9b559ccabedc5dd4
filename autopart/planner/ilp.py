"""The decision, as an integer linear program.

Sets
    blocks 0..n-1 in chain order, cut into runs r of len_r identical blocks (``columns.find_runs``)
    groups g of devices_g devices; slots in nodes (``packing``) and units of budgets are limits of the same sort
    columns c: a shape under an option, with t_c seconds per microbatch, p_c = t_c + the surcharge of what it takes of budgets,
        s_c seconds of synchronisation once a step, u_cg devices, deadline q_c (the largest position from the end, last stage 1,
        at which its activations fit), and b_cr blocks in run r. A column *floats* inside one run, or is *anchored* to one
        interval across runs.
    M microbatches, L the largest possible number of stages

Variables
    z_c in Z>=0                stages that use column c (at most one if anchored)
    later_r                    stages that begin in run r or after it
    v_i, w_i in {0, 1}         the slowest stage (the longest synchronisation) reaches level i of the values that occur
    e_sr in Z>=0               stages of class s right before one of class r (``classes``), which pay p_sr extra at least

Objective
    min  sum_c p_c z_c + (M - 1) max {t_c : z_c > 0} + max {s_c : z_c > 0} + sum_sr p_sr e_sr

Constraints
    (1) cover       sum_c b_cr z_c = len_r for every run
    (2) crossing    sum of z_c across a boundary between two runs <= 1
    (3) devices     least_g <= sum_c u_cg z_c <= devices_g
    (4) stages      sum_c z_c <= L, or = the number that is asked for
    (5) anchored deadlines     later_r + (L - q + 1) sum {z_c : c anchored, ends in r, q_c <= q} <= L
    (6) floating deadlines     n(q) > 0 implies after_r + n(q) <= q, where n(q) = sum {z_c : c floats in r, q_c <= q} and
                               after_r = later_{r+1} + sum {z_c : c anchored, begins in r} stages follow the run's floats
    (7) levels      z_c <= bound_c v_i for the level i of t_c; v_{i+1} <= v_i; likewise w, and what ``pairs`` knows of stages
                    that have neighbours of other classes
    (8) others      of the stages of each forbidden pipeline one column at least is used less often
    (9) pairs       sum_r e_sr = stages of class s but the last, sum_r e_rs = stages of class s but the first,
                    sum_{s != r} e_sr >= number of classes used - 1

A solution of (1)-(6) is a pipeline: a run holds at most one stage that enters from the left (2), then floats, then at most one
that leaves, and they fill it (1). An anchored stage that ends in r is followed by just the stages counted by later_r, hence (5).
A run's floats may be put in any order, since its blocks are identical; by falling deadline from the left is best, and the k-th
from the right sits at after_r + k, hence (6). Identical blocks thus cost one integer per length, not one binary per interval.
What neighbours pay beyond p depends on the order, which the program doesn't choose: ``search`` finds the best one (``order``)
of a choice of stages, forbids that choice (8) and asks again, until the rest cannot be better.

One program over all columns is too large and its linear relaxation too weak, because of the maxima. ``search`` splits the plans
into boxes by (setting, max t, max s), bounds each by a linear program over whole pipelines (``bounds``), drops the columns that
no plan better than the incumbent can use, and gives what is left to the integer program here. Coefficients are rounded down,
so that the program's bound is a bound; the pipelines that it finds are priced again, exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from autopart.cpsat import make_solver, run
from autopart.planner.boxes import Floors, Leaf
from autopart.planner.columns import FOREVER, Chain, Columns
from autopart.planner.order import Stages
from autopart.planner.pairs import pairs
from autopart.planner.problem import Array, Candidate, Ints, Problem, Solution
from autopart.planner.search import branch_and_bound, silent

LEVELS = 40

Row = cp_model.BoundedLinearExpression | bool
Expr = cp_model.LinearExpr | cp_model.IntVar


def solve(
    problem: Problem,
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Callable[[float, float, float], None] | None = None,
    elsewhere: bool = True,
    floor_s: float = 0.0,
    start: Sequence[Candidate] = (),
    enough_s: float = float("inf"),
) -> Solution:
    """The best pipelines and a proven lower bound; ends at a relative ``gap``, at the time limit, or at Ctrl-C with what it has.

    ``progress(incumbent_s, bound_s, elapsed_s)`` is called as they improve. What ends by its gap is the same every time.
    ``elsewhere``: look for candidates under other settings than the incumbent's too. ``floor_s`` is a bound known already.
    ``start`` are the first incumbents.
    A bound of ``enough_s`` is as good as any: pipelines that cost as much are not worth finding.
    """
    return branch_and_bound(
        problem,
        solve_leaf,
        gap=max(gap, 1e-9),
        time_limit_s=time_limit_s,
        progress=progress or silent,
        elsewhere=elsewhere,
        floor_s=floor_s,
        start=start,
        enough_s=enough_s,
    )


@dataclass(frozen=True, eq=False)
class _Uses:
    """Variables of a leaf: ``z[c]``, ``most[c]`` its upper bound, ``later[r]``."""

    z: list[cp_model.IntVar]
    most: list[int]
    later: list[cp_model.IntVar]

    def count(self, where: NDArray[np.bool_]) -> Expr:
        return cp_model.LinearExpr.sum([self.z[c] for c in np.flatnonzero(where)])

    def weighted(self, weights: Ints) -> Expr:
        used = np.flatnonzero(weights)
        return cp_model.LinearExpr.weighted_sum([self.z[c] for c in used], [int(weights[c]) for c in used])


def solve_leaf(
    chain: Chain,
    columns: Columns,
    floors: Floors,
    *,
    cutoff_s: float,
    unit_s: float,
    slack_s: float,
    effort_s: float,
    time_s: float,
    forbidden: Sequence[Stages] = (),
) -> Leaf:
    """The best pipeline of these columns, other than ``forbidden`` ones in any order, whose step is below ``cutoff_s``.

    ``unit_s`` is what one unit of the integer objective is worth; ``slack_s`` the distance from the best at which to stop;
    ``effort_s`` a deterministic limit, ``time_s`` a limit by the clock.
    """
    model = cp_model.CpModel()
    uses = _make_uses(model, chain, columns)
    for row in (
        *cover(chain, columns, uses),
        *crossing(chain, columns, uses),
        *devices(chain, columns, uses),
        *stages(chain, uses),
        *stages_later(chain, columns, uses),
        *anchored_deadlines(chain, columns, uses),
    ):
        model.add(row)
    floating_deadlines(model, chain, columns, uses)
    others(model, uses, forbidden)
    near = pairs(model, chain, columns, uses.z)
    times, most = np.concatenate((columns.time_s, near.slowest_s)), [*uses.most, *[chain.limit] * len(near.slow)]
    steady = (chain.microbatches - 1) / unit_s
    slowest, exact_time = levels(model, uses.z + near.slow, most, times, floors.time_s, steady)
    longest, exact_sync = levels(model, uses.z, uses.most, columns.sync_s, floors.sync_s, 1 / unit_s)
    between = cp_model.LinearExpr.weighted_sum(near.count, [int(cost) for cost in near.cost_s / unit_s])
    objective = uses.weighted(np.floor(columns.cost_s / unit_s).astype(np.int64)) + slowest + longest + between
    base_s = (chain.microbatches - 1) * floors.time_s + floors.sync_s
    if np.isfinite(cutoff_s):
        model.add(objective <= int((cutoff_s - base_s) / unit_s) + 1)
    model.minimize(objective)
    solver = _make_solver(slack_s / unit_s, effort_s, time_s)
    status = run(solver, model)
    if status == cp_model.INFEASIBLE:
        return Leaf(cutoff_s, empty=True)
    assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.UNKNOWN), solver.status_name(status)
    bound_s = max(base_s, min(cutoff_s, base_s + solver.best_objective_bound * unit_s))
    if status == cp_model.UNKNOWN:
        return Leaf(bound_s)
    used = np.array([solver.value(z) for z in uses.z], dtype=np.int64)
    exact = exact_time and exact_sync
    return Leaf(bound_s, in_order(chain, columns, used), optimal=status == cp_model.OPTIMAL, exact=exact)


def _make_solver(slack: float, effort_s: float, time_s: float) -> cp_model.CpSolver:
    """A limit that does not depend on the clock: the same search every time."""
    solver = make_solver()
    solver.parameters.cp_model_presolve = False  # OR-tools 9.15 can presolve the optimum away (google/or-tools#5274, #5293)
    solver.parameters.linearization_level = 2
    solver.parameters.absolute_gap_limit = float(int(slack))
    solver.parameters.max_deterministic_time = effort_s
    solver.parameters.max_time_in_seconds = max(time_s, 0.01)
    return solver


def _make_uses(model: cp_model.CpModel, chain: Chain, columns: Columns) -> _Uses:
    shapes = chain.shapes
    length = (shapes.stop - shapes.start)[columns.shape]
    capacity = np.array([b - a for a, b in shapes.runs])[shapes.first[columns.shape]]
    usage = chain.usage[columns.option]
    by_devices = np.where(usage > 0, chain.devices // np.maximum(usage, 1), chain.limit).min(axis=1)
    floating = shapes.floats[columns.shape]
    most = np.where(floating, np.minimum(np.minimum(capacity // length, by_devices), chain.limit), 1)
    z = [model.new_int_var(0, int(m), "") for m in most]
    later = [model.new_int_var(0, chain.limit, "") for _ in range(len(shapes.runs) + 1)]
    return _Uses(z, [int(m) for m in most], later)


def cover(chain: Chain, columns: Columns, uses: _Uses) -> list[Row]:
    """(1) Every block is in exactly one stage."""
    shapes = chain.shapes
    rows: list[Row] = []
    for a, b in shapes.runs:
        overlap = np.minimum(shapes.stop, b) - np.maximum(shapes.start, a)
        rows.append(uses.weighted(np.maximum(overlap, 0)[columns.shape]) == b - a)
    return rows


def crossing(chain: Chain, columns: Columns, uses: _Uses) -> list[Row]:
    """(2) At most one stage crosses a boundary between runs."""
    first, last = chain.shapes.first[columns.shape], chain.shapes.last[columns.shape]
    return [uses.count((first < r) & (last >= r)) <= 1 for r in range(1, len(chain.shapes.runs))]


def devices(chain: Chain, columns: Columns, uses: _Uses) -> list[Row]:
    """(3) No group is asked for more devices, or slots in its nodes, than it has, or for fewer than it is to give, and no budget
    for more than its limit.
    """
    usage = chain.usage[columns.option]
    most: list[Row] = [uses.weighted(usage[:, g]) <= int(limit) for g, limit in enumerate(chain.devices)]
    return most + [uses.weighted(usage[:, g]) >= int(least) for g, least in enumerate(chain.least) if least]


def stages(chain: Chain, uses: _Uses) -> list[Row]:
    """(4) The number of stages is possible, or the one that is asked for."""
    return [uses.later[0] <= chain.limit if chain.pinned is None else uses.later[0] == chain.pinned]


def stages_later(chain: Chain, columns: Columns, uses: _Uses) -> list[Row]:
    """The meaning of later_r."""
    first = chain.shapes.first[columns.shape]
    runs = range(len(chain.shapes.runs))
    return [uses.later[-1] == 0, *(uses.later[r] == uses.later[r + 1] + uses.count(first == r) for r in runs)]


def anchored_deadlines(chain: Chain, columns: Columns, uses: _Uses) -> list[Row]:
    """(5) A stage across runs has few enough stages behind it. So has the float of a run of one block: there is one at most."""
    shapes, limit = chain.shapes, chain.limit
    floating, last = shapes.floats[columns.shape], shapes.last[columns.shape]
    rows: list[Row] = []
    for r, (a, b) in enumerate(shapes.runs):
        if b - a == 1:
            rows += _at_most_one(
                uses.later[r + 1] + uses.count(~floating & (shapes.first[columns.shape] == r)),
                floating & (last == r),
                columns,
                uses,
                limit,
            )
        rows += _at_most_one(uses.later[r], ~floating & (last == r), columns, uses, limit)
    return rows


def _at_most_one(behind: Expr, stage: NDArray[np.bool_], columns: Columns, uses: _Uses, limit: int) -> list[Row]:
    """Of the columns in ``stage`` at most one is used, and ``behind`` stages follow it."""
    return [
        behind + (limit - int(q) + 1) * uses.count(stage & (columns.deadline <= q)) <= limit
        for q in np.unique(columns.deadline[stage])
        if q < FOREVER
    ]


def floating_deadlines(model: cp_model.CpModel, chain: Chain, columns: Columns, uses: _Uses) -> None:
    """(6) The floats of a run of several blocks, sorted by deadline, each have few enough stages behind them."""
    shapes = chain.shapes
    floating, first = shapes.floats[columns.shape], shapes.first[columns.shape]
    for r, (a, b) in enumerate(shapes.runs):
        inside = floating & (first == r)
        if b - a == 1 or not inside.any():
            continue
        after = uses.later[r + 1] + uses.count(~floating & (first == r))
        for q in np.unique(columns.deadline[inside & (columns.deadline < FOREVER)]):
            urgent = inside & (columns.deadline <= q)
            some = model.new_bool_var("")
            model.add(after + uses.count(urgent) <= int(q)).only_enforce_if(some)
            model.add(uses.count(urgent) <= (b - a) * some)


def others(model: cp_model.CpModel, uses: _Uses, forbidden: Sequence[Stages]) -> None:
    """(8) Of each of these choices of stages a column is used less often: what covers the chain too can't use all as often."""
    for stages in forbidden:
        less = []
        for column, count in Counter(column for _, _, column in stages).items():
            less.append(model.new_bool_var(""))
            model.add(uses.z[column] <= count - 1).only_enforce_if(less[-1])
        model.add_bool_or(less)


def levels(
    model: cp_model.CpModel, uses: Sequence[cp_model.IntVar], most: Sequence[int], costs: Array, floor: float, weight: float
) -> tuple[Expr, bool]:
    """(7) ``weight`` times what the largest used cost exceeds ``floor`` by, and whether that is exact.

    Of more than ``LEVELS`` values some are left out; a cost between two is charged the lower one: still a bound.
    """
    values = np.unique(costs[costs > floor])
    exact = len(values) <= LEVELS
    kept = values if exact else values[np.linspace(0, len(values) - 1, LEVELS).astype(np.int64)]
    reached = [model.new_bool_var("") for _ in kept]
    for lower, higher in pairwise(reached):
        model.add_implication(higher, lower)
    level = np.searchsorted(kept, costs, side="right") - 1
    for c in np.flatnonzero((costs > floor) & (level >= 0)).tolist():
        model.add(uses[c] <= most[c] * reached[level[c]])
    rises = np.floor(weight * np.diff(kept, prepend=floor)).astype(np.int64)
    return cp_model.LinearExpr.weighted_sum(reached, [int(rise) for rise in rises]), exact


def in_order(chain: Chain, columns: Columns, used: Ints) -> tuple[tuple[int, int, int], ...]:
    """(start, stop, column) of every stage: (1)-(6) read backwards."""
    shapes = chain.shapes
    floating = shapes.floats[columns.shape]
    anchored = {int(shapes.start[columns.shape[c]]): int(c) for c in np.flatnonzero((used > 0) & ~floating)}
    placed: list[tuple[int, int, int]] = []
    at = 0
    for r, (_, end) in enumerate(shapes.runs):
        inside = np.repeat(np.arange(len(used)), np.where(floating & (shapes.first[columns.shape] == r), used, 0))
        for c in inside[np.argsort(-columns.deadline[inside], kind="stable")]:
            length = int(shapes.stop[columns.shape[c]] - shapes.start[columns.shape[c]])
            placed.append((at, at + length, int(c)))
            at += length
        if at < end:
            c = anchored[at]
            placed.append((at, int(shapes.stop[columns.shape[c]]), c))
            at = placed[-1][1]
    assert at == chain.blocks, "the stages do not fill the chain"
    return tuple(placed)
