"""What a part between two ideals I and J of a family costs, for all pairs at once.

A part P = J - I pays for a tie e (the units of one tensor) if it holds some of its units but not all. With X(I) the ties that
have units both inside and outside of I, and w the seconds that each costs,

    cost(P) = w(X(I)) + w(X(J)) - sum {w_e (1 + [e and I meet in as many units as e and J]) : e in X(I) and X(J)}

for a tie of X(I) is paid unless P has none of its units, one of X(J) unless it is of X(I) too; any other has none or all of its
units in P. Everything but the last sum is a difference or a sum of one number each, and that sum is a product of two matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopart.profiled.problem import Array, Flags, Ints
from autopart.profiled.units import Units

CHUNK = 4096  # ideals


@dataclass(frozen=True, eq=False)
class Tables:
    """A family of ideals, by rising ``work``; the first is empty, the last is everything. All but ``level_tie`` by ideal."""

    ideals: tuple[int, ...]
    inside: Flags  # by unit
    size: Ints
    time_s: Array  # by device type
    forbidden: Array  # by device type: groups that can't run there
    memory_bytes: Array
    work: Array  # what its units take of what all devices have, see ``relax.Prices``
    pivots: Ints  # see ``Units``
    forward: Array  # forward ops
    open: Flags  # by tie: some of its units are inside, some outside
    level: Flags  # by (tie, number of its units inside), for ties of three units and more
    level_tie: Ints  # the tie of each such column


def make_tables(units: Units, ideals: Sequence[int], work: Array) -> Tables:
    """``work`` is by unit."""
    inside = unpacked(ideals, units.count)
    done = sums(inside, work)
    order = np.lexsort((inside.sum(axis=1), done))
    inside = inside[order]
    sizes = np.array([len(ends) for ends in units.ties], dtype=np.int64)
    met = meetings(units, inside)
    wide = [(tie, count) for tie in np.flatnonzero(sizes > 2) for count in range(1, sizes[tie])]
    level = np.stack([met[:, tie] == count for tie, count in wide], axis=1) if wide else np.zeros((len(ideals), 0), dtype=bool)
    return Tables(
        ideals=tuple(ideals[index] for index in order),
        inside=inside,
        size=inside.sum(axis=1),
        time_s=sums(inside, units.time_s),
        forbidden=sums(inside, units.forbidden),
        memory_bytes=sums(inside, units.memory_bytes),
        work=done[order],
        pivots=(inside & units.pivot).sum(axis=1),
        forward=sums(inside, units.forward.astype(float)),
        open=(met > 0) & (met < sizes),
        level=level,
        level_tie=np.array([tie for tie, _ in wide], dtype=np.int64),
    )


def meetings(units: Units, inside: Flags) -> NDArray[np.int16]:
    """By ideal and tie: how many units of the tie are inside."""
    found = np.zeros((len(inside), len(units.ties)), dtype=np.int16)
    for start in range(0, len(inside), CHUNK):
        by_unit = np.ascontiguousarray(inside[start : start + CHUNK].T)  # rows are taken faster than columns
        met = np.zeros((len(units.ties), by_unit.shape[1]), dtype=np.int16)
        for place in range(max(map(len, units.ties), default=0)):
            ties = [tie for tie, ends in enumerate(units.ties) if len(ends) > place]
            met[ties] += by_unit[[units.ties[tie][place] for tie in ties]]
        found[start : start + CHUNK] = met.T
    return found


def sums(chosen: Flags, values: Array) -> Array:
    """``chosen @ values``, a slice of rows at a time: flags as numbers take eight times the memory."""
    found = np.zeros((len(chosen), *values.shape[1:]))
    for start in range(0, len(chosen), CHUNK):
        found[start : start + CHUNK] = chosen[start : start + CHUNK].astype(float) @ values
    return found


def unpacked(masks: Sequence[int], count: int) -> Flags:
    width = (count + 7) // 8
    raw = np.frombuffer(b"".join(mask.to_bytes(width, "little") for mask in masks), dtype=np.uint8)
    return np.unpackbits(raw.reshape(len(masks), width), axis=1, count=count, bitorder="little").astype(bool)


def nested(tables: Tables, rows: Ints, columns: Ints) -> Flags:
    """Whether each ideal of ``rows`` is a proper part of each of ``columns``."""
    doubtful = np.flatnonzero(tables.inside[rows].any(axis=0) & ~tables.inside[columns].all(axis=0))
    smaller: Flags = tables.size[rows][:, None] < tables.size[columns][None, :]
    if not len(doubtful):
        return smaller
    mine = tables.inside[np.ix_(rows, doubtful)].astype(np.float32)
    missing = (~tables.inside[np.ix_(columns, doubtful)]).astype(np.float32)
    return smaller & (mine @ missing.T < 0.5)


def spared(tables: Tables, rows: Ints, columns: Ints, weight: Array, sizes: Ints) -> Array:
    """The last sum of the module's formula for all pairs; ``weight`` and ``sizes`` (units) are by tie."""
    both = np.flatnonzero(tables.open[rows].any(axis=0) & tables.open[columns].any(axis=0))
    if not len(both):
        return np.zeros((len(rows), len(columns)))
    times = np.where(sizes[both] == 2, 2.0, 1.0)  # of two units one is inside, in I as in J
    mine = tables.open[np.ix_(rows, both)] * (weight[both] * times)
    found: Array = mine @ tables.open[np.ix_(columns, both)].T.astype(float)
    levels = np.flatnonzero(tables.level[rows].any(axis=0) & tables.level[columns].any(axis=0))
    if len(levels):
        mine = tables.level[np.ix_(rows, levels)] * weight[tables.level_tie[levels]]
        found += mine @ tables.level[np.ix_(columns, levels)].T.astype(float)
    return found
