"""Planning from blocks and a cluster to the chosen plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from autopart.planner.choose import Pick, choose, fastest, follows
from autopart.planner.ilp import solve
from autopart.planner.infeasible import explain
from autopart.planner.known import candidates_of, with_known
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
    known: Sequence[Plan] = (),
    pick: Pick = fastest,
) -> Plan:
    """The plan with its estimate and baselines; raises Infeasible with the reason and what would help.

    ``known`` plans, as far as they have what the user fixed, are where the search starts from; ``pick`` has the last word.
    """
    pins = pins or Pins()
    index = replace(index, layouts=pins.layouts)
    check_pins(index, pins)
    known = [plan for plan in known if plan.schedule.name == schedule and follows(plan, pins) and not pins.layouts]

    def run(problem: Problem) -> Solution:
        start = candidates_of(known, problem, index)
        return solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress, start=start)

    problem = price(index, with_known(propose(index, pins, schedule), known, index), pins.stages)
    solution = run(problem) if problem.settings else Solution((), 0.0, "infeasible")
    plan = choose(problem, solution, index, pins, run, known, pick)
    if plan is None:
        raise explain(index, pins, schedule, lambda changed: solve(changed, gap=1.0, time_limit_s=10.0))
    return plan
