"""The solver against exhaustive search, on small problems drawn so that order, memory and mixing matter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from autopart.planner import oracle
from autopart.planner.ilp import solve
from autopart.planner.problem import Candidate, Option, Part, Problem, Setting, Solution, Tie

INSTANCES = 500
EXACT = 1e-7


@dataclass(frozen=True)
class Case:
    """A problem with what the oracle and the solver say of it."""

    problem: Problem
    best: Candidate | None
    solution: Solution


def random_problem(rng: random.Random) -> Problem:
    kinds = _random_kinds(rng)
    devices = tuple(rng.choices(range(1, 5), k=rng.randint(1, 3)))
    while sum(devices) > 6:
        devices = tuple(max(1, d - 1) for d in devices)
    settings = tuple(_random_setting(rng, kinds, devices) for _ in range(rng.randint(1, 3)))
    stages = rng.choice([None, None, None, None, rng.randint(1, 4)])
    return Problem(kinds, devices, settings, _random_ties(rng, len(kinds)), stages)


def _random_kinds(rng: random.Random) -> tuple[int, ...]:
    """Embedding, layers, head; or unlike blocks; or two kinds in turn."""
    blocks = rng.randint(3, 6)
    match rng.randint(0, 2):
        case 0:
            return (0, *[1] * (blocks - 2), 2)
        case 1:
            return tuple(range(blocks))
        case _:
            return tuple(rng.randint(0, 1) for _ in range(blocks))


def _random_ties(rng: random.Random, blocks: int) -> tuple[Tie, ...]:
    if rng.random() < 0.6:
        return ()
    first, second = sorted(rng.sample(range(blocks), 2))
    return (Tie(first, second, float(rng.randint(1, 15))),)


def _random_setting(rng: random.Random, kinds: tuple[int, ...], devices: tuple[int, ...]) -> Setting:
    microbatches = rng.choice([1, 2, 4, 8])
    capacity = [rng.randint(60, 160) for _ in devices]
    speed = [rng.uniform(0.5, 2.0) for _ in devices]
    work = [(rng.uniform(1, 5), rng.randint(15, 30), rng.randint(5, 20), rng.randint(0, 12)) for _ in range(6)]
    cut = [rng.uniform(0.0, 1.5) for _ in range(7)]
    if rng.random() < 0.5:
        cut = [cut[0]] * 7
    options = [_random_option(rng, kinds, devices, capacity, speed, work, cut) for _ in range(rng.randint(3, 8))]
    return Setting(rng.choice(["1f1b", "1f1b", "gpipe"]), microbatches, tuple(options))


def _random_option(
    rng: random.Random,
    kinds: tuple[int, ...],
    devices: tuple[int, ...],
    capacity: list[int],
    speed: list[float],
    work: list[tuple[float, int, int, int]],
    cut: list[float],
) -> Option:
    mixed = len(devices) > 1 and rng.random() < 0.3
    groups = rng.sample(range(len(devices)), 2 if mixed else 1)
    parts = tuple(Part(g, tuple([rng.randint(1, 3)] * rng.randint(1, min(2, devices[g])))) for g in groups)
    recompute = rng.random() < 0.4
    share = [1 / sum(p.devices for p in parts) for _ in parts]

    def by_part(of_kind: Callable[[int, int], float]) -> np.ndarray:
        return np.array([[float(of_kind(p, kind)) for kind in kinds] for p in range(len(parts))])

    kept = 0.3 if recompute else 1.0
    output = [0, *(round(2 * c) for c in cut[1 : len(kinds)]), 0]
    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(sum(p.devices for p in parts if p.group == g) for g in range(len(devices))),
        time_s=by_part(lambda p, k: work[k][0] * share[p] / speed[parts[p].group] * (1.3 if recompute else 1.0)),
        boundary_s=np.array([0.0, *cut[1 : len(kinds)], 0.0]),
        sync_s=np.array([0.0 if len(parts) == 1 == parts[0].devices else work[k][1] * 0.1 for k in kinds]),
        capacity_bytes=np.array([float(capacity[p.group]) for p in parts]),
        static_bytes=by_part(lambda p, k: work[k][1]),
        inflight_bytes=by_part(lambda p, k: np.ceil(work[k][2] * share[p] * kept)),
        transient_bytes=by_part(lambda p, k: work[k][3] if recompute else 0),
        output_bytes=np.array([[float(b) for b in output]] * len(parts)) if rng.random() < 0.5 else None,
    )


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = random.Random(2)
    problems = [random_problem(rng) for _ in range(INSTANCES)]
    return [Case(p, oracle.best(p), solve(p, gap=EXACT)) for p in problems]


def feasible(cases: list[Case]) -> Iterator[tuple[Problem, Candidate, Solution]]:
    for case in cases:
        if case.best is not None:
            yield case.problem, case.best, case.solution


def disagrees(best: Candidate | None, solution: Solution) -> bool:
    if best is None or not solution.candidates:
        return (best is None) != (not solution.candidates)
    return abs(solution.candidates[0].step_s - best.step_s) > 1e-6 * best.step_s


def test_solver_finds_what_exhaustive_search_finds(cases: list[Case]) -> None:
    assert [i for i, case in enumerate(cases) if disagrees(case.best, case.solution)] == []


def test_every_candidate_is_a_pipeline_at_its_price(cases: list[Case]) -> None:
    for problem, _, solution in feasible(cases):
        for candidate in solution.candidates:
            assert oracle.step_s(problem, candidate.setting, candidate.choices) == pytest.approx(candidate.step_s, rel=1e-12)


def test_lower_bound_holds_and_is_tight(cases: list[Case]) -> None:
    for _, best, solution in feasible(cases):
        assert best.step_s * (1 - 1e-6) <= solution.lower_bound_s <= best.step_s * (1 + 1e-9)
        assert solution.proof == "gap"


def test_infeasible_is_recognised(cases: list[Case]) -> None:
    impossible = [case.solution for case in cases if case.best is None]
    assert len(impossible) >= INSTANCES // 20
    assert {solution.proof for solution in impossible} == {"infeasible"}
