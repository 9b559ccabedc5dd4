"""The end of planning: the solver's candidates and the baselines, ranked by their simulated steps.

The solver's formula is a surrogate for what a schedule does, so its best few plans are simulated, and so are the plans that a
user would have made instead: what is chosen is never slower than any of those that fits. A plan whose simulated memory is more
than a device has is no plan; where that happens to all of them, the problem is solved again with less memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from autopart.cluster.cluster import Cluster
from autopart.planner.baselines import Scored
from autopart.planner.decode import decode
from autopart.planner.meshes import Index
from autopart.planner.problem import Candidate, Option, Problem, Solution
from autopart.planner.score import Score, estimate, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan, Search, problem_digest

ATTEMPTS = 4
NEAR = 1.3  # candidates whose formula is beyond this multiple of the best are not simulated
SLACK = 0.99  # of the memory that would just have held the plan that did not fit

Solve = Callable[[Problem], Solution]


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a search came to: plans that fit and have what was pinned, the best first (none: there is no plan); the table of
    baselines; the solver's bound on the formula of every plan.
    """

    scores: tuple[Score, ...]
    table: tuple[Scored, ...]
    lower_bound_s: float


def rank(problem: Problem, solution: Solution, index: Index, pins: Pins, solve: Solve, table: Sequence[Scored]) -> Ranking:
    """Candidates and baselines by simulated step, each plan once. ``solve`` is asked again only where every candidate turns out
    too large.
    """
    scores = best_candidates(problem, solution, index, solve)
    scores = [scored for scored in scores if follows(scored.plan, pins, index.cluster)]
    seen = [(scored.plan.stages, scored.plan.schedule) for scored in scores]
    for row in table:
        if (
            row.best
            and follows(row.best.plan, pins, index.cluster)
            and (row.best.plan.stages, row.best.plan.schedule) not in seen
        ):
            scores.append(row.best)
    ordered = sorted(scores, key=lambda scored: scored.step_s)
    return Ranking(tuple(ordered), tuple(table), solution.lower_bound_s)


def chosen(ranking: Ranking, index: Index, pins: Pins) -> Plan | None:
    """The best plan with its estimate, the table of baselines and how it came about; None where there is none."""
    if not ranking.scores:
        return None
    best = ranking.scores[0]
    plan, bound_s = best.plan, ranking.lower_bound_s if math.isfinite(ranking.lower_bound_s) else math.nan
    return replace(
        plan,
        estimate=estimate(best, index, bound_s),
        baselines=tuple(row.row for row in ranking.table),
        search=Search(
            problem=problem_digest(plan),
            pins=pins.said,
            step_time_s=best.step_s,
            lower_bound_s=bound_s,
        ),
    )


def follows(plan: Plan, pins: Pins, cluster: Cluster) -> bool:
    """Whether a plan has what the user fixed; layouts apart."""
    used = Counter(cluster.ranks[rank].group for stage in plan.stages for rank in stage.ranks)
    return (
        pins.stages in (None, len(plan.stages))
        and pins.microbatches in (None, plan.schedule.microbatches)
        and all(pins.data in (None, stage.data) for stage in plan.stages)
        and all(pins.tensor in (None, stage.tensor) for stage in plan.stages)
        and all(pins.zero in (None, stage.zero) or stage.data == 1 for stage in plan.stages)
        and all(used[group] >= least for group, least in enumerate(pins.least))
    )


def best_candidates(problem: Problem, solution: Solution, index: Index, solve: Solve) -> list[Score]:
    """The solver's plans that fit when simulated; solved again with less memory while there are plans, but none fits."""
    for _ in range(ATTEMPTS):
        plans = [decode(candidate, problem, index) for candidate in _near(solution)]
        scores = [score(plan, index) for plan in plans if plan is not None]
        fitting = [scored for scored in scores if not scored.overfull]
        if fitting or not scores:
            return fitting
        problem = with_memory(problem, SLACK / min(scored.fullness for scored in scores))
        solution = solve(problem)
    return []


def _near(solution: Solution) -> Iterable[Candidate]:
    limit = NEAR * min((candidate.step_s for candidate in solution.candidates), default=0.0)
    return (candidate for candidate in solution.candidates if candidate.step_s <= limit)


def with_memory(problem: Problem, factor: float) -> Problem:
    """The problem on devices with ``factor`` times the memory."""

    def scaled(option: Option) -> Option:
        return replace(option, capacity_bytes=option.capacity_bytes * factor)

    settings = tuple(replace(setting, options=tuple(map(scaled, setting.options))) for setting in problem.settings)
    return replace(problem, settings=settings)
