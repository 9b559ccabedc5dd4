"""Least money or energy, with and without a limit on the step, against exhaustive search."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import pytest

from autopart.planner import oracle
from autopart.planner.cheapest import Cheapest, _Line, _Search, cheapest
from autopart.planner.front import Limited, bound_s, front, limited, numbers, working
from autopart.planner.ilp import solve
from autopart.planner.problem import Budget, Candidate, Option, Problem, Solution
from autopart.planner.rates import MOST_UNITS, Rates, make_rates
from tests.properties.test_ilp import random_problem

INSTANCES = 160
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


def quick(problem: Problem, gap: float, time_limit_s: float, enough_s: float) -> Solution:
    return solve(problem, gap=gap, time_limit_s=time_limit_s, elsewhere=False, enough_s=enough_s)


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
    limit_s = rng.choice([math.inf, fastest.step_s * rng.uniform(0.9, 1.8)])
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


def test_the_bound_holds_and_is_tight(cases: list[Case]) -> None:
    for case in cases:
        if case.best is None:
            assert case.found.proof == "infeasible"
            continue
        least = case.value(case.best)
        assert least * (1 - 1e-6) <= case.found.lower_bound <= least * (1 + 1e-9)
        assert case.found.fastest_s <= case.fastest.step_s * (1 + 1e-9)
        assert case.found.proof == "gap"


def test_candidates_are_pipelines_and_those_that_keep_the_limit_come_first(cases: list[Case]) -> None:
    for case in cases:
        for candidate in case.found.candidates:
            step_s = oracle.step_s(case.problem, candidate.setting, candidate.choices)
            assert step_s == pytest.approx(candidate.step_s, rel=1e-12)
        order = [(c.step_s > case.limit_s, case.value(c)) for c in case.found.candidates]
        assert order == sorted(order)


def test_prices_and_limits_matter(cases: list[Case]) -> None:
    """The instances are worth solving: the cheapest is often not the fastest, limits bind, and some are too tight."""
    tight = [case for case in cases if case.limit_s < math.inf]
    assert sum(case.best is None for case in tight) > 5
    dearer = [case for case in cases if case.best and case.value(case.fastest) > case.value(case.best) * (1 + 1e-6)]
    assert len(dearer) > INSTANCES / 3
    bound = [case for case in tight[:60] if case.best and exhaustive(case.problem, case.rates, math.inf) != case.best]
    assert len(bound) > 10


def spoilt(case: Case) -> bool:
    found = cheapest(case.problem, case.rates, quick, limit_s=case.limit_s, gap=EXACT)
    return wrong(replace(case, found=found))


def first_part_alone(budget: Budget, option: Option) -> int:
    return option.parts[0].devices * budget.each[option.parts[0].group]


MUTATIONS = {
    "a line too high": (_Line, "at", lambda line, units: 1.3 * (line.value_s - line.slope_s * units)),
    "half of a range lost": (_Search, "push", lambda search, these: search.heap or push(search, these)),
    "a part taken for nothing": (Budget, "taken", first_part_alone),
}
push = _Search.push


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mistake_is_noticed(mutation: str, cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*MUTATIONS[mutation])
    assert any(spoilt(case) for case in cases[:100])


def test_the_front_equals_exhaustive_search() -> None:
    rng, points, skipped = random.Random(12), 0, 0
    for _ in range(60):
        problem = random_problem(rng)
        found = front(
            problem, lambda p, time_s, floor_s: solve(p, gap=EXACT, time_limit_s=time_s, floor_s=floor_s), time_limit_s=60
        )
        for devices in range(1, sum(problem.devices) + 1):
            best = oracle.best(limited(problem, devices))
            steps = [each.solution.candidates[0].step_s for each in found if least_devices(problem, each) <= devices]
            assert (best is None) == (not steps)
            if best is not None:
                assert min(steps) == pytest.approx(best.step_s, rel=1e-6)
                assert best.step_s * (1 - 1e-6) <= bound_s(found, devices) * (1 + 1e-9)
                assert bound_s([each for each in found if each.devices >= devices], devices) <= best.step_s * (1 + 1e-9)
                points += 1
        skipped += sum(problem.devices) - len(found)
    assert points > 100
    assert skipped > 20


def least_devices(problem: Problem, each: Limited) -> int:
    return working(problem, each.solution.candidates[0])


def test_numbers_of_devices() -> None:
    assert numbers(5) == (1, 2, 3, 4, 5)
    many = numbers(4096)
    assert (many[0], many[-1]) == (1, 4096)
    assert 12 <= len(many) <= 16


def test_whole_units_are_exact_or_less() -> None:
    assert make_rates((3.67, 1.2), (4, 4)) == Rates((3.67, 1.2), (367, 120), 0.01)
    assert make_rates((400.0, 70.0), (1, 1)).units == (40, 7)
    fine = make_rates((1.23456789, 0.1), (4096, 4096))
    assert sum(fine.units) * 4096 <= MOST_UNITS
    assert all(units * fine.unit <= each for units, each in zip(fine.units, fine.each, strict=True))
    assert all(units * fine.unit >= each * 0.99 for units, each in zip(fine.units, fine.each, strict=True))
