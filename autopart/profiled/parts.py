"""All convex parts that an assignment below a load can hold, as pairs of ideals.

A convex set S of units is J - I for two ideals: J is S with all that lies before it, I what of that is not in S. Prices tell
which of them matter. Let y_v be what unit v is worth and z_k what a device of type k is worth, scaled so that sum_k N_k z_k = 1.
A part S on type k *wastes* z_k - y(S), an unused device z_k. Parts that cover every unit once waste together

    sum waste = 1 - sum_v y_v,

so no part wastes more than that less the least that the others must waste. From the prices of ``relax``, scaled for a limit T on
loads, no part wastes less than nothing, and what it pays for tensors counts in full: S pays at least

* for each last unit m of I (none of its readers is in I): what m and a reader of m in S have in common;
* for each last unit m of J: all that m alone makes for later units.

These tolls are known by ideal, so that most pairs need no look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from autopart.profiled.chain import Field, TooLate, step_loads
from autopart.profiled.problem import Array, Flags, Ints
from autopart.profiled.relax import CAREFUL, Prices
from autopart.profiled.tables import CHUNK, unpacked
from autopart.profiled.units import Units

CLASSES = 8  # of ideals, by toll
ROWS = 64  # ideals that are paired at once


@dataclass(frozen=True, eq=False)
class Worth:
    """Prices: ``unit`` of each unit, ``kind`` of one device of each type; all devices together are worth 1."""

    unit: Array
    kind: Array

    @property
    def slack(self) -> float:
        """What all parts and unused devices of an assignment waste together."""
        return 1.0 - float(self.unit.sum())


@dataclass(frozen=True, eq=False)
class Tolls:
    """By unit and type: seconds that a part pays at least for a last unit of what is before it, and for a last one of its own."""

    before_s: Array
    within_s: Array


@dataclass(frozen=True, eq=False)
class Parts:
    """Convex sets ``outer - inner`` (numbers of ideals), a device type of each, and the least load there."""

    inner: Ints
    outer: Ints
    kind: Ints
    load_s: Array

    @property
    def count(self) -> int:
        return len(self.inner)

    def chosen(self, rows: Ints | Flags) -> Parts:
        return Parts(self.inner[rows], self.outer[rows], self.kind[rows], self.load_s[rows])

    def waste(self, field: Field, worth: Worth) -> Array:
        """What each part wastes at some prices."""
        inside = np.concatenate(
            [field.tables.inside[start : start + CHUNK] @ worth.unit for start in range(0, len(field.tables.inside), CHUNK)]
        )
        wasted: Array = worth.kind[self.kind] - (inside[self.outer] - inside[self.inner])
        return wasted


@dataclass(frozen=True, eq=False)
class Scaled:
    """The prices of ``relax`` times ``scale``, for loads up to a limit; ``second``: what a second is worth, by type."""

    worth: Worth
    second: Array
    scale: float


def scaled(prices: Prices, work: Array, devices: Array, capacity_bytes: Array, limit_s: float) -> Scaled:
    """``work`` is by unit."""
    kind = prices.second * limit_s + prices.byte * capacity_bytes
    whole = float(devices @ kind)
    return Scaled(Worth(work / whole, kind / whole), prices.second / whole, 1.0 / whole)


def most_waste(worth: Worth, least: Array, devices: Array) -> Array:
    """By type: what a part wastes at most, if none of each type wastes less than ``least``; infinite where there is no part."""
    least = np.minimum(least, worth.kind)  # the device may stay unused
    most: Array = worth.slack - (float(devices @ least) - least)
    return most + CAREFUL


def make_tolls(units: Units) -> Tolls:
    """A tie counts at the unit that all its other units come after, if it has one."""
    kinds = units.tie_s.shape[1]
    owned: list[dict[int, Array]] = [{} for _ in range(units.count)]
    within = np.zeros((units.count, kinds))
    for ends, seconds in zip(units.ties, units.tie_s, strict=True):
        owner = next((end for end in ends if all(end == other or units.order.below[end] >> other & 1 for other in ends)), None)
        if owner is not None:
            within[owner] += seconds
            for other in ends:
                owned[owner][other] = owned[owner].get(other, np.zeros(kinds)) + seconds
    before = np.zeros((units.count, kinds))
    for unit, readers in enumerate(units.readers):
        if readers:
            before[unit] = np.min([owned[unit].get(reader, np.zeros(kinds)) for reader in readers], axis=0)
    return Tolls(before, within)


def last_units(units: Units, inside: Flags) -> Flags:
    """By ideal: its units without a reader inside."""
    by_unit = np.ascontiguousarray(inside.T)  # rows are taken faster than columns
    last = by_unit.copy()
    for unit, readers in enumerate(units.readers):
        for reader in readers:
            last[unit] &= ~by_unit[reader]
    found: Flags = last.T
    return found


def worth_a_look(units: Units, ideals: Sequence[int], tolls: Tolls, prices: Scaled) -> list[int]:
    """Ideals whose tolls alone do not waste more than all parts together."""
    kept: list[int] = []
    for start in range(0, len(ideals), CHUNK):
        part = ideals[start : start + CHUNK]
        last = last_units(units, unpacked(part, units.count)).astype(float)
        low = np.minimum(last @ (tolls.before_s * prices.second), last @ (tolls.within_s * prices.second)).min(axis=1)
        kept += [part[index] for index in map(int, np.flatnonzero(low <= prices.worth.slack + CAREFUL))]
    return kept


@dataclass(frozen=True, eq=False)
class Space:
    """Ideals of a field with their tolls, by ideal and type; ``work`` is by unit."""

    field: Field
    work: Array
    before_s: Array
    within_s: Array


def make_space(field: Field, tolls: Tolls, work: Array) -> Space:
    """Everything about single ideals."""
    inside = field.tables.inside
    before, within = np.zeros((2, len(inside), len(field.devices)))
    for start in range(0, len(inside), CHUNK):
        here = slice(start, start + CHUNK)
        last = last_units(field.units, inside[here]).astype(float)
        before[here], within[here] = last @ tolls.before_s, last @ tolls.within_s
    return Space(field, work, before, within)


def prices_at(space: Space, limit_s: float) -> Scaled:
    """The prices of a limit."""
    field = space.field
    return scaled(field.prices, space.work, np.array(field.devices, dtype=float), field.capacity_bytes, limit_s)


@dataclass(frozen=True, eq=False)
class Quest:
    """What is looked for: parts with no more load than the limit that waste at most ``most``, by type, at the limit's prices."""

    prices: Scaled
    limit_s: float
    most: Array


