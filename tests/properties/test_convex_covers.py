"""Covers by convex parts, without chains and without the exact program: as good as brute force; a wrong rule is found out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from autopart.errors import Infeasible
from autopart.profiled import covers, solve
from autopart.profiled.chains import every_ideal
from autopart.profiled.exact import Choice, Covers
from autopart.profiled.groups import make_groups
from autopart.profiled.order import bits, make_order
from autopart.profiled.parts import Worth, last_units, make_tolls
from autopart.profiled.problem import Array, Goal, Problem
from autopart.profiled.search import Search
from autopart.profiled.tables import unpacked
from autopart.profiled.units import Units, make_units
from tests.profiles import allowed, best_by_force, draw, two_chains

NEAR = 1e-6


def free_chains(seed: int) -> Problem:
    """Two chains without labels, so that every op is a unit."""
    problem = two_chains(seed)
    return replace(problem, goal=Goal("throughput"), labels=(None,) * problem.count)


def solved(problem: Problem, *without: str) -> solve.Solution:
    """The plan without some methods of the search."""
    with pytest.MonkeyPatch.context() as patch:
        for each in without:
            patch.setattr(solve, each, lambda *_: None)
        return solve.solve(problem, gap=0.0, time_limit_s=60.0)


def by_covers(problem: Problem) -> solve.Solution:
    """From everything on one rank by covers alone."""
    return solved(problem, "quick", "proof", "close", "_move", "_exactly")


CHAINS = [(problem, best_by_force(problem)) for problem in map(free_chains, range(120))]


def too_high(plan: Callable[[Problem], solve.Solution]) -> list[int]:
    return [index for index, (problem, best) in enumerate(CHAINS) if plan(problem).bound_s > best * (1 + NEAR)]


def test_covers_alone_find_and_prove_what_is_best() -> None:
    for problem, best in CHAINS:
        found = by_covers(problem)
        assert allowed(problem, found.assignment)
        assert found.value_s == pytest.approx(best, rel=NEAR)
        assert found.bound_s <= best * (1 + NEAR)
        assert found.ended == "optimal" or problem.ranks > 2  # two readers beside the maker: a cover charges it once


def test_covers_find_plans_that_no_chain_has() -> None:
    chained = [solved(problem, "cover", "_move", "_exactly").value_s for problem, _ in CHAINS]
    assert [value for value, (_, best) in zip(chained, CHAINS, strict=True) if value > best * (1 + NEAR)]


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_covers_bound_drawn_graphs(training: bool) -> None:
    """Memory, unlike devices and links, ops that a type can't run, loose backward ops."""
    seen = 0
    for seed in range(300, 400):
        problem = draw(seed, Goal("throughput"), ops=7 if not training else 6, training=training)
        try:
            found = solved(problem, "proof", "close", "_move", "_exactly")
        except Infeasible:
            continue
        best = best_by_force(problem)
        assert found.bound_s <= best * (1 + NEAR) <= found.value_s * (1 + 3 * NEAR)
        seen += found.bound_s > 0 and math.isfinite(best)
    assert seen > 50


def test_allowing_parts_too_little_waste_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(worth: Worth, least: Array, devices: Array) -> Array:
        return 0.5 * most(worth, least, devices)

    most = covers.most_waste
    assert not too_high(by_covers)
    monkeypatch.setattr(covers, "most_waste", half)
    assert too_high(by_covers)


def test_a_search_that_drops_parts_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_waste(self: Covers, choice: Choice, place: int, slack: float, free: tuple[int, ...]) -> Choice:
        return beside(self, choice, place, 0.0 * slack, free)

    beside = Covers._beside
    monkeypatch.setattr(Covers, "_beside", without_waste)
    assert too_high(by_covers)


def tolls_and_payments(problem: Problem, factor: float) -> list[tuple[float, float]]:
    """Of all convex parts and all types: the two tolls together, and what the part pays for ties."""
    times = np.where(np.isfinite(problem.time_s), problem.time_s, 1.0)
    problem = replace(problem, time_s=times, capacity_bytes=np.full(problem.ranks, 1e9))
    order = make_order(problem.producers, problem.readers)
    search = Search(problem, make_groups(problem, order), order, 0.0, 60.0, None)
    units = make_units(problem, search.groups, order, attach=False)
    ideals, tolls = every_ideal(search, units) or [], make_tolls(units)
    found = []
    for part in {outer & ~inner for outer in ideals for inner in ideals if not inner & ~outer} - {0}:
        outer = part
        for unit in bits(part):
            outer |= units.order.above[unit]
        last = last_units(units, unpacked([outer & ~part, outer], units.count))
        asked = factor * (last[0] @ tolls.before_s + last[1] @ tolls.within_s)
        found += [(float(a), float(b)) for a, b in zip(asked, _paid(units, part), strict=True)]
    return found


def _paid(units: Units, part: int) -> Array:
    cut = [any(part >> end & 1 for end in ends) and not all(part >> end & 1 for end in ends) for ends in units.ties]
    total: Array = units.tie_s[cut].sum(axis=0)
    return total


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_no_toll_is_more_than_a_part_pays(training: bool) -> None:
    for seed in range(60):
        pairs = tolls_and_payments(draw(seed, Goal("throughput"), ops=8, training=training), 1.0)
        assert all(asked <= paid + 1e-12 for asked, paid in pairs)
    dear = [pair for seed in range(60) for pair in tolls_and_payments(draw(seed, Goal("throughput"), ops=8), 1.5)]
    assert any(asked > paid + 1e-12 for asked, paid in dear)
