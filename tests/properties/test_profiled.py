"""Plans of profiled graphs equal brute force, their bounds are bounds, and a formulation that lacks a rule is found out."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from autopart.errors import Infeasible
from autopart.profiled import cpsat, evaluate, search, solve
from autopart.profiled.chain import Chain, Field, Limits, best_chain
from autopart.profiled.groups import make_groups, spread
from autopart.profiled.moves import Placement
from autopart.profiled.order import make_order
from autopart.profiled.problem import Goal, Problem
from tests.profiles import allowed, best_by_force, cost, draw, two_chains

GOALS = [
    Goal("throughput", contiguous=True),
    Goal("throughput", contiguous=False),
    Goal("step", contiguous=True, microbatches=1),
    Goal("step", contiguous=True, microbatches=4),
    Goal("step", contiguous=False, microbatches=4),
    Goal("latency", contiguous=True),
    Goal("latency", contiguous=False),
]
SEEDS = range(30)
NEAR = 1e-6

Solve = Callable[[Problem], solve.Solution]


def exact(problem: Problem) -> solve.Solution:
    return solve.solve(problem, gap=0.0, time_limit_s=60.0)


def agrees(problem: Problem, plan: Solve = exact) -> bool:
    """Whether the plan is allowed and as good as any, and the bound below the optimum; both answer no alike."""
    best = best_by_force(problem)
    try:
        found = plan(problem)
    except Infeasible:
        return math.isinf(best)
    near = NEAR * max(best, 1e-9)
    if not allowed(problem, found.assignment) or found.bound_s > best + near or abs(found.value_s - best) > near:
        return False
    return problem.goal.objective == "latency" or abs(cost(problem, found.assignment) - best) <= near


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_equal_to_brute_force(goal: Goal, training: bool) -> None:
    ops = 5 if goal.objective == "latency" else 6
    assert not [seed for seed in SEEDS if not agrees(draw(seed, goal, ops=ops, training=training))]


def without_exact_program(problem: Problem) -> solve.Solution:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "_exactly", lambda _: None)
        return exact(problem)


def bound_fails(problem: Problem) -> bool:
    return without_exact_program(problem).bound_s > best_by_force(problem) * (1 + NEAR)


def test_chains_bound_parts_in_a_circle_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without joined steps the bound of chains is no bound: here the best plan often has two parts that need each other."""
    problems = [two_chains(seed) for seed in range(60)]
    assert not [seed for seed, problem in enumerate(problems) if bound_fails(problem)]

    def plain(field: Field, limits: Limits, *, joined: bool) -> Chain:
        return best_chain(field, limits, joined=False)

    monkeypatch.setattr("autopart.profiled.chains.best_chain", plain)
    assert [seed for seed, problem in enumerate(problems) if bound_fails(problem)]


@pytest.mark.parametrize("goal", [Goal("throughput"), Goal("step", microbatches=4)], ids=str)
def test_bounds_of_chains_and_prices_hold_alone(goal: Goal) -> None:
    drawn = [draw(seed, goal, training=training) for seed in range(100, 115) for training in (False, True)]
    possible = [problem for problem in drawn if math.isfinite(best_by_force(problem))]
    assert possible
    for problem in possible:
        try:
            found = without_exact_program(problem)
        except Infeasible:
            continue  # says that it found none in time, not that there is none
        assert found.bound_s <= best_by_force(problem) * (1 + NEAR)
        assert found.value_s >= best_by_force(problem) * (1 - NEAR)


THROUGHPUT = [draw(seed, Goal("throughput"), training=seed % 2 > 0) for seed in SEEDS]


def test_dropping_convexity_is_found_out() -> None:
    def anywhere(problem: Problem) -> solve.Solution:
        return exact(replace(problem, goal=replace(problem.goal, contiguous=False)))

    assert not all(agrees(problem, anywhere) for problem in THROUGHPUT)


