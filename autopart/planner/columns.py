"""Columns: what one stage of a pipeline may be, with its costs; the alphabet of the integer program.

A *run* is a stretch of identical blocks between identical boundaries. An interval inside a run *floats*: only its length
matters, so one *shape* stands for all of them. An interval that crosses a run boundary is *anchored*, a shape of its own.
A column is a shape under an option.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autopart.planner.problem import Array, Option, Problem, Setting, Tie

Ints = NDArray[np.int64]
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


@dataclass(frozen=True, eq=False)
class Columns:
    """Stages that are allowed, sorted by shape and falling deadline.

    ``deadline``: the largest position, counted from the end of the pipeline from 1, at which the stage's activations fit.
    """

    shape: Ints
    option: Ints
    time_s: Array
    sync_s: Array
    deadline: Ints

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, where: NDArray[np.bool_] | Ints) -> Columns:
        return Columns(self.shape[where], self.option[where], self.time_s[where], self.sync_s[where], self.deadline[where])

    @cached_property
    def segments(self) -> Ints:
        """First column of every stretch of equal shape and deadline."""
        changes = (np.diff(self.shape) != 0) | (np.diff(self.deadline) != 0)
        return np.concatenate(([0], np.flatnonzero(changes) + 1)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Chain:
    """What all columns of a setting share. ``usage[o, g]`` devices; ``limit`` the most stages that a pipeline can have;
    ``least`` devices of each group that it must take.
    """

    blocks: int
    devices: Ints
    microbatches: int
    pinned: int | None
    limit: int
    usage: Ints
    shapes: Shapes
    least: Ints


def find_runs(problem: Problem, setting: Setting) -> tuple[tuple[int, int], ...]:
    """Longest stretches [a, b) of identical blocks whose boundaries a..b cost the same. A tied block is a run by itself."""
    tied = {block for tie in problem.ties for block in (tie.first, tie.second)}
    same_boundary = np.ones(problem.blocks, dtype=bool)
    same_block = np.ones(problem.blocks - 1, dtype=bool)
    for option in setting.options:
        for costs in (option.time_s, option.sync_s, option.static_bytes, option.inflight_bytes, option.transient_bytes):
            same_block &= _equal_neighbours(np.atleast_2d(costs))
        if option.overlap is not None:
            same_block &= _equal_neighbours(np.array([option.overlap.reduce_s, option.overlap.backward_s]))
        same_boundary &= _equal_neighbours(option.boundary_s[None, :])
        for at_boundary in (option.output_bytes, option.end_s):
            if at_boundary is not None:
                same_boundary &= _equal_neighbours(np.atleast_2d(at_boundary))
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
    left, right = costs[:, :-1], costs[:, 1:]
    equal: NDArray[np.bool_] = np.all(np.abs(left - right) <= 1e-12 * np.abs(right), axis=0)
    return equal


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


def make_chain(problem: Problem, setting: Setting) -> Chain:
    shapes = find_shapes(problem.blocks, find_runs(problem, setting))
    limit = min(problem.blocks, sum(problem.devices), problem.stages or problem.blocks)
    usage = np.array([o.usage for o in setting.options], dtype=np.int64).reshape(len(setting.options), len(problem.devices))
    devices = np.array(problem.devices, dtype=np.int64)
    least = np.array(problem.least or [0] * len(devices), dtype=np.int64)
    return Chain(problem.blocks, devices, setting.microbatches, problem.stages, limit, usage, shapes, least)


def make_columns(problem: Problem, setting: Setting, chain: Chain) -> Columns:
    """All columns of a setting that fit somewhere, less those that another one of the same devices dominates."""
    costs = [_column_costs(option, problem.ties, setting, chain.shapes) for option in setting.options]
    time = np.array([c[0] for c in costs]).T
    sync = np.array([c[1] for c in costs]).T
    deadline = _round_up_deadlines(np.array([c[2] for c in costs], dtype=np.int64).T, chain)
    fits = (deadline > 0) & (chain.usage <= chain.devices).all(axis=1)
    fits &= ~_dominated(time, sync, deadline, fits, chain.usage)
    shape, option = np.nonzero(fits)
    columns = Columns(shape, option, time[fits], sync[fits], deadline[fits])
    return columns.take(np.lexsort((columns.option, -columns.deadline, columns.shape)))


def _column_costs(option: Option, ties: tuple[Tie, ...], setting: Setting, shapes: Shapes) -> tuple[Array, Array, Array]:
    """(seconds per microbatch, seconds of synchronisation, deadline) by shape."""
    i, j = shapes.start, shapes.stop
    boundary = option.boundary_s[i] * (i > 0) + option.boundary_s[j] * (j < option.boundary_s.size - 1)
    if option.end_s is not None:
        boundary = boundary + option.end_s[j]
    time = _interval_sums(option.time_s, i, j).max(axis=0) + boundary
    sync = _interval_sums(option.sync_s[None, :], i, j)[0]
    if option.overlap is not None:
        sync -= option.overlap.hidden_s(*_interval_sums(np.array([option.overlap.reduce_s, option.overlap.backward_s]), i, j))
    once = _interval_sums(option.static_bytes, i, j) + _interval_maxima(option.transient_bytes, i, j)
    for tie, saved in zip(ties, option.saved_bytes(ties), strict=True):
        once = once - saved * ((i <= tie.first) & (tie.second < j))
    inflight = _interval_sums(option.inflight_bytes, i, j)
    if option.output_bytes is not None:
        inflight = inflight + option.output_bytes[:, j] * (j < option.boundary_s.size - 1)
    counts = _counts_that_fit(option.capacity_bytes[:, None], once, inflight, setting.microbatches).min(axis=0)
    if setting.schedule == "gpipe":
        counts = np.where(counts >= setting.microbatches, setting.microbatches, 0)
    deadline = np.where(counts >= setting.microbatches, FOREVER, counts)
    return time, sync, deadline


def _interval_sums(costs: Array, start: Ints, stop: Ints) -> Array:
    sums = np.concatenate((np.zeros((costs.shape[0], 1)), np.cumsum(costs, axis=1)), axis=1)
    found: Array = sums[:, stop] - sums[:, start]
    return found


def _interval_maxima(costs: Array, start: Ints, stop: Ints) -> Array:
    """``start`` ascends."""
    found = np.zeros((costs.shape[0], len(start)))
    if not costs.any():
        return found
    firsts, begins = np.unique(start, return_index=True)
    for i, begin, end in zip(firsts, begins, [*begins[1:], len(start)], strict=True):
        found[:, begin:end] = np.maximum.accumulate(costs[:, i:], axis=1)[:, stop[begin:end] - i - 1]
    return found


def _counts_that_fit(capacity: Array, once: Array, each: Array, most: int) -> Ints:
    """Largest count <= most with once + count * each <= capacity (this very inequality, not its rounded quotient); 0 if none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = np.where(each > 0, (capacity - once) / each, np.where(once <= capacity, np.inf, 0.0))
    count = np.clip(np.nan_to_num(np.floor(quotient), posinf=most), 0, most)
    count = np.where((count < most) & (once + (count + 1) * each <= capacity), count + 1, count)
    count = np.where(once + count * each <= capacity, count, count - 1)
    whole: Ints = np.maximum(count, 0).astype(np.int64)
    return whole


