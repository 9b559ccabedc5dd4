"""Bounds in closed form, by how much there is to do: enough to leave most settings, and most columns of the others, unmade.

Let T be the slowest stage's time of a pipeline with M microbatches, and price_g >= 0 with sum_g price_g devices_g = 1. Its stages
take sum_c price . usage_c <= 1, each for t_c <= T, and a block b takes price . usage_o time_o,b at least, under
whichever option o:

    T >= sum_c price . usage_c t_c >= work = sum_b work_b,    work_b = min_o price . usage_o time_o,b

over the options that hold the block at all. Of the other stages of a pipeline that uses column c, in the same way,

    T >= (work - sum of work_b over its blocks) / (1 - price . usage_c)

The prices that make ``work`` largest are those of the linear program that spreads blocks over devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from autopart.planner.problem import Array, Ints, Problem, Setting
from autopart.planner.stack import lines_of

ROUNDS = 40
SLACK = 1e-9  # of the work: what rounding could add to it


@dataclass(frozen=True, eq=False)
class Work:
    """``work_s``: of every block, at the best prices; infinite if nothing holds it. ``taken[o]``: price times usage."""

    microbatches: int
    work_s: Array
    taken: Array

    @property
    def bound_s(self) -> float:
        """No pipeline has a shorter step."""
        return self.microbatches * float(self.work_s.sum()) * (1 - SLACK)

    def by_column(self, taken: Array, inside_s: Array, time_s: Array, sync_s: Array) -> Array:
        """No pipeline with a stage of this time, synchronisation, ``taken`` devices and ``inside_s`` work has a shorter step."""
        total_s = float(self.work_s.sum()) * (1 - SLACK)
        outside_s, left = np.maximum(total_s - inside_s, 0.0), 1.0 - taken
        with np.errstate(divide="ignore", invalid="ignore"):
            others_s = np.where(left > SLACK, outside_s / left, np.where(outside_s > SLACK * total_s, np.inf, 0.0))
        others_s = np.maximum(others_s, total_s)
        slower = others_s > time_s
        slowest_s = np.where(slower, self.microbatches * others_s, (self.microbatches - 1) * time_s)
        found: Array = time_s + slowest_s + sync_s
        return found


def work_of(problem: Problem, setting: Setting) -> Work:
    """Kind by kind; the first block and the last are kinds of their own."""
    kinds = np.array([-1, *problem.kinds[1:-1], -2][: problem.blocks])
    _, blocks, kind_of, count = np.unique(kinds, return_index=True, return_inverse=True, return_counts=True)
    budgets = problem.budgets
    usage = np.array([(*o.usage, *(b.taken(o) for b in budgets)) for o in setting.options], dtype=np.int64)
    devices = np.array([*problem.devices, *(b.limit for b in budgets)], dtype=np.float64)
    time_s = _usable(problem, setting, blocks, count)
    time_s[(usage > devices).any(axis=1)] = np.inf
    if not np.isfinite(time_s.min(axis=0)).all():
        return Work(setting.microbatches, np.full(problem.blocks, np.inf), np.zeros(len(usage)))
    taken = usage @ _best_price(time_s, count, usage, devices)
    return Work(setting.microbatches, _cheapest(time_s, taken).min(axis=0)[kind_of.ravel()], taken)


def _usable(problem: Problem, setting: Setting, blocks: Ints, count: Ints) -> Array:
    """[o, kinds] seconds of the line that is slowest on the whole, infinite where one microbatch does not fit."""
    options = setting.options
    by_line = lines_of([o.time_s[:, blocks] for o in options])
    time_s: Array = by_line[(by_line @ count).argmax(axis=0), np.arange(len(options))]
    most = setting.microbatches if setting.schedule == "gpipe" else 1
    needed = lines_of(
        [o.static_bytes[:, blocks] + most * o.inflight_bytes[:, blocks] + o.transient_bytes[:, blocks] for o in options]
    )
    saved = np.array([sum(o.saved_bytes(problem.ties)) for o in options])
    capacity = lines_of([o.capacity_bytes for o in options]) * (1 + SLACK) + saved
    time_s[(needed > capacity[:, :, None]).any(axis=0)] = np.inf
    return time_s


def _cheapest(time_s: Array, taken: Array) -> Array:
    """Price of every block under every option; infinite where it does not fit, whatever the price."""
    found: Array = np.where(np.isfinite(time_s), time_s, 0.0) * taken[:, None]
    found[~np.isfinite(time_s)] = np.inf
    return found


def _best_price(time_s: Array, count: Ints, usage: Ints, devices: Array) -> Array:
    """Prices of all devices together 1 that make the work largest, by cutting planes: each choice of options is one."""
    price = 1.0 / (len(devices) * devices)
    if len(devices) == 1:
        return price
    best_s, best, scale_s = -1.0, price, 0.0
    solver, above, worth = _make_master(devices)
    for _ in range(ROUNDS):
        cheapest = _cheapest(time_s, usage @ price)
        chosen = cheapest.argmin(axis=0)
        kinds = np.arange(len(chosen))
        value_s = float(cheapest[chosen, kinds] @ count)
        scale_s = scale_s or value_s or 1.0
        if value_s > best_s:
            best_s, best = value_s, price
        cut = (time_s[chosen, kinds] * count) @ usage[chosen] / devices
        solver.Add(above <= sum(float(c / scale_s) * w for c, w in zip(cut, worth, strict=True)))
        if solver.Solve() != pywraplp.Solver.OPTIMAL or above.solution_value() * scale_s <= best_s * (1 + 1e-3):
            break
        price = np.array([max(0.0, w.solution_value()) for w in worth]) / devices
        price /= price @ devices
    return best


def _make_master(devices: Array) -> tuple[pywraplp.Solver, pywraplp.Variable, list[pywraplp.Variable]]:
    """Maximise what is below all cuts; ``worth`` is of all devices of a group."""
    solver = pywraplp.Solver.CreateSolver("GLOP")
    above = solver.NumVar(0.0, solver.infinity(), "")
    worth = [solver.NumVar(0.0, 1.0, "") for _ in devices]
    solver.Add(sum(worth) == 1)
    solver.Maximize(above)
    return solver, above, worth
