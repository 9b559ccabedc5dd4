"""Planning from blocks and a cluster to the chosen plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autopart.errors import Infeasible
from autopart.planner.choose import choose
from autopart.planner.ilp import solve
from autopart.planner.infeasible import explain
from autopart.planner.meshes import Index
from autopart.planner.pins import check_pins
from autopart.planner.price import price, propose
from autopart.planner.problem import Problem, Solution
from autopart.planner.strategies import Pins
from autopart.plans import Plan

Progress = Callable[[float, float, float], None]


def best_plan(
    index: Index,
    pins: Pins | None = None,
    schedule: str = "1f1b",
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
) -> Plan:
    """The plan with its estimate and baselines; raises Infeasible with the reason and what would help."""
    pins = pins or Pins()
    index = replace(index, layouts=pins.layouts)
    check_pins(index, pins)

    def run(problem: Problem) -> Solution:
        return solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)

    problem = price(index, propose(index, pins, schedule), pins.stages)
    solution = run(problem) if problem.settings else Solution((), 0.0, "infeasible")
    if solution.proof == "interrupted" and not solution.candidates:
        raise KeyboardInterrupt
    plan = choose(problem, solution, index, pins, run)
    if plan is None and solution.proof == "time limit":
        raise Infeasible(f"no plan was found within {time_limit_s:g} s, nor was it ruled out that there is one",
                         remedy="Give more time with --time-limit.")  # fmt: skip
    if plan is None:
        raise explain(index, pins, schedule, lambda changed: solve(changed, gap=1.0, time_limit_s=10.0))
    return plan
