"""Bounds in closed form, by how much there is to do: enough to leave most settings, and most columns of the others, unmade.

Let T be the slowest stage's time of a pipeline with M microbatches, and price_g >= 0 of a device with sum_g price_g devices_g = 1.
Its stages take sum_c price . usage_c <= 1, each for t_c <= T, and a block b takes price . usage_o time_o,b at least, under
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

from autopart.planner.problem import Array, Problem, Setting
from autopart.planner.stack import Stack

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


def work_of(problem: Problem, setting: Setting, stack: Stack) -> Work:
    """Block by block of the middle, kind by kind; the first and the last are kinds of their own."""
    kinds = np.array([-1, *problem.kinds[1:-1], -2][: problem.blocks])
    _, blocks, kind_of, count = np.unique(kinds, return_index=True, return_inverse=True, return_counts=True)
    devices = np.array(problem.devices, dtype=np.float64)
    time_s = _usable(setting, stack, blocks)
    time_s[(stack.usage > devices).any(axis=1)] = np.inf
    if not np.isfinite(time_s.min(axis=0)).all():
        return Work(setting.microbatches, np.full(problem.blocks, np.inf), np.zeros(len(stack.usage)))
    price = _best_price(time_s, count, stack.usage, devices)
    taken = stack.usage @ price
    return Work(setting.microbatches, _cheapest(time_s, taken).min(axis=0)[kind_of], taken)


def _usable(setting: Setting, stack: Stack, blocks: Array) -> Array:
    """[o, blocks] seconds of the line that is slowest on the whole, infinite where one microbatch does not fit."""
    slowest = stack.time_s.sum(axis=2).argmax(axis=0)
    time_s = stack.time_s[slowest, np.arange(len(slowest))][:, blocks]
    needed = (stack.static_bytes + stack.inflight_bytes + stack.transient_bytes)[:, :, blocks]
    if setting.schedule == "gpipe":
        needed += (setting.microbatches - 1) * stack.inflight_bytes[:, :, blocks]
    needed -= stack.tied_bytes.sum(axis=1)[None, :, None]
    fits = (needed <= stack.capacity_bytes[:, :, None] * (1 + SLACK)).all(axis=0)
    found: Array = np.where(fits, time_s, np.inf)
    return found


def _cheapest(time_s: Array, taken: Array) -> Array:
    """Price of every block under every option; infinite where it does not fit, whatever the price."""
    found: Array = np.where(np.isfinite(time_s), time_s, 0.0) * taken[:, None]
    found[~np.isfinite(time_s)] = np.inf
    return found


def _best_price(time_s: Array, count: Array, usage: Array, devices: Array) -> Array:
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
