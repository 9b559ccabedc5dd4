"""The cheapest pipelines where neighbouring stages pay something extra: the dynamic program of ``paths`` with a coordinate more.

That is the class of a stage (``classes``). Between classes it knows the least that a pair pays; with S classes it takes S times
as long as without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopart.planner import paths
from autopart.planner.classes import Neighbours
from autopart.planner.columns import Chain, Columns
from autopart.planner.paths import Levels, Tables, levels_of
from autopart.planner.problem import Array, Ints


@dataclass(frozen=True, eq=False)
class ClassTables:
    """``stage[s, l, i, j]``: cheapest stage [i, j) of class s that fits at level l + 1. ``suffix[p, i, s]``: cheapest way to cut
    [i, n) into p stages of which the first is of class s (the last row: into that many or more, unless pinned).
    ``rest[p, j, s]``: the cheapest that can follow a stage of class s at position p + 1 that ends at j, with what both pay extra.
    """

    levels: Levels
    stage: Array
    suffix: Array
    rest: Array


def tabulate(chain: Chain, columns: Columns, cost: Array) -> Tables | ClassTables:
    """For the functions below; those of ``paths`` where neighbours pay nothing extra."""
    if chain.neighbours is None:
        return paths.tabulate(chain, columns, cost)
    return _tabulate(chain, columns, cost, chain.neighbours)


def cheapest(chain: Chain, columns: Columns, cost: Array, tables: Tables | ClassTables) -> tuple[float, Ints]:
    """Cost and columns (chain order) of the cheapest pipeline; (inf, []) if nothing fits."""
    if isinstance(tables, Tables):
        return paths.cheapest(chain, columns, cost, tables)
    assert chain.neighbours is not None
    return _cheapest(chain, columns, cost, tables, chain.neighbours)


def through(chain: Chain, columns: Columns, cost: Array, tables: Tables | ClassTables) -> Array:
    """For every column, the cost of the cheapest pipeline that uses it."""
    if isinstance(tables, Tables):
        return paths.through(chain, columns, cost, tables)
    assert chain.neighbours is not None
    return _through(chain, columns, cost, tables, chain.neighbours)


def pairs_s(chain: Chain, columns: Columns, stages: Ints) -> float:
    """What the neighbours among these columns, in chain order, pay at least beside what each column costs."""
    if chain.neighbours is None:
        return 0.0
    stops = np.cumsum((chain.shapes.stop - chain.shapes.start)[columns.shape[stages]])
    classes = chain.neighbours.of[columns.option[stages]]
    return float(chain.neighbours.pair_s[stops[:-1], classes[:-1], classes[1:]].sum())


def _tabulate(chain: Chain, columns: Columns, cost: Array, neighbours: Neighbours) -> ClassTables:
    levels, blocks, classes = levels_of(chain, columns), chain.blocks, neighbours.count
    stage = np.array([_stage_costs(chain, columns, cost, levels.deadlines, neighbours.of == s) for s in range(classes)])
    suffix = np.full((levels.count + 1, blocks + 1, classes), np.inf)
    rest = np.full((levels.count + 1, blocks + 1, classes), np.inf)
    rest[0, -1] = 0.0
    exact = levels.count if levels.pinned else levels.count - 1
    for p in range(1, exact + 1):
        suffix[p, :-1] = (stage[:, min(p, levels.deadlines) - 1] + rest[p - 1].T[:, None, :]).min(axis=2).T
        rest[p] = (neighbours.pair_s + suffix[p][:, None, :]).min(axis=2)
    if not levels.pinned:
        _fill_last_level(stage[:, -1], suffix, rest, neighbours)
    return ClassTables(levels, stage, suffix, rest)


def _fill_last_level(stage: Array, suffix: Array, rest: Array, neighbours: Neighbours) -> None:
    """Stages of the last level may follow each other without end: its rest is that of the level before, or its own."""
    rest[-1] = rest[-2]
    for i in range(stage.shape[1] - 1, -1, -1):
        suffix[-1, i] = (stage[:, i, i + 1 :] + rest[-1, i + 1 :].T).min(axis=1)
        rest[-1, i] = np.minimum(rest[-1, i], (neighbours.pair_s[i] + suffix[-1, i]).min(axis=1))


def _stage_costs(chain: Chain, columns: Columns, cost: Array, levels: int, allowed: NDArray[np.bool_]) -> Array:
    """[levels, n, n + 1] cheapest column of a class; infinite where there is none."""
    table = np.full((levels, len(chain.shapes.start) + 1), np.inf)  # the last entry answers for shape -1
    mine = allowed[columns.option]
    np.minimum.at(table, (np.minimum(columns.deadline[mine], levels) - 1, columns.shape[mine]), cost[mine])
    table = np.minimum.accumulate(table[::-1], axis=0)[::-1]
    found: Array = table[:, chain.shapes.of]
    return found


def _cheapest(chain: Chain, columns: Columns, cost: Array, tables: ClassTables, neighbours: Neighbours) -> tuple[float, Ints]:
    levels, suffix = tables.levels, tables.suffix
    rows = (
        suffix[:, 0]
        if not levels.pinned
        else np.where(np.arange(levels.count + 1)[:, None] == levels.count, suffix[:, 0], np.inf)
    )
    p, s = (int(each) for each in np.unravel_index(np.argmin(rows), rows.shape))
    total = float(rows[p, s])
    path: list[int] = []
    i = 0
    while np.isfinite(total) and i < chain.blocks:
        level, repeats = min(p, levels.deadlines), p == levels.count and not levels.pinned
        j = int(np.argmin(tables.stage[s, level - 1, i] + tables.rest[p if repeats else p - 1, :, s]))
        path.append(_cheapest_column(columns, cost, int(chain.shapes.of[i, j]), level, levels.deadlines, neighbours.of == s))
        i = j
        if i < chain.blocks:
            after = neighbours.pair_s[j, s] + suffix[[p - 1, p] if repeats else [p - 1], j]
            step, s = (int(each) for each in np.unravel_index(np.argmin(after), after.shape))
            p = p - 1 + step
    return total, np.array(path, dtype=np.int64)


def _cheapest_column(columns: Columns, cost: Array, shape: int, level: int, levels: int, allowed: NDArray[np.bool_]) -> int:
    start, stop = np.searchsorted(columns.shape, (shape, shape + 1))
    fits = (np.minimum(columns.deadline[start:stop], levels) >= level) & allowed[columns.option[start:stop]]
    return int(start + np.argmin(np.where(fits, cost[start:stop], np.inf)))


def _through(chain: Chain, columns: Columns, cost: Array, tables: ClassTables, neighbours: Neighbours) -> Array:
    levels, prefix = tables.levels, _prefix_costs(chain, tables, neighbours)
    best = np.full((neighbours.count, levels.deadlines, len(chain.shapes.start)), np.inf)
    i, j = np.nonzero(chain.shapes.of >= 0)
    shape = chain.shapes.of[i, j]
    for p in range(1, levels.count + 1):
        rest = tables.rest[p - 1 if levels.pinned or p < levels.count else p]
        for s in range(neighbours.count):
            np.minimum.at(best[s, min(p, levels.deadlines) - 1], shape, prefix[p, i, s] + rest[j, s])
    best = np.minimum.accumulate(best, axis=1)
    level = np.minimum(columns.deadline, levels.deadlines) - 1
    found: Array = best[neighbours.of[columns.option], level, columns.shape] + cost
    return found


def _prefix_costs(chain: Chain, tables: ClassTables, neighbours: Neighbours) -> Array:
    """[p, i, s]: cheapest way to cut [0, i) when the stage that starts at i is of class s and at position p (the last row: p or
    later), with what it pays extra with the one before.
    """
    levels, stage, pair_s = tables.levels, tables.stage, neighbours.pair_s
    prefix = np.full((levels.count + 1, chain.blocks + 1, neighbours.count), np.inf)
    prefix[levels.count if levels.pinned else slice(1, None), 0] = 0.0
    if not levels.pinned:
        for j in range(1, chain.blocks + 1):
            arrived = (prefix[levels.count, :j].T + stage[:, -1, :j, j]).min(axis=1)
            prefix[levels.count, j] = (arrived[:, None] + pair_s[j]).min(axis=0)
    for p in range(levels.count - 1, 0, -1):
        arrived = (prefix[p + 1, :-1].T[:, :, None] + stage[:, min(p + 1, levels.deadlines) - 1]).min(axis=1)
        prefix[p] = np.minimum(prefix[p], (arrived.T[:, :, None] + pair_s).min(axis=1))
    return prefix
