"""The solver against exhaustive search, on small problems drawn so that order, memory and mixing matter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from autopart.planner import ilp, oracle
from autopart.planner.columns import find_runs, make_chain, make_columns
from autopart.planner.ilp import solve
from autopart.planner.problem import Candidate, Option, Overlap, Part, Problem, Setting, Solution, Tie
from autopart.planner.search import Floors

INSTANCES = 500
LEAVES = 80
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
    ties = _random_ties(rng, len(kinds))
    return Problem(kinds, devices, settings, ties, stages)


def _split(rng: random.Random, option: Option, problem: Problem) -> Option:
    """Sometimes, what several columns cost: something at the end of a stage; ties that save less than elsewhere."""
    if rng.random() < 0.6:
        return option
    ends = [rng.uniform(0.0, 1.5) for _ in range(problem.blocks + 1)]
    same = rng.random() < 0.5
    saved = tuple(tie.static_bytes * rng.uniform(0, 1) for tie in problem.ties)
    return replace(option, end_s=np.array([ends[0]] * len(ends) if same else ends), tied_bytes=saved)


def _random_kinds(rng: random.Random) -> tuple[int, ...]:
    """Embedding, layers, head; two sorts of layers, as in an encoder and a decoder; unlike blocks; two kinds at random."""
    blocks = rng.randint(3, 6)
    match rng.randint(0, 4):
        case 0 | 1:
            return (0, *[1] * (blocks - 2), 2)
        case 2:
            return (0, 1, 1, 2, 2, 3)
        case 3:
            return tuple(range(blocks))
        case _:
            return tuple(rng.randint(0, 1) for _ in range(blocks))


def _random_ties(rng: random.Random, blocks: int) -> tuple[Tie, ...]:
    if rng.random() < 0.6:
        return ()
    first, second = sorted(rng.sample(range(blocks), 2))
    return (Tie(first, second, float(rng.randint(1, 15))),)


def _random_setting(rng: random.Random, kinds: tuple[int, ...], devices: tuple[int, ...]) -> Setting:
    microbatches = rng.choice([1, 2, 4, 4, 8, 8])
    capacity = [rng.randint(60, 160) for _ in devices]
    speed = [rng.uniform(0.5, 2.0) for _ in devices]
    work = [(rng.uniform(1, 5), rng.randint(8, 25), rng.choice([0, *range(8, 26)]), rng.randint(0, 12)) for _ in range(6)]
    cut = [rng.uniform(0.0, 1.5) for _ in range(7)]
    if rng.random() < 0.75:
        cut = [cut[0]] * 7
    options = [_random_option(rng, kinds, devices, capacity, speed, work, cut) for _ in range(rng.randint(3, 8))]
    return Setting(rng.choice(["1f1b", "1f1b", "1f1b", "gpipe"]), microbatches, tuple(options))


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
    sync = np.array([0.0 if len(parts) == 1 == parts[0].devices else work[k][1] * 0.1 for k in kinds])
    return Option(
        parts=parts,
        recompute=recompute,
        usage=tuple(sum(p.devices for p in parts if p.group == g) for g in range(len(devices))),
        time_s=by_part(lambda p, k: work[k][0] * share[p] / speed[parts[p].group] * (1.3 if recompute else 1.0)),
        boundary_s=np.array([0.0, *cut[1 : len(kinds)], 0.0]),
        sync_s=sync,
        capacity_bytes=np.array([float(capacity[p.group]) for p in parts]),
        static_bytes=by_part(lambda p, k: work[k][1]),
        inflight_bytes=by_part(lambda p, k: np.ceil(work[k][2] * share[p] * kept)),
        transient_bytes=by_part(lambda p, k: work[k][3] if recompute else 0),
        output_bytes=np.array([[float(b) for b in output]] * len(parts)) if rng.random() < 0.5 else None,
        overlap=Overlap(0.8 * sync, np.array([work[k][0] * share[0] for k in kinds]), 0.5) if not recompute else None,
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


def test_columns_cost_what_the_oracle_says() -> None:
    rng = random.Random(5)
    changed = 0
    for _ in range(INSTANCES // 4):
        plain = random_problem(rng)
        split = [replace(s, options=tuple(_split(rng, o, plain) for o in s.options)) for s in plain.settings]
        problem = replace(plain, settings=tuple(split))
        best = oracle.best(problem)
        assert not disagrees(best, solve(problem, gap=EXACT))
        changed += disagrees(best, solve(plain, gap=EXACT))
    assert changed > INSTANCES // 20


def test_least_devices_bind_as_the_oracle_says() -> None:
    """At least so many devices of a group: what the solver finds is the best of the plans that take them, or there is none."""
    rng = random.Random(7)
    bound = 0
    for _ in range(INSTANCES // 4):
        plain = random_problem(rng)
        problem = replace(plain, least=tuple(rng.randint(0, n) for n in plain.devices))
        best = oracle.best(problem)
        assert not disagrees(best, solve(problem, gap=EXACT))
        bound += disagrees(best, solve(plain, gap=EXACT))
    assert bound > INSTANCES // 20, "they hardly ever bind"


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


def ignoring_order(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> Candidate | None:
    """What the oracle would find if every stage were the last one."""
    fits = oracle.fits
    with monkeypatch.context() as patch:
        patch.setattr(oracle, "fits", lambda option, i, j, _position, *rest: fits(option, i, j, 1, *rest))
        return oracle.best(problem)


def test_order_and_pipelines_matter(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The instances are worth solving: in a good part of them the optimum depends on positions, and has several stages."""
    some = list(feasible(cases[:240]))
    freer = [ignoring_order(problem, monkeypatch) for problem, _, _ in some]
    order = sum(
        other is not None and other.step_s < best.step_s * (1 - 1e-6) for other, (_, best, _) in zip(freer, some, strict=True)
    )
    several = sum(len(best.choices) > 1 for _, best, _ in some)
    runs = sum(any(b - a > 1 for a, b in find_runs(problem, problem.settings[0])) for problem, _, _ in some)
    with capsys.disabled():
        print(f" [of {len(some)}: order matters in {order}, several stages in {several}, runs in {runs}] ", end="")  # noqa: T201  what the instances are like is part of the result
    assert order >= 0.1 * len(some)
    assert several >= 0.6 * len(some)
    assert runs >= 0.3 * len(some)


