"""The end of planning: of the solver's candidates and the baselines, the plan whose simulated step is the shortest.

The solver's formula is a surrogate for what a schedule does, so its best few plans are simulated, and so are the plans that a
user would have made instead: what is chosen is never slower than any of those that fits. A plan whose simulated memory is more
than a device has is no plan; where that happens to all of them, the problem is solved again with less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from autopart.planner.baselines import baselines
from autopart.planner.decode import decode
from autopart.planner.meshes import Index
from autopart.planner.problem import Candidate, Option, Problem, Solution
from autopart.planner.score import Score, estimate, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan, Proof

ATTEMPTS = 4
NEAR = 1.3  # candidates whose formula is beyond this multiple of the best are not simulated
SIMULATED = 2048  # ranks of all candidates together beyond which the first that fits will do
SLACK = 0.99  # of the memory that would just have held the plan that did not fit

Solve = Callable[[Problem], Solution]


def choose(problem: Problem, solution: Solution, index: Index, pins: Pins, solve: Solve) -> Plan | None:
    """The best plan with its estimate and the table of baselines; None where nothing fits. ``solve`` is asked again
    only where every candidate turns out too large.
    """
    schedule = problem.settings[0].schedule if problem.settings else "1f1b"
    table = baselines(index, schedule)
    scores = best_candidates(problem, solution, index, solve)
    scores += [row.best for row in table if row.best and follows(row.best.plan, pins)]
    if not scores:
        return None
    best = min(scores, key=lambda scored: scored.step_s)
    rows = tuple(row.row for row in table)
    proof = Proof(solution.proof, space(problem)) if solution.candidates else None
    return replace(best.plan, estimate=estimate(best, index, solution.lower_bound_s, proof), baselines=rows)


def space(problem: Problem) -> str:
    """What was searched, in a sentence."""
    counts = [setting.microbatches for setting in problem.settings]
    which = (
        f"{len(counts)} numbers of microbatches from {min(counts)} to {max(counts)}" if len(counts) > 1 else f"M = {counts[0]}"
    )
    options = max(len(setting.options) for setting in problem.settings)
    stages = f"{problem.stages} stages" if problem.stages else "stages"
    name = problem.settings[0].schedule
    return f"every cut of {problem.blocks} blocks into {stages} under {name}, {which}, up to {options} ways to run a stage"


def follows(plan: Plan, pins: Pins) -> bool:
    """Whether a plan has what the user fixed."""
    return (
        pins.stages in (None, len(plan.stages))
        and pins.microbatches in (None, plan.schedule.microbatches)
        and all(pins.data in (None, stage.data) for stage in plan.stages)
        and all(pins.tensor in (None, stage.tensor) for stage in plan.stages)
        and all(pins.zero in (None, stage.zero) or stage.data == 1 for stage in plan.stages)
    )


def best_candidates(problem: Problem, solution: Solution, index: Index, solve: Solve) -> list[Score]:
    """The solver's plans that fit when simulated; solved again with less memory while there are plans, but none fits."""
    for _ in range(ATTEMPTS):
        scores = _scores(problem, solution, index)
        fitting = [scored for scored in scores if not scored.overfull]
        if fitting or not scores:
            return fitting
        problem = with_memory(problem, SLACK / min(scored.fullness for scored in scores))
        solution = solve(problem)
    return []


def _scores(problem: Problem, solution: Solution, index: Index) -> list[Score]:
    """Of the candidates by the formula, best first; on many ranks of no more than it takes to have one that fits."""
    found: list[Score] = []
    ranks = 0
    for candidate in _near(solution):
        plan = decode(candidate, problem, index)
        if plan is not None:
            found.append(score(plan, index))
            ranks += sum(len(stage.ranks) for stage in plan.stages)
        if ranks >= SIMULATED and any(not scored.overfull for scored in found):
            break
    return found


def _near(solution: Solution) -> Iterable[Candidate]:
    limit = NEAR * min((candidate.step_s for candidate in solution.candidates), default=0.0)
    return (candidate for candidate in solution.candidates if candidate.step_s <= limit)


def with_memory(problem: Problem, factor: float) -> Problem:
    """The problem on devices with ``factor`` times the memory."""

    def scaled(option: Option) -> Option:
        return replace(option, capacity_bytes=option.capacity_bytes * factor)

    settings = tuple(replace(setting, options=tuple(map(scaled, setting.options))) for setting in problem.settings)
    return replace(problem, settings=settings)
