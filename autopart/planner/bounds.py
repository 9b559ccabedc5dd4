"""Lower bounds: the linear program over whole pipelines, solved by column generation.

    min  sum_P cost_P x_P + penalty sum_g e_g
    s.t. sum_P usage_P,g x_P - e_g <= devices_g   for every group g      (price_g >= 0 is minus its dual)
         sum_P x_P = 1,  x, e >= 0

Budgets have a row each like the groups, and what they add to the objective is in cost_P.

P ranges over all pipelines of the allowed columns, at what their columns cost and neighbours pay beside at least; the dynamic
program of ``paths`` or ``neighbours`` finds the one of least reduced cost.
Its value at any price >= 0, less price * devices, bounds every feasible pipeline from below (Lagrange): no solver's word is
needed for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from autopart.planner.columns import Chain, Columns
from autopart.planner.neighbours import ClassTables, cheapest, pairs_s, tabulate
from autopart.planner.paths import Tables, priced
from autopart.planner.problem import Array, Ints

ROUNDS = 200


@dataclass(frozen=True, eq=False)
class Path:
    """A pipeline as column indices, in chain order."""

    columns: Ints
    cost_s: float
    usage: Ints


@dataclass(frozen=True, eq=False)
class Bound:
    """``value_s``: no feasible pipeline has a smaller sum of stage costs; infinite if none fits even without a device limit.
    ``price`` attains it, ``cost`` and ``tables`` belong to that price.
    """

    value_s: float
    price: Array
    cost: Array
    tables: Tables | ClassTables
    paths: tuple[Path, ...]


@dataclass(slots=True)
class _Master:
    """The LP over the pipelines found so far, in units of ``scale`` seconds."""

    solver: pywraplp.Solver
    limits: list[pywraplp.Constraint]
    convexity: pywraplp.Constraint
    scale: float


def relax(
    chain: Chain,
    columns: Columns,
    *,
    price: Array,
    paths: tuple[Path, ...],
    scale: float,
    enough_s: float,
    tolerance_s: float,
    check: Callable[[], None],
) -> Bound:
    """Bound of the allowed columns. Stops when it reaches ``enough_s`` or is within ``tolerance_s`` of the best.

    ``price`` and ``paths`` (of these columns) are where to start; ``scale`` exceeds any pipeline's cost; ``check`` may raise.
    """
    master = _make_master(chain, scale)
    for path in paths:
        _add(master, path)
    found = list(paths)
    best: Bound | None = None
    for _ in range(ROUNDS):
        check()
        cost = priced(chain, columns, price)
        tables = tabulate(chain, columns, cost)
        total, stages = cheapest(chain, columns, cost, tables)
        value = total - float(price @ chain.devices) if np.isfinite(total) else np.inf
        if best is None or value > best.value_s:
            best = Bound(value, price, cost, tables, ())
        if not np.isfinite(value) or best.value_s >= enough_s:
            break
        cost_s = float(columns.cost_s[stages].sum()) + pairs_s(chain, columns, stages)
        path = Path(stages, cost_s, chain.usage[columns.option[stages]].sum(axis=0))
        found.append(path)
        _add(master, path)
        objective_s, price = _solve(master)
        if not objective_s - best.value_s > tolerance_s:
            break
    assert best is not None
    return Bound(best.value_s, best.price, best.cost, best.tables, tuple(found))


def _make_master(chain: Chain, scale: float) -> _Master:
    """Missing devices cost 100 times any pipeline, so that a bound above the cutoff also proves that there is nothing."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    solver.Objective().SetMinimization()
    limits = [solver.Constraint(-solver.infinity(), float(n)) for n in chain.devices]
    for limit in limits:
        excess = solver.NumVar(0.0, solver.infinity(), "")
        limit.SetCoefficient(excess, -1.0)
        solver.Objective().SetCoefficient(excess, 100.0)
    return _Master(solver, limits, solver.Constraint(1.0, 1.0), scale)


def _add(master: _Master, path: Path) -> None:
    use = master.solver.NumVar(0.0, master.solver.infinity(), "")
    master.solver.Objective().SetCoefficient(use, path.cost_s / master.scale)
    master.convexity.SetCoefficient(use, 1.0)
    for limit, devices in zip(master.limits, path.usage, strict=True):
        limit.SetCoefficient(use, float(devices))


def _solve(master: _Master) -> tuple[float, Array]:
    """(objective, device prices) in seconds; a nan objective, which ends the search for better prices, if the solver gave up."""
    status = master.solver.Solve()
    if status != pywraplp.Solver.OPTIMAL:
        return np.nan, np.zeros(len(master.limits))
    price = np.array([max(0.0, -limit.dual_value()) for limit in master.limits])
    return master.solver.Objective().Value() * master.scale, price * master.scale


def floor_of(chain: Chain, columns: Columns, cost: Array) -> float:
    """Largest over the blocks of the smallest cost among the columns that can hold it: every pipeline has a stage as costly."""
    shape, first = np.unique(columns.shape, return_index=True)
    cheapest_of = np.full(len(chain.shapes.start) + 1, np.inf)
    cheapest_of[shape] = np.minimum.reduceat(cost, first)
    by_interval = cheapest_of[chain.shapes.of]
    holding = np.minimum.accumulate(np.minimum.accumulate(by_interval, axis=0)[:, ::-1], axis=1)[:, ::-1]
    blocks = np.arange(chain.blocks)
    return float(holding[blocks, blocks + 1].max())
