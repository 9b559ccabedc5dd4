"""The end of planning: of the solver's candidates and the baselines, the plan whose simulated step is the shortest.

The solver's formula is a surrogate for what a schedule does, so its best few plans are simulated, and so are the plans that a
user would have made instead: what is chosen is never slower than any of those that fits. A plan whose simulated memory is more
than a device has is no plan; where that happens to all of them, the problem is solved again with less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from autopart.planner.baselines import baselines
from autopart.planner.decode import decode
from autopart.planner.meshes import Index
from autopart.planner.problem import Candidate, Option, Problem, Solution
from autopart.planner.score import Score, estimate, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan

ATTEMPTS = 4
NEAR = 1.3  # candidates whose formula is beyond this multiple of the best of their order are not simulated
SLACK = 0.99  # of the memory that would just have held the plan that did not fit

Solve = Callable[[Problem], Solution]


def choose(problem: Problem, solution: Solution, indices: Sequence[Index], pins: Pins, solve: Solve) -> Plan | None:
    """The best plan with its estimate and the table of baselines; None where nothing fits. ``solve`` is asked again
    only where every candidate turns out too large. ``indices`` by order of the blocks; baselines are as traced.
    """
    schedule = problem.settings[0].schedule if problem.settings else "1f1b"
    table = baselines(indices[0], schedule)
    scores = best_candidates(problem, solution, indices, solve)
    scores += [row.best for row in table if row.best and follows(row.best.plan, pins)]
    if not scores:
        return None
    best = min(scores, key=lambda scored: scored.step_s)
    index = next(index for index in indices if index.follows(best.plan))
    rows = tuple(row.row for row in table)
    return replace(best.plan, estimate=estimate(best, index, solution.lower_bound_s), baselines=rows)


def follows(plan: Plan, pins: Pins) -> bool:
    """Whether a plan has what the user fixed."""
    return (
        pins.stages in (None, len(plan.stages))
        and pins.microbatches in (None, plan.schedule.microbatches)
        and all(pins.data in (None, stage.data) for stage in plan.stages)
        and all(pins.tensor in (None, stage.tensor) for stage in plan.stages)
        and all(pins.zero in (None, stage.zero) or stage.data == 1 for stage in plan.stages)
    )


def best_candidates(problem: Problem, solution: Solution, indices: Sequence[Index], solve: Solve) -> list[Score]:
    """The solver's plans that fit when simulated; solved again with less memory while there are plans, but none fits."""
    for _ in range(ATTEMPTS):
        scores = [score(plan, index) for plan, index in _decoded(problem, solution, indices)]
        fitting = [scored for scored in scores if not scored.overfull]
        if fitting or not scores:
            return fitting
        problem = with_memory(problem, SLACK / min(scored.fullness for scored in scores))
        solution = solve(problem)
    return []


def _decoded(problem: Problem, solution: Solution, indices: Sequence[Index]) -> Iterable[tuple[Plan, Index]]:
    """Plans of the candidates, each in its order; of those that hold the same blocks in their stages the first."""
    found: dict[str, tuple[Plan, Index]] = {}
    for candidate, order in _near(problem, solution):
        index = indices[order]
        plan = decode(candidate, problem, index)
        if plan is not None:
            stages = [replace(stage, blocks=tuple(sorted(stage.blocks))) for stage in plan.stages]
            found.setdefault(repr((plan.schedule, stages)), (plan, index))
    return found.values()


def _near(problem: Problem, solution: Solution) -> Iterable[tuple[Candidate, int]]:
    """Candidates not far from the best of their order of the blocks, with that order."""
    best_s: dict[int, float] = {}
    for candidate in solution.candidates:
        order = problem.settings[candidate.setting].order
        if candidate.step_s <= NEAR * best_s.setdefault(order, candidate.step_s):
            yield candidate, order


def with_memory(problem: Problem, factor: float) -> Problem:
    """The problem on devices with ``factor`` times the memory."""

    def scaled(option: Option) -> Option:
        return replace(option, capacity_bytes=option.capacity_bytes * factor)

    settings = tuple(replace(setting, options=tuple(map(scaled, setting.options))) for setting in problem.settings)
    return replace(problem, settings=settings)
