"""The solver against exhaustive search, on small problems drawn so that order, memory, mixing, neighbours and nodes matter."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest

from autopart.planner import classes, columns, ilp, oracle, search, work
from autopart.planner.boxes import Floors
from autopart.planner.classes import Neighbours
from autopart.planner.columns import FOREVER, find_runs, make_chain, make_columns
from autopart.planner.ilp import solve
from autopart.planner.order import Ordered
from autopart.planner.problem import Candidate, Ints, Problem, Solution, extras_s
from autopart.planner.work import work_of
from tests.problems import random_problem

INSTANCES = 1000
SOME = 200
LEAVES = 150
EXACT = 1e-7


@dataclass(frozen=True)
class Case:
    """A problem with what the oracle and the solver say of it."""

    problem: Problem
    best: Candidate | None
    solution: Solution


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    problems = [random_problem(random.Random(seed)) for seed in range(INSTANCES)]
    return [Case(problem, oracle.best(problem), solve(problem, gap=EXACT)) for problem in problems]


def feasible(cases: list[Case]) -> Iterator[tuple[Problem, Candidate, Solution]]:
    for case in cases:
        if case.best is not None:
            yield case.problem, case.best, case.solution


def test_least_devices_bind_as_the_oracle_says() -> None:
    """At least so many devices of a group: what the solver finds is the best of the plans that take them, or there is none."""
    rng = random.Random(7)
    bound = 0
    for _ in range(INSTANCES // 10):
        plain = random_problem(rng)
        problem = replace(plain, least=tuple(rng.randint(0, n) for n in plain.devices))
        best = oracle.best(problem)
        assert not disagrees(best, solve(problem, gap=EXACT))
        bound += disagrees(best, solve(plain, gap=EXACT))
    assert bound > INSTANCES // 50, "they hardly ever bind"


def disagrees(best: Candidate | None, solution: Solution) -> bool:
    if best is None or not solution.candidates:
        return (best is None) != (not solution.candidates)
    return abs(solution.candidates[0].step_s - best.step_s) > 1e-6 * best.step_s


def unproven(best: Candidate | None, solution: Solution) -> bool:
    """Whether the bound is none, or not tight."""
    return best is not None and not best.step_s * (1 - 1e-6) <= solution.lower_bound_s <= best.step_s * (1 + 1e-9)


def test_solver_finds_what_exhaustive_search_finds(cases: list[Case]) -> None:
    assert [i for i, case in enumerate(cases) if disagrees(case.best, case.solution)] == []


def test_every_candidate_is_a_pipeline_at_its_price(cases: list[Case]) -> None:
    for problem, _, solution in feasible(cases):
        for candidate in solution.candidates:
            assert oracle.step_s(problem, candidate.setting, candidate.choices) == pytest.approx(candidate.step_s, rel=1e-12)


def test_lower_bound_holds_and_is_tight(cases: list[Case]) -> None:
    assert [i for i, case in enumerate(cases) if unproven(case.best, case.solution)] == []
    assert {solution.proof for _, _, solution in feasible(cases)} == {"gap"}


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


def test_the_instances_are_worth_solving(
    cases: list[Case], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a good part of them the optimum depends on positions, has several stages, pays its neighbours, leaves devices idle."""
    some = list(feasible(cases[:300]))
    freer = [ignoring_order(problem, monkeypatch) for problem, _, _ in some]
    found = {
        "order matters": sum(
            o is not None and o.step_s < b.step_s * (1 - 1e-6) for o, (_, b, _) in zip(freer, some, strict=True)
        ),
        "several stages": sum(len(best.choices) > 1 for _, best, _ in some),
        "runs": sum(any(b - a > 1 for a, b in find_runs(problem, problem.settings[0])) for problem, _, _ in some),
        "extras": sum(any(extras_s(problem.settings[best.setting], best.choices)) for problem, best, _ in some),
        "idle devices": sum(_used(problem, best) < sum(problem.devices) for problem, best, _ in some),
        "slots": sum(bool(problem.slots) for problem, _, _ in some),
        "gpipe": sum(problem.settings[best.setting].schedule == "gpipe" for problem, best, _ in some),
    }
    with capsys.disabled():
        print(f" [of {len(some)}: {found}] ", end="")  # noqa: T201  what the instances are like is part of the result
    least = {
        "order matters": 0.1,
        "several stages": 0.4,
        "runs": 0.2,
        "extras": 0.1,
        "idle devices": 0.3,
        "slots": 0.1,
        "gpipe": 0.1,
    }
    assert {name: count >= least[name] * len(some) for name, count in found.items()} == dict.fromkeys(found, True)