def exact_program_alone(problem: Problem) -> solve.Solution:
    with pytest.MonkeyPatch.context() as patch:
        for other in ("quick", "proof", "close", "_move", "_one_rank"):
            patch.setattr(solve, other, lambda *_: None)
        return exact(problem)


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_the_exact_program_alone_equals_brute_force(goal: Goal) -> None:
    drawn = [draw(seed, goal, ops=5, training=seed % 2 > 0) for seed in range(200, 210)]
    assert not [index for index, problem in enumerate(drawn) if not agrees(problem, exact_program_alone)]


def test_dropping_convexity_in_the_exact_program_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpsat, "_convex", lambda _: None)
    assert not all(agrees(problem, exact_program_alone) for problem in THROUGHPUT)


def test_dropping_memory_is_found_out() -> None:
    def roomy(problem: Problem) -> solve.Solution:
        return exact(replace(problem, capacity_bytes=np.full(problem.ranks, 1e9)))

    assert not all(agrees(problem, roomy) for problem in THROUGHPUT)


def test_counting_a_tensor_once_per_reader_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_reader(problem: Problem, assignment: evaluate.Assignment, op: int) -> list[int]:
        return [assignment[reader] for reader in problem.readers[op] if assignment[reader] != assignment[op]]

    monkeypatch.setattr(evaluate, "destinations", by_reader)
    assert not all(map(agrees, THROUGHPUT))


def test_dropping_labels_is_found_out() -> None:
    def free(problem: Problem) -> solve.Solution:
        return exact(replace(problem, labels=(None,) * problem.count))

    assert not all(agrees(problem, free) for problem in THROUGHPUT)


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_moves_keep_loads_and_rules(training: bool, contiguous: bool) -> None:
    rng = random.Random(0)
    for seed in range(20):
        problem = draw(seed, Goal("throughput", contiguous), ops=9, training=training)
        problem = replace(problem, time_s=np.where(np.isfinite(problem.time_s), problem.time_s, 1.0))
        room = problem.memory_bytes.sum()
        problem = replace(problem, capacity_bytes=np.array([room, *[0.5 * room] * (problem.ranks - 1)]))
        order = make_order(problem.producers, problem.readers)
        groups = make_groups(problem, order)
        placement = Placement(problem, groups, order, [0] * groups.count)
        for _ in range(40):
            group, rank = rng.randrange(groups.count), rng.randrange(problem.ranks)
            if rank == placement.places[group]:
                continue
            moved = [rank if each == group else place for each, place in enumerate(placement.places)]
            fits = placement.memory[rank] + groups.memory_bytes[group] <= problem.capacity_bytes[rank]
            before = replace(problem, capacity_bytes=np.full(problem.ranks, 1e9))
            legal = fits and not evaluate.violation(before, spread(groups, moved), order)
            assert placement.allowed(group, rank) == legal
            if legal:
                placement.move(group, rank, placement.after(group, rank))
                assert placement.loads == pytest.approx(evaluate.loads(problem, spread(groups, moved)).total_s.tolist(), abs=1e-9)


@pytest.mark.parametrize("goal", GOALS, ids=str)
def test_same_problem_same_plan(goal: Goal) -> None:
    first, second = (solve.solve(draw(3, goal), gap=0.01) for _ in range(2))
    assert (first.assignment, first.value_s, first.bound_s) == (second.assignment, second.value_s, second.bound_s)


def test_an_interrupted_search_has_its_best_plan() -> None:
    def interrupt(*_: float) -> None:
        raise KeyboardInterrupt

    problem = two_chains(5)
    found = solve.solve(problem, gap=0.0, progress=interrupt)
    assert found.ended == "interrupted"
    assert allowed(problem, found.assignment)
    assert found.bound_s <= best_by_force(problem) <= found.value_s


def test_no_time_is_enough_for_some_plan() -> None:
    found = solve.solve(two_chains(5), gap=0.0, time_limit_s=1e-3)
    assert found.ended in ("time", "optimal")
    assert found.bound_s <= found.value_s
    assert search.CLOSED < NEAR
