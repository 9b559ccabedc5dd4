"""A lower bound that every assignment obeys, contiguous or not: ops may be split over device types.

    min  a sum_{v,k} t_vk x_vk + b T
    s.t. sum_v t_vk x_vk <= N_k T,   sum_v m_v x_vk <= N_k C_k,   sum_k x_vk = 1,   x >= 0

N_k devices of type k, C_k bytes of each; (a, b) = (0, 1) for ``throughput`` and ``latency``, (1, M - 1) for ``step``. Whatever
the solver says, any prices lambda_k, mu_k >= 0 with sum_k N_k lambda_k = b prove that the value is at least
sum_v min_k ((a + lambda_k) t_vk + mu_k m_v) - sum_k mu_k N_k C_k; only that is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ortools.linear_solver import pywraplp

from autopart.profiled.groups import Groups
from autopart.profiled.problem import Array, Goal, Problem

CAREFUL = 1e-9  # relative: what sums of floating point numbers may be off by


@dataclass(frozen=True, eq=False)
class Prices:
    """By device type: what a second and a byte of one of its devices is worth, and the bound that follows from that alone."""

    second: Array
    byte: Array
    bound_s: float


def kind_times(problem: Problem, groups: Groups) -> Array:
    """Seconds by group and device type."""
    return groups.time_s[:, [ranks[0] for ranks in problem.kind_ranks]]


def kind_capacities(problem: Problem) -> Array:
    """Bytes of one device, by type."""
    return problem.capacity_bytes[[ranks[0] for ranks in problem.kind_ranks]]


def work(prices: Prices, time_s: Array, memory_bytes: Array) -> Array:
    """The least that each row of times by type, with its bytes, takes of what all devices have; infinite times are none."""
    possible = np.isfinite(time_s)
    priced = np.where(possible, prices.second * np.where(possible, time_s, 0.0), np.inf) + prices.byte * memory_bytes[:, None]
    least: Array = priced.min(axis=1)
    return least


def weights(goal: Goal) -> tuple[float, float]:
    """(a, b) of the module's program."""
    return (1.0, goal.microbatches - 1.0) if goal.objective == "step" else (0.0, 1.0)


def price(problem: Problem, groups: Groups, goal: Goal) -> Prices:
    """The best prices; ``bound_s`` holds for the goal's objective."""
    times, capacity = kind_times(problem, groups), kind_capacities(problem)
    devices = np.array([float(len(ranks)) for ranks in problem.kind_ranks])
    a, b = weights(goal)
    second, byte = _dual(times, groups.memory_bytes, devices, devices * capacity, a, b)
    second = _scaled(np.maximum(second, 0.0), devices, b)
    byte = np.maximum(byte, 0.0)
    total = float(work(Prices(a + second, byte, 0.0), times, groups.memory_bytes).sum() - byte @ (devices * capacity))
    heaviest = float(times.min(axis=1).max())
    alone = float(times.min(axis=1).sum()) if a else 0.0
    return Prices(second, byte, max(0.0, total, a * alone + b * heaviest) * (1 - CAREFUL))


def _scaled(second: Array, devices: Array, b: float) -> Array:
    if b == 0:
        return np.zeros_like(second)
    if not second @ devices > 0:
        second = np.ones_like(devices)
    scaled: Array = second * (b / float(second @ devices))
    return scaled


def _dual(times: Array, memory: Array, devices: Array, room: Array, a: float, b: float) -> tuple[Array, Array]:
    """Prices of seconds and bytes from the linear program; equal ones and none where the solver has no answer."""
    kinds, unit = len(devices), max(float(np.where(np.isfinite(times), times, 0.0).max()), 1e-30)
    byte_unit = max(float(room.max()), 1.0)
    if kinds == 1:
        return np.ones(1), np.zeros(1)
    solver = pywraplp.Solver.CreateSolver("GLOP")
    peak = solver.NumVar(0.0, solver.infinity(), "T")
    loads = [solver.Constraint(-solver.infinity(), 0.0) for _ in range(kinds)]
    fill = [solver.Constraint(-solver.infinity(), float(each) / byte_unit) for each in room]
    solver.Objective().SetCoefficient(peak, b)
    for kind in range(kinds):
        loads[kind].SetCoefficient(peak, -float(devices[kind]))
    for group in range(len(times)):
        whole = solver.Constraint(1.0, 1.0)
        for kind in map(int, np.flatnonzero(np.isfinite(times[group]))):
            share = solver.NumVar(0.0, solver.infinity(), "")
            seconds = float(times[group, kind]) / unit
            solver.Objective().SetCoefficient(share, a * seconds)
            loads[kind].SetCoefficient(share, seconds)
            fill[kind].SetCoefficient(share, float(memory[group]) / byte_unit)
            whole.SetCoefficient(share, 1.0)
    if solver.Solve() != pywraplp.Solver.OPTIMAL:
        return np.ones(kinds), np.zeros(kinds)
    second = np.array([-row.dual_value() for row in loads])
    byte = np.array([-row.dual_value() for row in fill]) * unit / byte_unit
    return second, byte
