"""Plans small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from autopart.planner import ilp, oracle
from autopart.planner.boxes import Floors
from autopart.planner.columns import find_runs, make_chain, make_columns
from autopart.planner.ilp import solve
from autopart.planner.problem import Choice, Option, Part, Problem, Setting, Tie


def one_device(
    group: int,
    time_s: list[float],
    *,
    groups: int = 1,
    boundary_s: float = 0.0,
    sync_s: float = 0.0,
    capacity: float = 100.0,
    static: float = 0.0,
    inflight: float = 0.0,
    transient: float = 0.0,
    output: float = 0.0,
) -> Option:
    """An option of one device; bytes are the same for every block."""
    n = len(time_s)
    return Option(
        parts=(Part(group, (1,)),),
        recompute=False,
        usage=tuple(int(g == group) for g in range(groups)),
        time_s=np.array([time_s]),
        boundary_s=np.array([0.0, *[boundary_s] * (n - 1), 0.0]),
        sync_s=np.full(n, sync_s),
        capacity_bytes=np.array([capacity]),
        static_bytes=np.full((1, n), static),
        inflight_bytes=np.full((1, n), inflight),
        transient_bytes=np.full((1, n), transient),
        output_bytes=np.array([[0.0, *[output] * (n - 1), 0.0]]),
    )


def problem_of(
    *options: Option,
    devices: tuple[int, ...],
    kinds: tuple[int, ...] | None = None,
    microbatches: int = 1,
    schedule: str = "1f1b",
    ties: tuple[Tie, ...] = (),
    stages: int | None = None,
) -> Problem:
    blocks = options[0].time_s.shape[1]
    return Problem(kinds or tuple(range(blocks)), devices, (Setting(schedule, microbatches, options),), ties, stages)


def best_of(problem: Problem) -> tuple[float, tuple[Choice, ...]]:
    solution = solve(problem, gap=1e-7)
    assert solution.proof == "gap"
    best = oracle.best(problem)
    assert best is not None
    assert solution.candidates[0].step_s == pytest.approx(best.step_s, rel=1e-9)
    return solution.candidates[0].step_s, solution.candidates[0].choices


def test_one_stage_where_boundaries_cost_too_much() -> None:
    step, choices = best_of(problem_of(one_device(0, [2.0, 3.0], boundary_s=50.0), devices=(2,), microbatches=4))
    assert choices == (Choice(0, 2, 0),)
    assert step == pytest.approx(4 * 5.0)


def test_two_stages_of_unlike_devices() -> None:
    """Device 1 is three times as fast and gets three blocks of four: 3 s each."""
    fast, slow = [1.0] * 4, [3.0] * 4
    problem = problem_of(one_device(0, slow, groups=2), one_device(1, fast, groups=2), devices=(1, 1), microbatches=10)
    step, choices = best_of(problem)
    assert sorted((c.stop - c.start, c.option) for c in choices) == [(1, 0), (3, 1)]
    assert step == pytest.approx(3 + 3 + 9 * 3)


def test_both_sides_pay_for_a_boundary_and_the_longest_sync_counts_once() -> None:
    step, _ = best_of(problem_of(one_device(0, [4.0, 6.0], boundary_s=0.5, sync_s=0.25), devices=(2,), microbatches=3))
    assert step == pytest.approx(4.5 + 6.5 + 2 * 6.5 + 0.25)


def test_positions_from_the_end_decide_memory_in_1f1b() -> None:
    """Each block keeps 10 bytes a microbatch: at position 2 two of them fit one block into 20 bytes, at position 1 two blocks."""
    option = one_device(0, [1.0, 1.0, 1.0], inflight=10.0, capacity=20.0)
    _, choices = best_of(problem_of(option, devices=(2,), microbatches=8))
    assert [(c.start, c.stop) for c in choices] == [(0, 1), (1, 3)]


def test_gpipe_keeps_every_microbatch() -> None:
    option = one_device(0, [1.0, 1.0], inflight=10.0, capacity=20.0)
    assert solve(problem_of(option, devices=(2,), microbatches=2, schedule="gpipe")).candidates
    assert solve(problem_of(option, devices=(2,), microbatches=3, schedule="gpipe")).proof == "infeasible"


def test_what_a_stage_hands_on_takes_memory_too() -> None:
    """Two microbatches of one block each fill the device; the boundary's byte is too much."""
    fits, too_much = (one_device(0, [1.0, 1.0], inflight=10.0, output=output, capacity=20.0) for output in (0.0, 1.0))
    assert solve(problem_of(fits, devices=(2,), microbatches=2, schedule="gpipe")).candidates
    assert solve(problem_of(too_much, devices=(2,), microbatches=2, schedule="gpipe")).proof == "infeasible"