def without_boundaries(problem: Problem) -> Problem:
    settings = tuple(
        replace(s, options=tuple(replace(o, boundary_s=0 * o.boundary_s) for o in s.options)) for s in problem.settings
    )
    return replace(problem, settings=settings)


def without_memory(problem: Problem) -> Problem:
    settings = tuple(
        replace(s, options=tuple(replace(o, capacity_bytes=np.inf + o.capacity_bytes) for o in s.options))
        for s in problem.settings
    )
    return replace(problem, settings=settings)


def without_ties(problem: Problem) -> Problem:
    return replace(problem, ties=())


@pytest.mark.parametrize("mutate", [without_boundaries, without_memory, without_ties])
def test_a_forgotten_cost_is_noticed(mutate: Callable[[Problem], Problem], cases: list[Case]) -> None:
    assert any(disagrees(case.best, solve(mutate(case.problem), gap=EXACT)) for case in cases[:100])


def by_ilp_alone(problem: Problem) -> float:
    """The optimum by the integer program over all columns, without the search, its bounds or its dynamic program."""
    return min((_leaf_value(problem, index) for index in range(len(problem.settings))), default=np.inf)


def _leaf_value(problem: Problem, index: int) -> float:
    setting = problem.settings[index]
    chain = make_chain(problem, setting)
    columns = make_columns(problem, setting, chain)
    if not len(columns):
        return float("inf")
    leaf = ilp.solve_leaf(
        chain, columns, Floors(0.0, 0.0), cutoff_s=np.inf, unit_s=1e-8, slack_s=0.0, effort_s=100.0, time_s=60.0
    )
    if leaf.stages is None:
        return float("inf")
    assert leaf.optimal
    assert leaf.exact
    times = [columns.time_s[c] for _, _, c in leaf.stages]
    return float(sum(times) + (setting.microbatches - 1) * max(times) + max(columns.sync_s[c] for _, _, c in leaf.stages))


def ilp_disagrees(case: Case) -> bool:
    optimum = case.best.step_s if case.best else float("inf")
    try:
        return by_ilp_alone(case.problem) != pytest.approx(optimum, rel=1e-6)
    except (AssertionError, KeyError):  # its stages do not fill the chain
        return True


def test_integer_program_alone_finds_the_same(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "LEVELS", 10**6)
    assert [i for i, case in enumerate(cases[:LEAVES]) if ilp_disagrees(case)] == []


@pytest.mark.parametrize("rows", ["cover", "devices", "anchored_deadlines", "floating_deadlines"])
def test_a_forgotten_constraint_is_noticed(rows: str, cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "LEVELS", 10**6)
    monkeypatch.setattr(ilp, rows, lambda *_: [])
    assert any(ilp_disagrees(case) for case in cases[:LEAVES])
