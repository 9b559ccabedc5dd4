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
from autopart.planner.score import Score, estimate, formula_fullness, score
from autopart.planner.strategies import Pins
from autopart.plans import Baseline, Plan, Proof, Search, problem_digest

ATTEMPTS = 4
NEAR = 1.3  # candidates whose formula is beyond this multiple of the best of their order are not simulated
SIMULATED = 2048  # ranks of all candidates together beyond which the first that fits will do
SLACK = 0.99  # of the memory that would just have held the plan that did not fit

Solve = Callable[[Problem], Solution]
Pick = Callable[[Sequence[Score]], Score]


def fastest(scores: Sequence[Score]) -> Score:
    return min(scores, key=lambda scored: scored.step_s)


@dataclass(frozen=True)
class Instead:
    """What a plan is compared with: the baselines, their blocks as traced in ``index``, and plans that are known already."""

    table: tuple[Scored, ...]
    pins: Pins
    index: Index
    known: tuple[Score, ...] = ()

    @property
    def rows(self) -> tuple[Baseline, ...]:
        return tuple(scored.row for scored in self.table)

    @property
    def competing(self) -> list[Score]:
        """Those that can be done and have what the user fixed."""
        baselines = [row.best for row in self.table if row.best and follows(row.best.plan, self.pins, self.index.cluster)]
        return [*baselines, *self.known]


@dataclass(frozen=True, eq=False)
class Ranking:
    """What a search came to: plans that fit and have what was pinned, the best first (none: there is no plan); the table of
    baselines; what was searched, and what the solver said of it.
    """

    scores: tuple[Score, ...]
    table: tuple[Scored, ...]
    problem: Problem
    solution: Solution

    @property
    def lower_bound_s(self) -> float:
        """On the formula of every plan; NaN where nothing was proven."""
        return self.solution.lower_bound_s if math.isfinite(self.solution.lower_bound_s) else math.nan


def rank(problem: Problem, solution: Solution, indices: Sequence[Index], instead: Instead, solve: Solve) -> Ranking:
    """Candidates and what they are compared with by simulated step, each plan once. ``solve`` is asked again only where every
    candidate turns out too large. ``indices`` by order of the blocks.
    """
    candidates = best_candidates(problem, solution, indices, solve)
    scores = [scored for scored in candidates if follows(scored.plan, instead.pins, instead.index.cluster)]
    for other in instead.competing:
        if (other.plan.stages, other.plan.schedule) not in [(scored.plan.stages, scored.plan.schedule) for scored in scores]:
            scores.append(other)
    return Ranking(tuple(sorted(scores, key=lambda scored: scored.step_s)), instead.table, problem, solution)


def chosen(ranking: Ranking, instead: Instead, pick: Pick = fastest) -> Plan | None:
    """The plan that is picked with its estimate, the table of baselines and how it came about; None where there is none."""
    if not ranking.scores:
        return None
    best, bound_s = pick(ranking.scores), ranking.lower_bound_s
    proof = Proof(ranking.solution.proof, space(ranking.problem)) if ranking.solution.candidates else None
    own = replace(best.plan, estimate=estimate(best, instead.index, bound_s, proof), baselines=instead.rows)
    return recorded(own, instead.pins, bound_s)


def recorded(plan: Plan, pins: Pins, lower_bound_s: float) -> Plan:
    """With what was asked and what was found, for whoever edits it."""
    assert plan.estimate is not None
    return replace(plan, search=Search(problem_digest(plan), pins.said, plan.estimate.step_time_s, lower_bound_s))


def space(problem: Problem) -> str:
    """What was searched, in a sentence."""
    counts = sorted({setting.microbatches for setting in problem.settings})
    which = (
        f"{len(counts)} numbers of microbatches from {min(counts)} to {max(counts)}" if len(counts) > 1 else f"M = {counts[0]}"
    )
    options = max(len(setting.options) for setting in problem.settings)
    stages = f"{problem.stages} stages" if problem.stages else "stages"
    blocks = f"{problem.blocks} blocks" + (f" in {1 + len(problem.others)} orders" if problem.others else "")
    name = problem.settings[0].schedule
    return f"every cut of {blocks} into {stages} under {name}, {which}, up to {options} ways to run a stage"


def fitting(plans: Iterable[Plan], index: Index) -> tuple[Score, ...]:
    """Those that fit when simulated."""
    return tuple(scored for scored in (score(plan, index) for plan in plans) if not scored.overfull)


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


def best_candidates(problem: Problem, solution: Solution, indices: Sequence[Index], solve: Solve) -> list[Score]:
    """The solver's plans that fit when simulated; solved again with less memory while there are plans, but none fits."""
    for _ in range(ATTEMPTS):
        scores = _scores(decoded(problem, _near(problem, solution), indices), indices[0])
        fitting = [scored for scored in scores if not scored.overfull]
        if fitting or not scores:
            return fitting
        problem = with_memory(problem, SLACK / min(scored.fullness for scored in scores))
        solution = solve(problem)
    return []


def _scores(plans: Iterable[Plan], index: Index) -> list[Score]:
    """Of plans by the formula, best first; on many ranks of no more than it takes to have one that fits."""
    found: list[Score] = []
    ranks = 0
    for plan in plans:
        found.append(score(plan, index))
        ranks += len(plan.used_ranks)
        if ranks >= SIMULATED and any(not scored.overfull for scored in found):
            break
    return found


def decoded(problem: Problem, candidates: Iterable[Candidate], indices: Sequence[Index]) -> tuple[Plan, ...]:
    """Plans of the candidates, each in its order; of those that hold the same blocks in their stages the first."""
    found: dict[str, Plan] = {}
    for candidate in candidates:
        plan = decode(candidate, problem, indices[problem.settings[candidate.setting].order])
        if plan is not None:
            stages = [replace(stage, blocks=tuple(sorted(stage.blocks))) for stage in plan.stages]
            found.setdefault(repr((plan.schedule, stages)), plan)
    return tuple(found.values())


def _near(problem: Problem, solution: Solution) -> Iterable[Candidate]:
    """Candidates not far from the best of their order of the blocks."""
    best_s: dict[int, float] = {}
    for candidate in solution.candidates:
        order = problem.settings[candidate.setting].order
        if candidate.step_s <= NEAR * best_s.setdefault(order, candidate.step_s):
            yield candidate


def admitting(problem: Problem, scores: Sequence[Score], index: Index) -> Problem:
    """The problem with as much memory as its formula needs to admit these plans, which fit when simulated: else a bound could be
    above a plan that is at hand.
    """
    fullest = max((formula_fullness(scored.plan, index) for scored in scores), default=0.0)
    return with_memory(problem, fullest / SLACK) if fullest > 1.0 else problem


def with_memory(problem: Problem, factor: float) -> Problem:
    """The problem on devices with ``factor`` times the memory."""

    def scaled(option: Option) -> Option:
        return replace(option, capacity_bytes=option.capacity_bytes * factor)

    settings = tuple(replace(setting, options=tuple(map(scaled, setting.options))) for setting in problem.settings)
    return replace(problem, settings=settings)
