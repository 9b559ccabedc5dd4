"""Columns: what one stage of a pipeline may be, with its costs; the alphabet of the integer program.

A *run* is a stretch of identical blocks between identical boundaries. An interval inside a run *floats*: only its length
matters, so one *shape* stands for all of them. An interval that crosses a run boundary is *anchored*, a shape of its own.
A column is a shape under an option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from autopart.planner.classes import Neighbours, make_neighbours
from autopart.planner.problem import Array, Ints, Problem, Setting
from autopart.planner.stack import Stack, stack_of
from autopart.planner.work import Work

CHUNK = 512  # options that are priced at a time, so that what is dropped at once never takes memory together
LAGS = 8  # columns before a column that may dominate it
FOREVER = np.iinfo(np.int64).max  # deadline of a stage that fits at every position


@dataclass(frozen=True, eq=False)
class Shapes:
    """Intervals up to what the costs can tell apart. ``of[i, j]`` is the shape of [i, j), -1 if j <= i;
    ``start`` and ``stop`` are of its leftmost interval; ``first`` and ``last`` the runs it begins and ends in.
    """

    runs: tuple[tuple[int, int], ...]
    of: Ints
    start: Ints
    stop: Ints
    first: Ints
    last: Ints

    @property
    def floats(self) -> NDArray[np.bool_]:
        """Shapes inside one run, as opposed to anchored ones."""
        return np.equal(self.first, self.last)

    @cached_property
    def intervals(self) -> tuple[Ints, Ints, Ints]:
        """(i, j) of all intervals, those of a shape together; and where each shape begins."""
        i, j = np.nonzero(self.of >= 0)
        shape = self.of[i, j]
        order = np.argsort(shape, kind="stable")
        return i[order], j[order], np.searchsorted(shape[order], np.arange(len(self.start)))


@dataclass(frozen=True, eq=False)
class Columns:
    """Stages that are allowed, sorted by shape and falling deadline. ``time_s`` has what a stage pays whoever its neighbours are.

    ``cost_s`` is what a stage adds to the objective's sum: its time, and the surcharge of what it takes of budgets.
    ``deadline``: the largest position, counted from the end of the pipeline from 1, at which the stage's activations fit.
    """

    shape: Ints
    option: Ints
    time_s: Array
    sync_s: Array
    deadline: Ints
    cost_s: Array

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, where: NDArray[np.bool_] | Ints) -> Columns:
        kept = {field.name: getattr(self, field.name)[where] for field in fields(self)}
        return Columns(**kept)

    @cached_property
    def segments(self) -> Ints:
        """First column of every stretch of equal shape and deadline."""
        changes = (np.diff(self.shape) != 0) | (np.diff(self.deadline) != 0)
        return np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Chain:
    """What all columns of a setting share. ``devices`` of each group, slots in nodes and units of budgets; ``usage[o, g]`` what
    an option takes of them; ``limit`` the most stages that a pipeline can have; ``least`` is taken of them at least.
    """

    blocks: int
    devices: Ints
    microbatches: int
    pinned: int | None
    limit: int
    usage: Ints
    shapes: Shapes
    least: Ints
    neighbours: Neighbours | None = None


def find_runs(problem: Problem, setting: Setting, stack: Stack | None = None) -> tuple[tuple[int, int], ...]:
    """Longest stretches [a, b) of identical blocks whose boundaries a..b cost the same. A tied block is a run by itself."""
    stack = stack or stack_of(problem, setting)
    tied = {block for tie in problem.ties for block in (tie.first, tie.second)}
    by_block = (
        stack.time_s, stack.sync_s, stack.reduce_s, stack.backward_s, stack.static_bytes, stack.inflight_bytes,
        stack.transient_bytes,
    )  # fmt: skip
    same_block = np.all([_equal_neighbours(costs) for costs in by_block], axis=0)
    by_boundary = (stack.boundary_s, stack.end_s, stack.output_bytes)
    same_boundary = np.all([_equal_neighbours(costs) for costs in by_boundary], axis=0)
    if setting.routes is not None:
        same_boundary &= _equal_neighbours(np.array([setting.routes.messages, setting.routes.nbytes]))
    runs: list[tuple[int, int]] = []
    start = 0
    for block in range(1, problem.blocks + 1):
        joins = (
            block < problem.blocks
            and problem.kinds[block] == problem.kinds[block - 1]
            and not {block, block - 1} & tied
            and bool(same_block[block - 1])
            and bool(same_boundary[start : block + 1].all())
            and start > 0  # boundaries 0 and n cost nothing: no run of several blocks may touch them
            and block + 1 < problem.blocks
        )
        if not joins:
            runs.append((start, block))
            start = block
    return tuple(runs)


def _equal_neighbours(costs: Array) -> NDArray[np.bool_]:
    rows = costs.reshape(-1, costs.shape[-1])
    left, right = rows[:, :-1], rows[:, 1:]
    equal: NDArray[np.bool_] = np.all(left == right, axis=0)
    if not equal.all():
        near = np.flatnonzero(~equal)
        equal[near] = np.all(np.abs(left[:, near] - right[:, near]) <= 1e-12 * np.abs(right[:, near]), axis=0)
    return equal


@lru_cache(maxsize=8)
def find_shapes(blocks: int, runs: tuple[tuple[int, int], ...]) -> Shapes:
    """Every interval's shape."""
    run_of = np.repeat(np.arange(len(runs)), [b - a for a, b in runs])
    of = np.full((blocks, blocks + 1), -1, dtype=np.int64)
    found: list[tuple[int, int]] = []
    for i in range(blocks):
        run_start, _ = runs[run_of[i]]
        for j in range(i + 1, blocks + 1):
            floats = run_of[i] == run_of[j - 1]
            if floats and i > run_start:
                of[i, j] = of[run_start, run_start + j - i]
            else:
                of[i, j] = len(found)
                found.append((i, j))
    start, stop = np.array(found, dtype=np.int64).T
    return Shapes(runs, of, start, stop, run_of[start], run_of[stop - 1])