def _round_up_deadlines(deadline: Ints, chain: Chain) -> Ints:
    """A deadline past the last position that the shape can have never binds."""
    reach = np.minimum(chain.blocks - chain.shapes.stop + 1, chain.limit)
    rounded = np.where(deadline >= reach[:, None], FOREVER, deadline)
    possible: Ints = np.where(deadline > 0, rounded, 0)
    return possible


def _dominated(time: Array, sync: Array, deadline: Ints, fits: NDArray[np.bool_], usage: Ints) -> NDArray[np.bool_]:
    """[shape, option]: another option of the same devices is nowhere worse there (of equals, the first stays)."""
    dominated = np.zeros(time.shape, dtype=bool)
    _, group_of = np.unique(usage, axis=0, return_inverse=True)
    for group in range(int(group_of.max()) + 1):
        members = np.flatnonzero(group_of.ravel() == group)
        for b in members:
            for a in members:
                if a == b:
                    continue
                worse = (time[:, a] <= time[:, b]) & (sync[:, a] <= sync[:, b]) & (deadline[:, a] >= deadline[:, b])
                if a > b:
                    worse &= (time[:, a] < time[:, b]) | (sync[:, a] < sync[:, b]) | (deadline[:, a] > deadline[:, b])
                dominated[:, b] |= worse & fits[:, a]
    return dominated
