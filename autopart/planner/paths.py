"""Cheapest pipelines when devices have a price: dynamic programming over (boundary, stages that follow).

The price takes the device limit into the objective (Lagrange); everything else, deadlines included, is exact here.
Deadlines matter up to the largest finite one, so positions beyond it are counted as one *level*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autopart.planner.columns import FOREVER, Chain, Columns
from autopart.planner.problem import Array, Ints


@dataclass(frozen=True, eq=False)
class Levels:
    """Positions 1 .. count - 1 one by one, level ``count`` for all from there on. With a pinned number of stages, ``count`` is
    that number and exact; ``deadlines`` is how many levels the columns can tell apart.
    """

    count: int
    deadlines: int
    pinned: bool


@dataclass(frozen=True, eq=False)
class Tables:
    """``stage[l, shape]``: cheapest stage of a shape that fits at level l + 1 (the last entry: of shape -1, none).
    ``suffix[p, i]``: cheapest way to cut [i, n) into p stages (the last row: into that many or more, unless pinned).
    """

    levels: Levels
    stage: Array
    suffix: Array


def levels_of(chain: Chain, columns: Columns) -> Levels:
    finite = columns.deadline[columns.deadline < FOREVER]
    deadlines = int(finite.max()) + 1 if len(finite) else 1
    if chain.pinned is not None:
        return Levels(chain.pinned, min(deadlines, chain.pinned), pinned=True)
    return Levels(deadlines, deadlines, pinned=False)


def priced(chain: Chain, columns: Columns, price: Array) -> Array:
    """Seconds of each column, devices and budgets paid for."""
    paid: Array = columns.cost_s + (chain.usage @ price)[columns.option]
    return paid


def tabulate(chain: Chain, columns: Columns, cost: Array) -> Tables:
    levels = levels_of(chain, columns)
    stage = _stage_costs(chain, columns, cost, levels.deadlines)
    suffix = np.full((levels.count + 1, chain.blocks + 1), np.inf)
    suffix[0, -1] = 0.0
    exact = levels.count if levels.pinned else levels.count - 1
    by_interval = _ByInterval(chain, stage)
    for p in range(1, exact + 1):
        suffix[p, :-1] = (by_interval.at(min(p, levels.deadlines)) + suffix[p - 1]).min(axis=1)
    if not levels.pinned:
        _fill_last_level(by_interval.at(levels.deadlines), suffix)
    return Tables(levels, stage, suffix)


class _ByInterval:
    """Costs of shapes spread over intervals, [i, j], one level at a time: all of them would not stay in the cache."""

    def __init__(self, chain: Chain, stage: Array) -> None:
        self._of, self._stage = chain.shapes.of, stage
        self._changes = np.any(stage[1:] != stage[:-1], axis=1)
        self._level, self._costs = 0, np.empty(self._of.shape)

    def at(self, level: int) -> Array:
        """Overwritten by the next call."""
        low, high = sorted((self._level, level))
        if not low or self._changes[low - 1 : high - 1].any():
            np.take(self._stage[level - 1], self._of, out=self._costs, mode="wrap")
        self._level = level
        return self._costs


def _fill_last_level(stage: Array, suffix: Array) -> None:
    """suffix[-1]: stages of the last level may follow each other without end."""
    rest = suffix[-2].copy()
    for i in range(stage.shape[0] - 1, -1, -1):
        suffix[-1, i] = (stage[i, i + 1 :] + rest[i + 1 :]).min()
        rest[i] = min(rest[i], suffix[-1, i])


def _stage_costs(chain: Chain, columns: Columns, cost: Array, levels: int) -> Array:
    """Cheapest column by level and shape; infinite where there is none."""
    table = np.full((levels, len(chain.shapes.start) + 1), np.inf)
    if len(columns):
        first = columns.segments
        level = np.minimum(columns.deadline[first], levels) - 1
        at = level * table.shape[1] + columns.shape[first]
        np.minimum.at(table.reshape(-1), at, np.minimum.reduceat(cost, first))
    found: Array = np.minimum.accumulate(table[::-1], axis=0)[::-1]
    return found


def cheapest(chain: Chain, columns: Columns, cost: Array, tables: Tables) -> tuple[float, Ints]:
    """Cost and columns (chain order) of the cheapest pipeline; (inf, []) if nothing fits."""
    levels, suffix = tables.levels, tables.suffix
    p = levels.count if levels.pinned else int(np.argmin(suffix[:, 0]))
    total = float(suffix[p, 0])
    path: list[int] = []
    i = 0
    while np.isfinite(total) and i < chain.blocks:
        level = min(p, levels.deadlines)
        repeats = p == levels.count and not levels.pinned
        rest = np.minimum(suffix[p - 1], suffix[p]) if repeats else suffix[p - 1]
        j = int(np.argmin(tables.stage[level - 1, chain.shapes.of[i]] + rest))
        path.append(_cheapest_column(columns, cost, int(chain.shapes.of[i, j]), level, levels.deadlines))
        p = p if repeats and suffix[p, j] <= suffix[p - 1, j] else p - 1
        i = j
    return total, np.array(path, dtype=np.int64)


def _cheapest_column(columns: Columns, cost: Array, shape: int, level: int, levels: int) -> int:
    """Columns are sorted by shape and falling deadline, so those that fit at a level are a slice."""
    start, stop = np.searchsorted(columns.shape, (shape, shape + 1))
    fit = start + int((np.minimum(columns.deadline[start:stop], levels) >= level).sum())
    return int(start + np.argmin(cost[start:fit]))


def through(chain: Chain, columns: Columns, cost: Array, tables: Tables) -> Array:
    """For every column, the cost of the cheapest pipeline that uses it."""
    prefix = _prefix_costs(chain, tables)
    levels, suffix = tables.levels, tables.suffix
    rest = suffix[:-1].copy()  # after a stage at position p, row p - 1
    if not levels.pinned:
        rest[-1] = np.minimum(suffix[-2], suffix[-1])
    best = np.full((levels.deadlines, len(chain.shapes.start)), np.inf)
    i, j, first = chain.shapes.intervals
    for p in range(1, levels.count + 1):
        own = np.minimum.reduceat(prefix[p, i] + rest[p - 1, j], first)
        level = min(p, levels.deadlines) - 1
        best[level] = np.minimum(best[level], own)
    best = np.minimum.accumulate(best, axis=0)
    found: Array = best[np.minimum(columns.deadline, levels.deadlines) - 1, columns.shape] + cost
    return found


def _prefix_costs(chain: Chain, tables: Tables) -> Array:
    """[p, i]: cheapest way to cut [0, i) when the stage that starts at i is at position p (the last row: p or later)."""
    levels, by_interval = tables.levels, _ByInterval(chain, tables.stage)
    prefix = np.full((levels.count + 2, chain.blocks + 1), np.inf)
    prefix[levels.count if levels.pinned else slice(1, None), 0] = 0.0
    if not levels.pinned:
        last = by_interval.at(levels.deadlines)
        for j in range(1, chain.blocks + 1):
            prefix[levels.count, j] = (prefix[levels.count, :j] + last[:j, j]).min()
    for p in range(levels.count - 1, 0, -1):
        arrived = (prefix[p + 1, :-1, None] + by_interval.at(min(p + 1, levels.deadlines))).min(axis=0)
        prefix[p] = np.minimum(prefix[p], arrived)
    return prefix
