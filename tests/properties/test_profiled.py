"""Plans of profiled graphs equal brute force, and their bounds are bounds."""

from __future__ import annotations

import math

import pytest

from autopart.errors import Infeasible
from autopart.profiled.problem import Goal, Problem
from autopart.profiled.solve import solve
from tests.profiles import allowed, best_by_force, cost, draw

GOALS = [
    Goal("throughput", contiguous=True),
    Goal("throughput", contiguous=False),
    Goal("step", contiguous=True, microbatches=1),
    Goal("step", contiguous=True, microbatches=4),
    Goal("step", contiguous=False, microbatches=4),
    Goal("latency", contiguous=True),
    Goal("latency", contiguous=False),
]


def agrees(problem: Problem) -> bool:
    """Whether the plan is allowed and as good as any, and the bound below the optimum; both answer no alike."""
    best = best_by_force(problem)
    try:
        found = solve(problem, gap=0.0, time_limit_s=20.0)
    except Infeasible:
        return math.isinf(best)
    near = 1e-6 * max(best, 1e-9)
    bound_holds = found.bound_s <= best + near
    told = abs(found.value_s - best) <= near and (
        problem.goal.objective == "latency" or abs(cost(problem, found.assignment) - best) <= near
    )
    return bound_holds and told and allowed(problem, found.assignment)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_equal_to_brute_force(goal: Goal, training: bool) -> None:
    ops = 5 if goal.objective == "latency" else 6
    wrong = [seed for seed in range(30) if not agrees(draw(seed, goal, ops=ops, training=training))]
    assert not wrong
