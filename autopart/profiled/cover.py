"""The bound over convex parts in general, for ``throughput``: every unit in one part, every part on one device.

For a limit T on loads, all convex parts with a load below T that an assignment can hold are listed (``parts``). Then

    min theta   s.t.  sum_{S holds v} x_S = 1,   sum_{S on type k} x_S <= N_k theta,   x >= 0

is at most 1 if there is an assignment whose loads are all below T. It is solved by generating columns, with prices smoothed
between the best and the last (Wentges 1997). Any prices give a bound: that of the best is what counts. If it is not above 1,
parts that waste too much at these prices go; what is left is for ``exact``.

Parts that need each other in a circle are parts like any other here. A load is what ``chain`` says of it: at most the true one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from autopart.profiled.chain import Field, TooLate
from autopart.profiled.parts import Parts, Worth
from autopart.profiled.problem import Array
from autopart.profiled.relax import CAREFUL

ROUNDS = 60
FIRST, MORE = 3_000, 500  # columns at first, and in each round
ALIKE = 2  # columns of a round that share an ideal
SMOOTH = 0.5  # of the best prices in the next
FAR = 0.4  # from its first price no unit's price gets, in mean prices
SHARP = 1e-5  # of the relaxation: less is not worth another round


class _Master:
    """The relaxation over the columns so far. Mutable, used inside ``relaxed`` alone."""

    def __init__(self, field: Field, start: Worth) -> None:
        self.field = field
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        infinity = self.solver.infinity()
        self.cover = [self.solver.Constraint(1.0, 1.0) for _ in range(field.units.count)]
        self.devices = [self.solver.Constraint(-infinity, 0.0) for _ in field.devices]
        theta = self.solver.NumVar(0.0, infinity, "theta")
        self.solver.Objective().SetCoefficient(theta, 1.0)
        for row, count in zip(self.devices, field.devices, strict=True):
            row.SetCoefficient(theta, -float(count))
        mean = float(start.unit.mean())
        for row, unit in zip(self.cover, start.unit, strict=True):
            for sign, price in ((1.0, float(unit) + FAR * mean), (-1.0, FAR * mean - float(unit))):
                missing = self.solver.NumVar(0.0, infinity, "")
                row.SetCoefficient(missing, sign)
                self.solver.Objective().SetCoefficient(missing, price)

    def add(self, parts: Parts) -> None:
        inside = self.field.tables.inside
        for inner, outer, kind in zip(parts.inner, parts.outer, parts.kind, strict=True):
            share = self.solver.NumVar(0.0, self.solver.infinity(), "")
            for unit in np.flatnonzero(inside[outer] & ~inside[inner]):
                self.cover[unit].SetCoefficient(share, 1.0)
            self.devices[kind].SetCoefficient(share, 1.0)

    def solve(self) -> tuple[float, Worth] | None:
        """Its value and its prices; None where the solver has no answer."""
        if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
            return None
        unit = np.array([row.dual_value() for row in self.cover])
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
    master = _Master(field, start)
    columns = _unlike(best.parts, best.waste, FIRST)
    for _ in range(ROUNDS):
        if best.empty or not columns.count:
            break
        if late():
            raise TooLate
        master.add(columns)
        solved = master.solve()
        if solved is None:
            break
        value, last = solved
        found = _valid(field, best.parts, _mixed(field, best.worth, last))
        if found.worth.slack < best.worth.slack:
            best = found.left()
        waste = best.parts.waste(field, last)
        columns = _unlike(best.parts.chosen(waste < -CAREFUL), waste[waste < -CAREFUL], MORE)
        if value - (1.0 - best.worth.slack) < SHARP:
            break
    return best


def _valid(field: Field, parts: Parts, worth: Worth) -> Relaxed:
    """Prices of devices changed so that the part of each type that wastes least wastes nothing, and all scaled."""
    waste, devices = parts.waste(field, worth), np.array(field.devices, dtype=float)
    least = worth.kind.copy()  # a device that no part can use is worth nothing
    np.minimum.at(least, parts.kind, waste)
    kind_worth = worth.kind - least
    whole = max(float(devices @ kind_worth), 1e-30)
    return Relaxed(parts, Worth(worth.unit / whole, kind_worth / whole), (waste - least[parts.kind]) / whole)


def _mixed(field: Field, best: Worth, last: Worth) -> Worth:
    whole = float(np.array(field.devices) @ last.kind)
    if not whole > 0:
        return best
    return Worth(SMOOTH * best.unit + (1 - SMOOTH) * last.unit / whole, SMOOTH * best.kind + (1 - SMOOTH) * last.kind / whole)


def _unlike(parts: Parts, waste: Array, count: int) -> Parts:
    """Those that waste least, few of which share an ideal."""
    near = min(len(waste), 50 * count)
    first = np.argpartition(waste, near - 1)[:near] if near else np.zeros(0, dtype=np.int64)
    taken: dict[tuple[int, int], int] = {}
    found: list[int] = []
    for column in first[np.lexsort((first, waste[first]))]:
        ends = (0, int(parts.inner[column])), (1, int(parts.outer[column]))
        if all(taken.get(end, 0) < ALIKE for end in ends):
            found.append(int(column))
            for end in ends:
                taken[end] = taken.get(end, 0) + 1
            if len(found) == count:
                break
    return parts.chosen(np.array(found, dtype=np.int64))