def test_the_largest_transient_counts_once() -> None:
    option = one_device(0, [1.0, 1.0], static=3.0, transient=4.0, capacity=10.0)
    assert len(best_of(problem_of(option, devices=(1,)))[1]) == 1


def test_what_never_fits_never_fits_without_activations_either() -> None:
    option = one_device(0, [1.0, 1.0], static=11.0, capacity=10.0)
    assert solve(problem_of(option, devices=(2,), microbatches=4)).proof == "infeasible"


def test_a_tie_inside_a_stage_counts_once() -> None:
    option = one_device(0, [1.0, 1.0], static=6.0, capacity=10.0)
    assert solve(problem_of(option, devices=(1,))).proof == "infeasible"
    assert best_of(problem_of(option, devices=(1,), ties=(Tie(0, 1, 2.0),)))[0] == pytest.approx(2.0)


def test_a_pinned_number_of_stages_is_kept() -> None:
    option = one_device(0, [1.0, 1.0, 1.0], boundary_s=5.0)
    for stages in (1, 2, 3):
        assert len(best_of(problem_of(option, devices=(3,), stages=stages))[1]) == stages
    assert solve(problem_of(option, devices=(3,), stages=4)).proof == "infeasible"


def test_too_few_devices_are_infeasible() -> None:
    """Memory asks for three stages; there are two devices."""
    option = one_device(0, [1.0, 1.0, 1.0], static=6.0, capacity=10.0)
    solution = solve(problem_of(option, devices=(2,)))
    assert (solution.candidates, solution.proof, solution.lower_bound_s) == ((), "infeasible", float("inf"))


def test_runs_end_where_costs_change() -> None:
    layers = one_device(0, [9.0, 1.0, 1.0, 1.0, 1.0, 9.0], boundary_s=0.5)
    kinds = (0, 1, 1, 1, 1, 2)
    assert _runs(problem_of(layers, devices=(2,), kinds=kinds)) == ((0, 1), (1, 5), (5, 6))
    tied = problem_of(layers, devices=(2,), kinds=kinds, ties=(Tie(1, 5, 1.0),))
    assert _runs(tied) == ((0, 1), (1, 2), (2, 5), (5, 6))
    layers.boundary_s[5] = 0.75
    assert _runs(problem_of(layers, devices=(2,), kinds=kinds)) == ((0, 1), (1, 4), (4, 5), (5, 6))


def _runs(problem: Problem) -> tuple[tuple[int, int], ...]:
    return find_runs(problem, problem.settings[0])


def test_only_one_stage_crosses_a_boundary_between_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers of 1 s, then of 3 s, two devices for them, two for the ends: 1+1+3 | 3. Two stages of 1+3 are no chain."""
    layers, ends = [99.0, 1.0, 1.0, 3.0, 3.0, 99.0], [0.0, 99.0, 99.0, 99.0, 99.0, 0.0]
    options = [one_device(0, layers, groups=3), one_device(1, layers, groups=3), one_device(2, ends, groups=3)]
    problem = problem_of(*options, devices=(1, 1, 2), kinds=(0, 1, 1, 2, 2, 3), microbatches=100)
    assert best_of(problem)[0] == pytest.approx(8 + 99 * 5)
    assert _leaf_bound(problem) == pytest.approx(8 + 99 * 5, rel=1e-6)
    monkeypatch.setattr(ilp, "crossing", lambda *_: [])
    monkeypatch.setattr(ilp, "in_order", lambda *_: ())
    assert _leaf_bound(problem) == pytest.approx(8 + 99 * 4, rel=1e-6)


def _leaf_bound(problem: Problem) -> float:
    chain = make_chain(problem, problem.settings[0])
    columns = make_columns(problem, problem.settings[0], chain)
    limits = {"cutoff_s": float("inf"), "unit_s": 1e-8, "slack_s": 0.0, "effort_s": 100.0, "time_s": 60.0}
    return ilp.solve_leaf(chain, columns, Floors(0.0, 0.0), **limits).bound_s
