"""Covers of graphs that fall apart between two pivots (see ``sides``), for ``throughput``: prices, then the parts they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.chain import Field, TooLate, step_loads
from autopart.profiled.chains import make_field, unit_work
from autopart.profiled.cover import ROUNDS, SHARP, Master, Relaxed, mixed, raised, unlike
from autopart.profiled.parts import Parts, Worth, scaled
from autopart.profiled.problem import Array, Goal
from autopart.profiled.relax import CAREFUL, Prices, kind_capacities, price
from autopart.profiled.search import Search
from autopart.profiled.sides import PIECES, SIGNATURES, Pairs, Sides, best_partners, joint, make_pieces
from autopart.profiled.tables import CHUNK, unpacked
from autopart.profiled.units import Units
from autopart.profiled.windows import device_worth

OTHERS = 1e8  # pairs of ideals with a pivot between them, or elsewhere
FIRST, MORE = 1_000, 200  # columns at first, and of each kind in each round: at prices that wander little few will do
FAR = 0.05, 0.4  # see ``cover``; of one type of devices, whose first prices are nearly right, and of several


def make_sides(search: Search, units: Units, ideals: Sequence[int]) -> Sides | None:
    """The parts of a plan better than the best so far; None where the graph does not fall apart, or in too many pieces."""
    segment, left, right = _segment(units)
    if not left or not right:
        return None
    prices = price(search.problem, search.groups, Goal("throughput"))
    family = _Family(units, ideals, unit_work(search, units, prices), segment)
    alone = [family.without(side) for side in (right, left)]
    near = family.near(float(device_worth(prices, kind_capacities(search.problem), search.value_s).max()))
    if max(map(len, alone)) > PIECES or not near:
        return None
    elsewhere = [ideal for ideal, here in zip(ideals, family.here, strict=True) if not here]
    if (len(near) + len(elsewhere)) * len(elsewhere) > OTHERS:
        return None
    whole = (1 << units.count) - 1
    field = make_field(search, units, sorted({0, whole, *alone[0], *alone[1], *near, *elsewhere}), prices, ())
    return _sides(field, (left, right), alone, segment, search.value_s)


def _segment(units: Units) -> tuple[int, list[int], list[int]]:
    """The pivots before the segment of most units, its largest component, and all others; two sides, if it falls apart."""
    spans = np.where(units.pivot, -1, units.span)
    segment = max(range(int(units.span.max()) + 1), key=lambda each: int((spans == each).sum()))
    waiting = set(map(int, np.flatnonzero(spans == segment)))
    found: list[list[int]] = []
    while waiting:
        component = [waiting.pop()]
        for unit in component:
            near = waiting.intersection((*units.readers[unit], *units.producers[unit]))
            component += sorted(near)
            waiting -= near
        found.append(sorted(component))
    found.sort(key=lambda each: (-len(each), each))
    return segment, found[0] if found else [], [unit for each in found[1:] for unit in each]


class _Family:
    """All ideals with their work, and which of them cut the segment or lie at an end of it."""

    def __init__(self, units: Units, ideals: Sequence[int], work: Array, segment: int) -> None:
        self.ideals = ideals
        self.work, pivots = np.zeros(len(ideals)), np.zeros(len(ideals), dtype=np.int64)
        for start in range(0, len(ideals), CHUNK):
            inside = unpacked(ideals[start : start + CHUNK], units.count)
            self.work[start : start + CHUNK] = inside @ work
            pivots[start : start + CHUNK] = (inside & units.pivot).sum(axis=1)
        self.here = pivots == segment
        self.before, self.after = pivots < segment, pivots > segment

    def without(self, side: Sequence[int]) -> list[int]:
        """Ideals of the segment that hold nothing of a side."""
        mask = sum(1 << unit for unit in side)
        return [ideal for ideal, here in zip(self.ideals, self.here, strict=True) if here and not ideal & mask]

    def near(self, most: float) -> list[int]:
        """Ideals of the segment with so little work to an ideal elsewhere that a part can lie between the two."""
        slack = most + CAREFUL * float(self.work.max())
        early = self.work[self.before].max(initial=-np.inf) + slack
        late = self.work[self.after].min(initial=np.inf) - slack
        return [
            self.ideals[index] for index in map(int, np.flatnonzero(self.here & ((self.work <= early) | (self.work >= late))))
        ]


def _sides(
    field: Field, sides: tuple[list[int], list[int]], alone: Sequence[Sequence[int]], segment: int, limit_s: float
) -> Sides | None:
    left, right = map(set, sides)
    ties = field.units.ties
    shared = [tie for tie, ends in enumerate(ties) if left.intersection(ends) and right.intersection(ends)]
    inner = [2.0 if set(ties[tie]) <= left | right else 1.0 for tie in shared]
    number = {ideal: index for index, ideal in enumerate(field.tables.ideals)}
    if len(shared) > SIGNATURES:
        return None
    first, second = (make_pieces(field, np.array([number[ideal] for ideal in each]), shared, limit_s) for each in alone)
    twice = field.units.tie_s[shared] * np.array(inner).reshape(-1, 1)
    return Sides(field, first, second, twice, _others(field, segment, limit_s), limit_s)


def _others(field: Field, segment: int, limit_s: float) -> Pairs:
    """Parts between two ideals of which one at least is not of the segment."""
    here = field.tables.pivots == segment
    inside, elsewhere = np.flatnonzero(here), np.flatnonzero(~here)
    found: list[Pairs] = []
    for kind, step in enumerate(field.plain):
        for rows, columns in ((inside, elsewhere), (elsewhere, inside), (elsewhere, elsewhere)):
            for start in range(0, len(rows), CHUNK):
                if field.late():
                    raise TooLate
                load = step_loads(field, step, rows[start : start + CHUNK], columns)
                row, column = np.nonzero(load <= limit_s)
                none = np.zeros(len(row), dtype=np.int64)
                ends = rows[start : start + CHUNK][row], columns[column]
                found.append(Pairs(ends, (none, none), none + kind, load[row, column]))
    return joint(found)


@dataclass(frozen=True, eq=False)
class Priced:
    """Prices at which no part wastes less than nothing, and columns that may serve at a lower limit again."""

    worth: Worth
    columns: Pairs


def start_prices(search: Search, sides: Sides, limit_s: float) -> Worth:
    """From the relaxation that knows no parts."""
    field = sides.field
    prices: Prices = field.prices
    work = unit_work(search, field.units, prices)
    return scaled(prices, work, np.array(field.devices, dtype=float), field.capacity_bytes, limit_s).worth


def generated(sides: Sides, start: Priced) -> Priced:
    """The best prices that are found. Raises TooLate."""
    field = sides.field
    known = start.columns.chosen(start.columns.load_s <= sides.limit_s)
    best, near = _valid(sides, start.worth)
    master, columns = Master(field, best, FAR[len(field.devices) > 1]), joint([known, _unlike(*near, FIRST)])
    for _ in range(ROUNDS):
        if best.slack < -CAREFUL or not columns.count:
            break
        if field.late():
            raise TooLate
        master.add(columns.units(field.tables.inside), columns.kind)
        known = joint([known, columns])
        solved = master.solve()
        if solved is None:
            break
        value, last = solved
        found, near = _valid(sides, mixed(field, best, last))
        best = found if found.slack < best.slack else best
        pairs, waste = best_partners(sides, last)
        cheap = waste < -CAREFUL
        columns = joint([_unlike(pairs.chosen(cheap), waste[cheap], MORE), _unlike(*near, MORE)])
        if value - (1.0 - best.slack) < SHARP or not cheap.any():
            break
    return Priced(best, known)


def _valid(sides: Sides, worth: Worth) -> tuple[Worth, tuple[Pairs, Array]]:
    """Prices of devices changed so that the part of each type that wastes least wastes nothing, and parts that waste little."""
    pairs, waste = best_partners(sides, worth)
    least, whole = raised(sides.field, worth, pairs.kind, waste)
    return Worth(worth.unit / whole, (worth.kind - least) / whole), (pairs, (waste - least[pairs.kind]) / whole)


def _unlike(pairs: Pairs, waste: Array, count: int) -> Pairs:
    return pairs.chosen(unlike((*pairs.first, *pairs.second), waste, count))


def as_parts(search: Search, sides: Sides, pairs: Pairs, worth: Worth) -> tuple[Field, Relaxed]:
    """Pairs as parts between ideals of their own field, with their exact loads."""
    ideals = sides.field.tables.ideals
    (a, b), (c, d) = pairs.first, pairs.second
    inner = [ideals[x] | ideals[y] for x, y in zip(a, c, strict=True)]
    outer = [ideals[x] | ideals[y] for x, y in zip(b, d, strict=True)]
    whole = (1 << sides.field.units.count) - 1
    field = make_field(search, sides.field.units, sorted({0, whole, *inner, *outer}), sides.field.prices, ())
    number = {ideal: index for index, ideal in enumerate(field.tables.ideals)}
    first, second = (np.array([number[ideal] for ideal in each], dtype=np.int64) for each in (inner, outer))
    parts = Parts(first, second, pairs.kind, pairs.load_s)
    return field, Relaxed(parts, worth, parts.waste(field, worth))