def make_chain(problem: Problem, setting: Setting, stack: Stack | None = None) -> Chain:
    stack = stack or stack_of(problem, setting)
    shapes = find_shapes(problem.blocks, find_runs(problem, setting, stack))
    limit = min(problem.blocks, sum(problem.devices), problem.stages or problem.blocks)
    devices = np.array(problem.limits, dtype=np.int64)
    least = np.zeros(len(devices), dtype=np.int64)
    least[: len(problem.least)] = problem.least
    neighbours = make_neighbours(setting, stack.usage, devices)
    return Chain(problem.blocks, devices, setting.microbatches, problem.stages, limit, stack.usage, shapes, least, neighbours)


def make_columns(problem: Problem, setting: Setting, chain: Chain) -> Columns:
    """All columns of a setting that fit somewhere, less those that another one of the same devices dominates."""
    stack = stack_of(problem, setting)
    nothing = Work(setting.microbatches, np.zeros(problem.blocks), np.zeros(len(setting.options)))
    return columns_below(problem, setting, chain, stack, nothing, np.inf)[0]


def columns_below(
    problem: Problem, setting: Setting, chain: Chain, stack: Stack, work: Work, reach_s: float
) -> tuple[Columns, float]:
    """Those that ``work`` does not keep out of all pipelines whose step is below ``reach_s``; and the shortest step that the
    others could have.
    """
    own, left_s = [], np.inf
    sums, surcharge_s = _Sums(stack, problem), _surcharges(problem, stack.usage)
    able, kind = np.flatnonzero((stack.usage <= chain.devices).all(axis=1)), _alike(setting, stack.usage)
    for options in np.array_split(able, max(1, -(-len(able) // CHUNK))):
        time, sync = _times(sums, chain.shapes, options)
        if chain.neighbours is not None:
            time += chain.neighbours.alone_s(options, chain.shapes.start, chain.shapes.stop)
        inside = _interval_sums(work.work_s[None, :], chain.shapes.start, chain.shapes.stop)[0]
        by_column = work.by_column(work.taken[options, None], inside, time, sync)
        keep = (by_column < reach_s) | (reach_s == np.inf)
        left_s = min(left_s, float(by_column[~keep].min(initial=np.inf)))
        option, shape = np.nonzero(keep)
        deadline = _round_up_deadlines(_deadlines(sums, chain.shapes, setting, options, option, shape), shape, chain)
        fits = deadline > 0
        chosen, own_s = options[option[fits]], time[keep][fits]
        found = Columns(shape[fits], chosen, own_s, sync[keep][fits], deadline[fits], own_s + surcharge_s[chosen])
        own.append(_undominated(found, kind))
    columns = _undominated(_joined(own), kind)
    return columns.take(np.lexsort((columns.option, -columns.deadline, columns.shape))), left_s


def _surcharges(problem: Problem, usage: Ints) -> Array:
    """[option] what is paid for the units of budgets, which are the last limits."""
    unit_s = np.array([budget.unit_s for budget in problem.budgets])
    found: Array = usage[:, usage.shape[1] - len(unit_s) :] @ unit_s
    return found


def _joined(parts: Sequence[Columns]) -> Columns:
    return Columns(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Columns)))


@dataclass(frozen=True, eq=False)
class _Sums:
    """Of every quantity over the blocks before each boundary: an interval's is a difference."""

    stack: Stack
    problem: Problem

    @cached_property
    def time_s(self) -> Array:
        return _before(self.stack.time_s)

    @cached_property
    def sync_s(self) -> Array:
        return _before(self.stack.sync_s)

    @cached_property
    def reduce_s(self) -> Array:
        return _before(self.stack.reduce_s)

    @cached_property
    def backward_s(self) -> Array:
        return _before(self.stack.backward_s)

    @cached_property
    def static_bytes(self) -> Array:
        return _before(self.stack.static_bytes)

    @cached_property
    def inflight_bytes(self) -> Array:
        return _before(self.stack.inflight_bytes)


def _before(costs: Array) -> Array:
    found = np.zeros((*costs.shape[:-1], costs.shape[-1] + 1))
    np.cumsum(costs, axis=-1, out=found[..., 1:])
    return found


def _times(sums: _Sums, shapes: Shapes, options: Ints) -> tuple[Array, Array]:
    """[option, shape] seconds per microbatch, seconds of synchronisation."""
    i, j, stack = shapes.start, shapes.stop, sums.stack
    boundary = stack.boundary_s[options]
    time = np.max([_differences(line, i, j) for line in sums.time_s[:, options]], axis=0)
    time += np.take(boundary, i, axis=1) + np.take(boundary + stack.end_s[options], j, axis=1)
    sync = _differences(sums.sync_s[options], i, j)
    hides = np.flatnonzero(stack.reduce_s[options].any(axis=1))
    if len(hides):
        reduce_s, backward_s = (_differences(each[options[hides]], i, j) for each in (sums.reduce_s, sums.backward_s))
        last = 1.0 / np.maximum(1.0, reduce_s / stack.bucket_s[options[hides], None])
        sync[hides] -= np.minimum(reduce_s, backward_s) * (1.0 - last)
    return time, sync


def _differences(before: Array, start: Ints, stop: Ints) -> Array:
    """[.., boundary] -> [.., interval]"""
    found: Array = np.take(before, stop, axis=-1) - np.take(before, start, axis=-1)
    return found


def _interval_sums(costs: Array, start: Ints, stop: Ints) -> Array:
    return _differences(_before(costs), start, stop)


def _deadlines(sums: _Sums, shapes: Shapes, setting: Setting, options: Ints, own: Ints, shape: Ints) -> Ints:
    """Of pairs of one of these options and a shape."""
    i, j, stack, option = shapes.start[shape], shapes.stop[shape], sums.stack, options[own]
    saved = np.zeros(len(shape))
    for tie, by_option in zip(sums.problem.ties, stack.tied_bytes.T, strict=True):
        saved += by_option[option] * ((i <= tie.first) & (tie.second < j))
    counts = np.full(len(shape), setting.microbatches)
    for line in range(len(stack.capacity_bytes)):
        static, inflight = sums.static_bytes[line], sums.inflight_bytes[line]
        once = static[option, j] - static[option, i] + _interval_maxima(stack.transient_bytes[line, options], own, i, j) - saved
        each = inflight[option, j] - inflight[option, i] + stack.output_bytes[line][option, j]
        counts = np.minimum(counts, _counts_that_fit(stack.capacity_bytes[line][option], once, each, setting.microbatches))
    if setting.schedule == "gpipe":
        counts = np.where(counts >= setting.microbatches, setting.microbatches, 0)
    deadline: Ints = np.where(counts >= setting.microbatches, FOREVER, counts)
    return deadline


def _interval_maxima(costs: Array, option: Ints, start: Ints, stop: Ints) -> Array:
    """The largest of costs[option, start:stop]: of two stretches of a power of two that cover it."""
    found = np.zeros(len(option))
    power = np.frexp((stop - start).astype(np.float64))[1] - 1
    table = costs
    for exponent in range(int(power.max(initial=-1)) + 1):
        at = np.flatnonzero(power == exponent)
        found[at] = np.maximum(table[option[at], start[at]], table[option[at], stop[at] - 2**exponent])
        table = np.maximum(table[:, : -(2**exponent)], table[:, 2**exponent :])
    return found


def _counts_that_fit(capacity: Array, once: Array, each: Array, most: int) -> Ints:
    """Largest count <= most with once + count * each <= capacity (this very inequality, not its rounded quotient); 0 if none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(each > 0, (capacity - once) / each, np.where(once <= capacity, np.inf, 0.0))
    count = np.floor(np.clip(quotient, 0, most))
    count += (count < most) & (once + (count + 1) * each <= capacity)
    count -= once + count * each > capacity
    whole: Ints = np.maximum(count, 0).astype(np.int64)
    return whole


def _round_up_deadlines(deadline: Ints, shape: Ints, chain: Chain) -> Ints:
    """A deadline past the last position that the shape can have never binds."""
    reach = np.minimum(chain.blocks - chain.shapes.stop + 1, chain.limit)
    rounded = np.where(deadline >= reach[shape], FOREVER, deadline)
    possible: Ints = np.where(deadline > 0, rounded, 0)
    return possible


def _numbered(usage: Ints) -> Ints:
    """Equal rows have equal numbers."""
    weights = np.cumprod(np.concatenate(([1], usage.max(axis=0)[:-1] + 1)))
    number: Ints = np.unique(usage @ weights, return_inverse=True)[1].ravel()
    return number


def _alike(setting: Setting, usage: Ints) -> Ints:
    """[option] equal numbers for options that take the same of every limit and pay the same with any neighbour."""
    number = _numbered(usage)
    if setting.routes is None:
        return number
    kinds: dict[object, int] = {}
    keys = zip(number.tolist(), setting.options, strict=True)
    return np.array([kinds.setdefault((n, o.place, o.boundary_s.tobytes()), len(kinds)) for n, o in keys], dtype=np.int64)


def _undominated(columns: Columns, kind: Ints) -> Columns:
    """Without those of the same shape and kind of option of which one of the ``LAGS`` before them in the order of time is nowhere
    worse, until none is left (of equals, the first stays).
    """
    group = columns.shape * (int(kind.max(initial=0)) + 1) + kind[columns.option]
    order = np.lexsort((columns.option, -columns.deadline, columns.sync_s, columns.time_s, group))
    columns, group = columns.take(order), group[order]
    lag = 1
    while lag <= LAGS and lag < len(columns):
        worse = (group[lag:] == group[:-lag]) & (columns.sync_s[lag:] >= columns.sync_s[:-lag])
        worse &= columns.deadline[lag:] <= columns.deadline[:-lag]
        if worse.any():
            keep = np.concatenate((np.ones(lag, dtype=bool), ~worse))
            columns, group = columns.take(keep), group[keep]
        lag = 1 if np.count_nonzero(worse) > len(columns) // 50 else lag + 1
    return columns
