"""Planning from blocks and a cluster to the chosen plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autopart.planner.baselines import baselines
from autopart.planner.choose import Ranking, chosen, rank
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
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The plan with its estimate and baselines; raises Infeasible with the reason and what would help."""
    pins = pins or Pins()
    found = search(index, pins, schedule, gap=gap, time_limit_s=time_limit_s, progress=progress, say=say)
    plan = chosen(found, index, pins)
    if plan is None:
        say("looking for what would help")
        raise explain(
            replace(index, layouts=pins.layouts), pins, schedule, lambda changed: solve(changed, gap=1.0, time_limit_s=10.0)
        )
    return plan


def search(
    index: Index,
    pins: Pins,
    schedule: str = "1f1b",
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Ranking:
    """The best plans that have what is pinned, simulated, beside the baselines; InputError where the pins are impossible."""
    index = replace(index, layouts=pins.layouts)
    check_pins(index, pins)

    def run(problem: Problem) -> Solution:
        return solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)

    problem = price(index, propose(index, pins, schedule), pins)
    solution = run(problem) if problem.settings else Solution((), 0.0, "infeasible")
    say("simulating the best plans and the baselines")
    return rank(problem, solution, index, pins, run, baselines(index, schedule))