def pairs(space: Space, quest: Quest) -> int:
    """How many pairs of ideals ``find`` would look at."""
    return sum(len(rows) * len(columns) for kind in range(len(quest.most)) for rows, columns in _blocks(space, quest, kind))


def find(space: Space, quest: Quest, count: int, late: Callable[[], bool]) -> Parts | None:
    """The parts of a quest, some of them twice; None where there are more than ``count``. Raises TooLate."""
    field, worth, done = space.field, quest.prices.worth, space.field.tables.work * quest.prices.scale
    found: list[tuple[Ints, Ints, Ints, Array]] = [(*np.zeros((3, 0), dtype=np.int64), np.zeros(0))]
    total = 0
    for kind, step in enumerate(field.plain):
        for rows, columns in _blocks(space, quest, kind):
            if late():
                raise TooLate
            load = step_loads(field, step, rows, columns)
            waste = worth.kind[kind] - (done[columns][None, :] - done[rows][:, None])
            row, column = np.nonzero((load <= quest.limit_s) & (waste <= quest.most[kind]))
            found.append((rows[row], columns[column], np.full(len(row), kind), load[row, column]))
            total += len(row)
            if total > count:
                return None
    return Parts(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _blocks(space: Space, quest: Quest, kind: int) -> Iterator[tuple[Ints, Ints]]:
    """Pairs worth pricing, those of ideals with like tolls together."""
    prices, most = quest.prices, float(quest.most[kind])
    before, within = (space.before_s[:, kind] * prices.second[kind], space.within_s[:, kind] * prices.second[kind])
    done, whole = space.field.tables.work * prices.scale, float(prices.worth.kind[kind])
    edges = np.linspace(0.0, max(most, 0.0), CLASSES + 1)
    for low, high in pairwise(edges):
        rows = np.flatnonzero((before >= low) & ((before < high) | ((high == edges[-1]) & (before <= most))))
        columns = np.flatnonzero(within <= most - low)
        sizes = done[columns]
        for start in range(0, len(rows), ROWS):
            block = rows[start : start + ROWS]
            first = np.searchsorted(sizes, done[block[0]] + whole - most - CAREFUL)
            last = np.searchsorted(sizes, done[block[-1]] + whole + CAREFUL, side="right")
            if first < last:
                yield block, columns[first:last]
