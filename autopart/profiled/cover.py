"""The bound over convex parts in general, for ``throughput``: every unit in one part, every part on one device.

For a limit T on loads, all convex parts with a load below T that an assignment can hold are listed (``parts``). Then

    min theta   s.t.  sum_{S holds v} x_S = 1,   sum_{S on type k} x_S <= N_k theta,   x >= 0

is at most 1 if there is an assignment whose loads are all below T. It is solved by generating columns, with prices smoothed
between the best and the last (Wentges 1997). Any prices give a bound: that of the best is what counts. If it is not above 1,
parts that waste too much at these prices go; what is left is for ``exact``.

Parts that need each other in a circle are parts like any other here. A load is what ``chain`` says of it: at most the true one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from autopart.profiled.chain import Field, TooLate
from autopart.profiled.ideals import depth_first
from autopart.profiled.parts import Parts, Worth
from autopart.profiled.problem import Array, Flags, Ints
from autopart.profiled.relax import CAREFUL

ROUNDS = 60
FIRST, MORE = 3_000, 500  # columns at first, and in each round
ALIKE = 2  # columns of a round that share an ideal
SMOOTH = 0.5  # of the best prices in the next
FAR = 0.4  # from its first price no unit's price gets, in mean prices
SHARP = 1e-5  # of the relaxation: less is not worth another round


class Master:
    """The relaxation over the columns so far. Mutable, used inside one search for prices alone.

    A row is the cover of a unit less that of the next in a depth first order: a part has few ends there, however many units.
    """

    def __init__(self, field: Field, start: Worth, far: float = FAR) -> None:
        self.field = field
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        infinity = self.solver.infinity()
        self.sequence = np.array(depth_first(field.units, lambda unit: unit))
        self.cover = [self.solver.Constraint(0.0, 0.0) for _ in self.sequence[1:]] + [self.solver.Constraint(1.0, 1.0)]
        self.devices = [self.solver.Constraint(-infinity, 0.0) for _ in field.devices]
        theta = self.solver.NumVar(0.0, infinity, "theta")
        self.solver.Objective().SetCoefficient(theta, 1.0)
        for row, count in zip(self.devices, field.devices, strict=True):
            row.SetCoefficient(theta, -float(count))
        mean = float(start.unit.mean())
        for place, unit in enumerate(start.unit[self.sequence]):
            for sign, price in ((1.0, float(unit) + far * mean), (-1.0, far * mean - float(unit))):
                missing = self.solver.NumVar(0.0, infinity, "")
                self.cover[place].SetCoefficient(missing, sign)
                if place:
                    self.cover[place - 1].SetCoefficient(missing, -sign)
                self.solver.Objective().SetCoefficient(missing, price)

    def add(self, units: Flags, kinds: Ints) -> None:
        """Parts by their units."""
        held = units[:, self.sequence].astype(np.int8)
        change = held - np.pad(held[:, 1:], ((0, 0), (0, 1)))
        for row, kind in zip(change, kinds, strict=True):
            share = self.solver.NumVar(0.0, self.solver.infinity(), "")
            for place in np.flatnonzero(row):
                self.cover[place].SetCoefficient(share, float(row[place]))
            self.devices[kind].SetCoefficient(share, 1.0)

    def solve(self) -> tuple[float, Worth] | None:
        """Its value and its prices; None where the solver has no answer."""
        if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
            return None
        unit = np.zeros(len(self.sequence))
        unit[self.sequence] = np.diff([0.0, *(row.dual_value() for row in self.cover)])
        kind = np.array([-row.dual_value() for row in self.devices])
        return float(self.solver.Objective().Value()), Worth(unit, kind)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Parts of an assignment, prices at which none of them wastes less than nothing, and what each wastes."""

    parts: Parts
    worth: Worth
    waste: Array

    @property
    def empty(self) -> bool:
        """Whether no assignment consists of these parts."""
        return not self.parts.count or self.worth.slack < -CAREFUL

    def left(self) -> Relaxed:
        """Without parts that waste more than all parts of an assignment together."""
        kept = self.waste <= self.worth.slack + CAREFUL
        return Relaxed(self.parts.chosen(kept), self.worth, self.waste[kept])


def relaxed(field: Field, parts: Parts, start: Worth, late: Callable[[], bool]) -> Relaxed:
    """The best prices that are found, and which of the parts an assignment can hold. Raises TooLate."""
    best = _valid(field, parts, start).left()
    master = Master(field, start)
    columns = _unlike(best.parts, best.waste, FIRST)
    for _ in range(ROUNDS):
        if best.empty or not columns.count:
            break
        if late():
            raise TooLate
        master.add(_units(field, columns), columns.kind)
        solved = master.solve()
        if solved is None:
            break
        value, last = solved
        found = _valid(field, best.parts, mixed(field, best.worth, last))
        if found.worth.slack < best.worth.slack:
            best = found.left()
        waste = best.parts.waste(field, last)
        columns = _unlike(best.parts.chosen(waste < -CAREFUL), waste[waste < -CAREFUL], MORE)
        if value - (1.0 - best.worth.slack) < SHARP:
            break
    return best


def _units(field: Field, parts: Parts) -> Flags:
    inside = field.tables.inside
    found: Flags = inside[parts.outer] & ~inside[parts.inner]
    return found


def _valid(field: Field, parts: Parts, worth: Worth) -> Relaxed:
    """Prices of devices changed so that the part of each type that wastes least wastes nothing, and all scaled."""
    waste = parts.waste(field, worth)
    least, whole = raised(field, worth, parts.kind, waste)
    return Relaxed(parts, Worth(worth.unit / whole, (worth.kind - least) / whole), (waste - least[parts.kind]) / whole)


def raised(field: Field, worth: Worth, kind: Ints, waste: Array) -> tuple[Array, float]:
    """By type, the least that a part of it wastes; and what all devices are worth without that."""
    least = worth.kind.copy()  # a device that no part can use is worth nothing
    np.minimum.at(least, kind, waste)
    return least, max(float(np.array(field.devices) @ (worth.kind - least)), 1e-30)


def mixed(field: Field, best: Worth, last: Worth) -> Worth:
    whole = float(np.array(field.devices) @ last.kind)
    if not whole > 0:
        return best
    return Worth(SMOOTH * best.unit + (1 - SMOOTH) * last.unit / whole, SMOOTH * best.kind + (1 - SMOOTH) * last.kind / whole)


def _unlike(parts: Parts, waste: Array, count: int) -> Parts:
    return parts.chosen(unlike((parts.inner, parts.outer), waste, count))


def unlike(ends: Sequence[Ints], waste: Array, count: int) -> Ints:
    """Parts that waste least, few of which share an end; ``ends`` are numbers of ideals by part."""
    near = min(len(waste), 50 * count)
    first = np.argpartition(waste, near - 1)[:near] if near else np.zeros(0, dtype=np.int64)
    taken: dict[tuple[int, int], int] = {}
    found: list[int] = []
    for column in first[np.lexsort((first, waste[first]))]:
        mine = [(place, int(each[column])) for place, each in enumerate(ends)]
        if all(taken.get(end, 0) < ALIKE for end in mine):
            found.append(int(column))
            for end in mine:
                taken[end] = taken.get(end, 0) + 1
            if len(found) == count:
                break
    return np.array(found, dtype=np.int64)
