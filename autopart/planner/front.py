"""The least step for every number of devices: pipelines and bounds, from all devices down to one.

What is the fastest on n devices and works on k of them is the fastest on k to n, so numbers between are passed over; and no
pipeline on fewer devices is faster than the bound for more, with which their search begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from autopart.planner.problem import Budget, Candidate, Problem, Solution

SHARE = 3  # of an equal part of the time, that one number of devices may take
EVERY_NUMBER = 16  # of devices up to which the front has every number of them; of more, about so many numbers

Solve = Callable[[Problem, float, float], Solution]
"""Problem, seconds, and a bound that is known already."""


@dataclass(frozen=True, slots=True)
class Limited:
    """The solution on ``devices`` at most."""

    devices: int
    solution: Solution


def front(problem: Problem, solve: Solve, *, time_limit_s: float, known: Solution | None = None) -> tuple[Limited, ...]:
    """For falling numbers of devices, as long as there are pipelines; ``known`` is the solution on all. No number may take more
    than ``SHARE`` times an equal part of the time that is left.
    """
    until = time.monotonic() + time_limit_s
    asked = sorted(numbers(sum(problem.devices)), reverse=True)
    found: list[Limited] = []
    most, floor_s = sum(problem.devices), 0.0
    for place, devices in enumerate(asked):
        if devices > most:
            continue
        left_s = until - time.monotonic()
        share_s = max(min(left_s, SHARE * left_s / (len(asked) - place)), 0.01)
        solution = known if known and place == 0 else solve(limited(problem, devices), share_s, floor_s)
        if solution.proof == "infeasible":
            break
        found.append(Limited(devices, solution))
        floor_s = solution.lower_bound_s
        most = min((working(problem, candidate) for candidate in solution.candidates[:1]), default=devices) - 1
        if solution.proof == "interrupted":
            break
    return tuple(found)


def numbers(total: int) -> tuple[int, ...]:
    """Of devices to ask for, ascending: each, or a geometric sequence from one to all."""
    if total <= EVERY_NUMBER:
        return tuple(range(1, total + 1))
    steps = (round(total ** (step / (EVERY_NUMBER - 1))) for step in range(EVERY_NUMBER))
    return tuple(sorted(set(steps)))


def limited(problem: Problem, devices: int) -> Problem:
    """The problem with so many devices of any groups."""
    return replace(problem, budgets=(*problem.budgets, Budget((1,) * len(problem.devices), devices)))


def working(problem: Problem, candidate: Candidate) -> int:
    """How many devices a pipeline has."""
    options = problem.settings[candidate.setting].options
    return sum(part.devices for choice in candidate.choices for part in options[choice.option].parts)


def bound_s(found: Iterable[Limited], devices: int) -> float:
    """No pipeline on so many devices or fewer has a smaller step."""
    return max((each.solution.lower_bound_s for each in found if each.devices >= devices), default=0.0)