def _used(problem: Problem, best: Candidate) -> int:
    return sum(sum(problem.settings[best.setting].options[choice.option].usage) for choice in best.choices)


Mutation = Callable[[Problem], Problem]


def _with_options(**changes: object) -> Mutation:
    def mutate(problem: Problem) -> Problem:
        settings = [replace(s, options=tuple(replace(o, **changes) for o in s.options)) for s in problem.settings]
        return replace(problem, settings=tuple(settings))

    return mutate


def without_boundaries(problem: Problem) -> Problem:
    settings = [
        replace(s, options=tuple(replace(o, boundary_s=0 * o.boundary_s) for o in s.options), routes=None)
        for s in problem.settings
    ]
    return replace(problem, settings=tuple(settings))


def without_memory(problem: Problem) -> Problem:
    settings = [
        replace(s, options=tuple(replace(o, capacity_bytes=np.inf + o.capacity_bytes) for o in s.options))
        for s in problem.settings
    ]
    return replace(problem, settings=tuple(settings))


def without_routes(problem: Problem) -> Problem:
    return replace(problem, settings=tuple(replace(s, routes=None) for s in problem.settings))


def without_slots(problem: Problem) -> Problem:
    return replace(_with_options(slots=())(problem), slots=())


def without_ties(problem: Problem) -> Problem:
    return replace(_with_options(tied_bytes=None)(problem), ties=())


@pytest.mark.parametrize(
    "mutate",
    [
        without_boundaries,
        without_memory,
        without_routes,
        without_slots,
        without_ties,
        _with_options(end_s=None),
        _with_options(output_bytes=None),
        _with_options(overlap=None),
    ],
    ids=lambda mutate: getattr(mutate, "__qualname__", ""),
)
def test_a_forgotten_cost_is_noticed(mutate: Mutation, cases: list[Case]) -> None:
    assert any(disagrees(case.best, solve(mutate(case.problem), gap=EXACT)) for case in cases[:SOME])


def noticed(cases: list[Case]) -> bool:
    """Whether the solver as it is now errs, on the optimum or on its bound."""
    for case in cases[:SOME]:
        try:
            solution = solve(case.problem, gap=EXACT, time_limit_s=2.0)
        except (AssertionError, KeyError):  # its stages do not fill the chain
            return True
        if disagrees(case.best, solution) or unproven(case.best, solution):
            return True
    return False


