"""The bound over convex parts in general, for ``throughput``: every unit in one part, every part on one device.

For a limit T on loads, all convex parts with a load below T that an assignment can hold are listed (``parts``). Then

    min theta   s.t.  sum_{S holds v} x_S = 1,   sum_{S on type k} x_S <= N_k theta,   x >= 0

is at most 1 if there is an assignment whose loads are all below T. It is solved by generating columns, with prices smoothed
between the best and the last (Wentges 1997). Any prices give a bound: that of the best is what counts. If it is not above 1,
parts that waste too much at these prices go, and the exact cover by those that are left goes to CP-SAT.

Parts that need each other in a circle are parts like any other here. Each load is what ``chain`` says of it: at most the true one.
"""

from __future__ import annotations

import math
import time
LOG=1
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp
from ortools.sat.python import cp_model

from autopart.cpsat import make_solver, run
from autopart.profiled.chain import Field, Part, TooLate
from autopart.profiled.order import bits
from autopart.profiled.parts import Parts, Worth
from autopart.profiled.problem import Array, Ints
from autopart.profiled.relax import CAREFUL

ROUNDS = 60
FIRST, MORE = 3_000, 500  # columns at first, and in each round
ALIKE = 2  # columns of a round that share an ideal
SMOOTH = 0.5  # of the best prices in the next
FAR = 0.4  # from its first price no unit's price gets, in mean prices
SHARP = 1e-5  # of the relaxation: less is not worth another round
RESOLUTION = 2.0**32  # of the limit
SPEED = 0.5  # seconds of CP-SAT's own clock, which counts work, that are worth one of time


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
        return self.worth.slack < -CAREFUL

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
        if LOG: print('   lp %.5f best %.5f left %d new %d cpu %.2f'%(value,1-best.worth.slack,best.parts.count,columns.count,time.process_time()))
        if best.empty or not columns.count or value - (1.0 - best.worth.slack) < SHARP:
            break
    return best


def _valid(field: Field, parts: Parts, worth: Worth) -> Relaxed:
    """Prices of devices changed so that the part of each type that wastes least wastes nothing, and all scaled."""
    waste, devices = parts.waste(field, worth), np.array(field.devices, dtype=float)
    least = worth.kind.copy()  # where there is no part, devices are worth nothing
    for kind in range(len(devices)):
        here = waste[parts.kind == kind]
        least[kind] = min(here.min(), worth.kind[kind]) if len(here) else worth.kind[kind]
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


@dataclass(frozen=True, slots=True)
class Covered:
    """``bound_s``: no cover has a smaller largest load; infinite where there is none. ``parts``: the best found, maybe none."""

    bound_s: float
    parts: tuple[Part, ...]


def exact(field: Field, parts: Parts, limit_s: float, time_limit_s: float) -> Covered:
    """The cover by these parts whose largest load is least."""
    ideals, kinds = field.tables.ideals, len(field.devices)
    sets = {
        (ideals[outer] & ~ideals[inner], int(kind)): float(load)
        for inner, outer, kind, load in zip(parts.inner, parts.outer, parts.kind, parts.load_s, strict=True)
    }
    model, holding = cp_model.CpModel(), [[] for _ in range(field.units.count)]
    using: list[list[cp_model.IntVar]] = [[] for _ in range(kinds)]
    peak, flags = model.new_int_var(0, int(RESOLUTION) + 1, "T"), []
    for (units, kind), load in sets.items():
        flag = model.new_bool_var("")
        flags.append(flag)
        using[kind].append(flag)
        for unit in bits(units):
            holding[unit].append(flag)
        model.add(peak >= math.floor(load / limit_s * RESOLUTION)).only_enforce_if(flag)
    for each in holding:
        model.add_exactly_one(each)
    for each, count in zip(using, field.devices, strict=True):
        model.add(sum(each) <= count)
    model.minimize(peak)
    solver = make_solver()
    solver.parameters.max_deterministic_time = max(0.0, SPEED * time_limit_s)
    solver.parameters.max_time_in_seconds = max(0.01, time_limit_s)
    status = run(solver, model)
    if status == cp_model.INFEASIBLE:
        return Covered(math.inf, ())
    bound = max(0.0, solver.best_objective_bound) / RESOLUTION * limit_s * (1 - 1e-12)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Covered(bound, ())
    picked = [key for key, flag in zip(sets, flags, strict=True) if solver.boolean_value(flag)]
    return Covered(bound, tuple(Part(units, tuple(int(kind == each) for each in range(kinds))) for units, kind in picked))
