"""Least money or energy, with and without a limit on the step, against exhaustive search."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest

from autopart.planner import oracle
from autopart.planner.cheapest import Cheapest, cheapest
from autopart.planner.ilp import solve
from autopart.planner.problem import Candidate, Problem, Solution
from autopart.planner.rates import Rates, make_rates
from tests.properties.test_ilp import random_problem

INSTANCES = 240
EXACT = 1e-7


@dataclass(frozen=True)
class Case:
    """A problem with prices and perhaps a limit, and what oracle and solver say of it."""

    problem: Problem
    rates: Rates
    limit_s: float
    fastest: Candidate
    best: Candidate | None
    found: Cheapest

    def value(self, candidate: Candidate) -> float:
        working = oracle.working_devices(self.problem, candidate.setting, candidate.choices)
        return candidate.step_s * sum(rate * n for rate, n in zip(self.rates.each, working, strict=True))


def quick(problem: Problem, gap: float, time_limit_s: float) -> Solution:
    return solve(problem, gap=gap, time_limit_s=time_limit_s, elsewhere=False)


def exhaustive(problem: Problem, rates: Rates, limit_s: float) -> Candidate | None:
    def value(step: float, working: tuple[int, ...]) -> float:
        rate = sum(each * n for each, n in zip(rates.each, working, strict=True))
        return rate * step if step <= limit_s else math.inf

    return oracle.best(problem, value)


def random_case(rng: random.Random) -> Case | None:
    problem = random_problem(rng)
    fastest = oracle.best(problem)
    if fastest is None:
        return None
    prices = [rng.choice([0.35, 1.2, 3.67, round(rng.uniform(0.1, 5), 4)]) for _ in problem.devices]
    rates = make_rates(prices, problem.devices)
    limit_s = rng.choice([math.inf, fastest.step_s * rng.uniform(0.9, 2.5)])
    found = cheapest(problem, rates, quick, limit_s=limit_s, gap=EXACT)
    return Case(problem, rates, limit_s, fastest, exhaustive(problem, rates, limit_s), found)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng, found = random.Random(11), []
    while len(found) < INSTANCES:
        case = random_case(rng)
        found += [case] if case else []
    return found


def wrong(case: Case) -> bool:
    kept = [c for c in case.found.candidates if c.step_s <= case.limit_s]
    if case.best is None or not kept:
        return (case.best is None) != (not kept)
    return abs(case.value(kept[0]) - case.value(case.best)) > 1e-6 * case.value(case.best)


def test_equals_exhaustive_search(cases: list[Case]) -> None:
    assert [n for n, case in enumerate(cases) if wrong(case)] == []