def test_forgotten_deadlines_are_noticed(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_round_up_deadlines", lambda deadline, *_: np.where(deadline > 0, FOREVER, 0))
    assert noticed(cases)


def test_levels_that_claim_to_be_exact_are_noticed(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    levels = ilp.levels
    monkeypatch.setattr(ilp, "LEVELS", 2)
    monkeypatch.setattr(ilp, "levels", lambda *arguments: (levels(*arguments)[0], True))
    assert noticed(cases)


def test_options_that_neighbours_tell_apart_are_kept(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_alike", lambda _, usage: columns._numbered(usage))
    assert noticed(cases)


def test_an_order_that_claims_to_be_best_is_noticed(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "best_order", lambda *arguments: Ordered(arguments[-1], exact=True))
    assert noticed([case for case in cases if case.best and order_counts(case)])


def order_counts(case: Case) -> bool:
    """Whether what neighbours pay depends on the order of the optimum's stages in a run."""
    assert case.best is not None
    setting, choices = case.problem.settings[case.best.setting], case.best.choices
    return any(extras_s(setting, choices)) and any(b - a > 1 for a, b in find_runs(case.problem, setting)) and len(choices) > 2


def test_pairs_that_pay_too_much_are_noticed(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    make = classes.make_neighbours

    def dearer(setting: columns.Setting, usage: columns.Ints, devices: columns.Ints) -> Neighbours | None:
        near = make(setting, usage, devices)
        return near and replace(near, pair_s=near.pair_s * 1.5)

    monkeypatch.setattr(columns, "make_neighbours", dearer)
    assert noticed(cases)


def anywhere(deadlines: Callable[..., Ints]) -> Callable[..., Ints]:
    """A stage that fits at the last position fits at every one."""
    return lambda *args: np.where(deadlines(*args) > 0, FOREVER, 0)


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (columns, "_deadlines", anywhere(columns._deadlines)),
        (ilp, "levels", lambda *_: (0, True)),
        (work, "SLACK", -0.3),
    ],
    ids=["order", "levels", "work"],
)
def test_a_broken_search_is_noticed(
    module: ModuleType, name: str, broken: object, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions forgotten; maxima left out of the integer program; more work than there is."""
    monkeypatch.setattr(module, name, broken)
    assert any(disagrees(case.best, solve(case.problem, gap=EXACT)) for case in cases[:100])


def test_work_bounds_every_pipeline_and_its_columns(cases: list[Case]) -> None:
    """Never above the best pipeline of a setting, nor above any pipeline found that has the column; and not always far below."""
    close = 0
    for problem, _, solution in feasible(cases):
        for candidate in solution.candidates:
            setting = problem.settings[candidate.setting]
            found = work_of(problem, setting)
            assert found.bound_s <= candidate.step_s * (1 + 1e-9)
            close += found.bound_s > 0.7 * candidate.step_s
            for choice in candidate.choices:
                option, inside_s = setting.options[choice.option], found.work_s[choice.start : choice.stop].sum()
                time_s = oracle.stage_time_s(option, choice.start, choice.stop, problem.blocks)
                sync_s = oracle.stage_sync_s(option, choice.start, choice.stop)
                taken, *stage = (np.array(x) for x in (found.taken[choice.option], inside_s, time_s, sync_s))
                assert found.by_column(taken, *stage) <= candidate.step_s * (1 + 1e-9)
    assert close > len(cases) // 10


def by_ilp_alone(problem: Problem) -> float:
    """The optimum by the integer program over all columns, without the search, its bounds or its dynamic program."""
    return min((_leaf_value(problem, index) for index in range(len(problem.settings))), default=np.inf)


def _leaf_value(problem: Problem, index: int) -> float:
    setting = problem.settings[index]
    chain = make_chain(problem, setting)
    alphabet = make_columns(problem, setting, chain)
    if not len(alphabet):
        return float("inf")
    leaf = ilp.solve_leaf(
        chain, alphabet, Floors(0.0, 0.0), cutoff_s=np.inf, unit_s=1e-8, slack_s=0.0, effort_s=100.0, time_s=60.0
    )
    if leaf.stages is None:
        return float("inf")
    assert leaf.optimal
    assert leaf.exact
    times = [alphabet.time_s[c] for _, _, c in leaf.stages]
    return float(sum(times) + (setting.microbatches - 1) * max(times) + max(alphabet.sync_s[c] for _, _, c in leaf.stages))


def ilp_disagrees(case: Case) -> bool:
    optimum = case.best.step_s if case.best else float("inf")
    try:
        return by_ilp_alone(case.problem) != pytest.approx(optimum, rel=1e-6)
    except (AssertionError, KeyError):  # its stages do not fill the chain
        return True


@pytest.fixture(scope="module")
def plain(cases: list[Case]) -> list[Case]:
    """Without extras, of which the program knows bounds only."""
    return [case for case in cases if not any(setting.routes for setting in case.problem.settings)][:LEAVES]


def test_integer_program_alone_finds_the_same(plain: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "LEVELS", 10**6)
    assert [i for i, case in enumerate(plain) if ilp_disagrees(case)] == []


@pytest.mark.parametrize("rows", ["cover", "devices", "anchored_deadlines", "floating_deadlines"])
def test_a_forgotten_constraint_is_noticed(rows: str, plain: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ilp, "LEVELS", 10**6)
    monkeypatch.setattr(ilp, rows, lambda *_: [])
    assert any(ilp_disagrees(case) for case in plain)
