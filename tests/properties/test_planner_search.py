"""How the search ends: by its gap, by the clock, by Ctrl-C; the same every time; with candidates to choose from."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from ortools.sat.python import cp_model

from autopart.planner import ilp, oracle, search
from autopart.planner.ilp import solve
from autopart.planner.problem import Problem, Solution
from benchmarks.planning.instances import Hardware, make_problem, transformer

GROUPS = (Hardware(3, 140e12, 40e9, 12e9), Hardware(2, 60e12, 14e9, 3e9))


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make_problem(transformer(8, 768, 1024, 50257), GROUPS, 16, (1, 4, 8), tied=True)


@pytest.fixture(scope="module")
def exact(problem: Problem) -> Solution:
    return solve(problem, gap=1e-6)


def test_the_gap_is_kept(problem: Problem, exact: Solution) -> None:
    rough = solve(problem, gap=0.03)
    best = exact.candidates[0].step_s
    assert rough.proof == "gap"
    assert rough.gap <= 0.03 * (1 + 1e-9)
    assert rough.lower_bound_s <= best * (1 + 1e-9)
    assert best <= rough.candidates[0].step_s * (1 + 1e-9)


def test_the_same_problem_has_the_same_answer(problem: Problem) -> None:
    first, second = solve(problem), solve(problem)
    assert first == second


def test_candidates_are_distinct_ranked_and_feasible(problem: Problem, exact: Solution) -> None:
    steps = [c.step_s for c in exact.candidates]
    assert 3 <= len(steps) <= search.CANDIDATES
    assert steps == sorted(steps)
    assert len({(c.setting, c.choices) for c in exact.candidates}) == len(steps)
    assert len({c.setting for c in exact.candidates}) > 1
    for c in exact.candidates:
        assert oracle.step_s(problem, c.setting, c.choices) == pytest.approx(c.step_s, rel=1e-12)


def test_progress_closes_in(problem: Problem, exact: Solution) -> None:
    seen: list[tuple[float, float, float]] = []
    solve(problem, progress=lambda incumbent, bound, elapsed: seen.append((incumbent, bound, elapsed)))
    incumbents, bounds, elapsed = zip(*seen, strict=True)
    assert list(incumbents) == sorted(incumbents, reverse=True)
    assert list(elapsed) == sorted(elapsed)
    assert all(bound <= exact.candidates[0].step_s * (1 + 1e-9) for bound in bounds)


def test_interrupted_it_returns_what_it_has(problem: Problem, exact: Solution) -> None:
    def interrupt(incumbent_s: float, _bound_s: float, _elapsed_s: float) -> None:
        if incumbent_s < float("inf"):
            raise KeyboardInterrupt

    solution = solve(problem, gap=1e-6, progress=interrupt)
    assert solution.proof == "interrupted"
    assert solution.candidates
    assert solution.lower_bound_s <= exact.candidates[0].step_s * (1 + 1e-9)


def test_ctrl_c_stops_an_integer_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real signal, a moment after the first integer program of a long search began."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a solver that caught it before leaves the system's, which kills
    groups = (Hardware(32, 400e12, 74e9, 25e9), Hardware(32, 140e12, 74e9, 12e9))
    hard = make_problem(transformer(80, 8192, 4096, 128256, unlike=0.3), groups, 512, (64, 128), tied=False)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))

    def begin(*limits: float) -> cp_model.CpSolver:
        if timer.ident is None:
            timer.start()
        return make_solver(*limits)

    make_solver = ilp._make_solver
    monkeypatch.setattr(ilp, "_make_solver", begin)
    solution = solve(hard, gap=1e-9, time_limit_s=120.0)
    assert solution.proof == "interrupted"


def test_interrupted_inside_a_box_its_bound_still_counts(
    problem: Problem, exact: Solution, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> search.Leaf:
        raise KeyboardInterrupt

    monkeypatch.setattr(ilp, "solve_leaf", interrupted)
    solution = solve(problem, gap=1e-6)
    assert solution.proof == "interrupted"
    assert solution.lower_bound_s <= exact.candidates[0].step_s * (1 + 1e-9)


def test_out_of_time_its_bound_holds(problem: Problem, exact: Solution) -> None:
    for limit_s in (0.0, 0.02, 0.1):
        started = time.monotonic()
        solution = solve(problem, gap=1e-9, time_limit_s=limit_s)
        assert solution.proof == "time limit" or time.monotonic() - started <= limit_s + 1.0
        assert solution.lower_bound_s <= exact.candidates[0].step_s * (1 + 1e-9)


def test_a_bucketed_integer_program_proves_no_more_than_it_may(
    problem: Problem, exact: Solution, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two levels only, the leaves underestimate; the search must go on until that no longer matters."""
    monkeypatch.setattr(ilp, "LEVELS", 2)
    assert solve(problem, gap=1e-6).candidates[0].step_s == pytest.approx(exact.candidates[0].step_s, rel=2e-6)
