"""A search that starts from a pipeline proves the same optimum as one that starts from nothing."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from autopart.planner import oracle
from autopart.planner.ilp import solve
from autopart.planner.problem import Candidate, Choice, Problem
from tests.properties.test_ilp import EXACT, random_problem


def drawn(rng: random.Random, problem: Problem) -> Candidate | None:
    """Any pipeline that fits, if some are found."""
    for _ in range(200):
        setting = rng.randrange(len(problem.settings))
        cuts = [0, *sorted(rng.sample(range(1, problem.blocks), rng.randint(0, 2))), problem.blocks]
        options = len(problem.settings[setting].options)
        choices = tuple(Choice(a, b, rng.randrange(options)) for a, b in pairwise(cuts))
        step_s = oracle.step_s(problem, setting, choices)
        if step_s is not None:
            return Candidate(setting, choices, step_s)
    return None


def test_the_optimum_from_any_start() -> None:
    rng, started, improved = random.Random(11), 0, 0
    while started < 100:
        problem = random_problem(rng)
        start = drawn(rng, problem)
        if start is None:
            continue
        started += 1
        best = oracle.best(problem)
        assert best is not None
        found = solve(problem, gap=EXACT, start=[start])
        assert found.candidates[0].step_s == pytest.approx(best.step_s, rel=1e-6)
        assert found.lower_bound_s <= best.step_s * (1 + EXACT)
        assert found.gap <= 1e-6
        improved += best.step_s < start.step_s * (1 - 1e-6)
    assert 20 < improved < 100, "starts are all optimal, or none is"


def test_a_rough_search_does_not_lose_the_start() -> None:
    """With a wide gap the search alone ends with worse pipelines; not where it is given the best one."""
    rng, worse = random.Random(12), 0
    for _ in range(60):
        problem = random_problem(rng)
        best = oracle.best(problem)
        if best is not None:
            found = solve(problem, gap=0.3, start=[best])
            assert found.candidates[0].step_s == pytest.approx(best.step_s, rel=1e-12)
            worse += solve(problem, gap=0.3).candidates[0].step_s > best.step_s * (1 + 1e-6)
    assert worse, "this would not notice if starts were ignored"
