"""The end of planning where a step is to take little money or energy: of the cheapest pipelines and the baselines, the plan
whose rate x simulated step is the least, among those whose simulated step keeps the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autopart.cluster.tariffs import Tariff, tariff
from autopart.cluster.units import format_seconds
from autopart.errors import Infeasible
from autopart.planner.cheapest import Cheapest
from autopart.planner.choose import ATTEMPTS, SLACK, Instead, Solve, best_candidates, decoded, recorded, with_memory
from autopart.planner.meshes import Index
from autopart.planner.problem import Problem
from autopart.planner.rates import Rates, make_rates
from autopart.planner.score import Score, estimate, formula_step, score
from autopart.plans import Cost, Estimate, Plan

Search = Callable[[Problem, Rates, float], Cheapest]
"""The cheapest pipelines of a problem at these rates, of a limited step."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is minimised, one of ``plans.OBJECTIVES``, and the most that a step may take."""

    objective: str = "step"
    step_limit_s: float = math.inf


def cheapest_plan(
    problem: Problem, indices: Sequence[Index], wish: Wish, instead: Instead, search: Search, solve: Solve
) -> Plan | None:
    """The plan with its estimate and the table of baselines; None where nothing fits, Infeasible where nothing is fast enough.
    ``search`` is asked again where every candidate turns out too large or too slow, then ``solve`` for the fastest.
    """
    index = indices[0]
    drawn = tariff(index.cluster, wish.objective)
    rates = make_rates(drawn.each, problem.devices)

    def value(scored: Score) -> float:
        return drawn.value(drawn.rate(index.cluster, scored.plan.used_ranks), scored.step_s)

    found = search(problem, rates, wish.step_limit_s)
    scores = _candidates(problem, found, indices, wish, lambda changed, limit_s: search(changed, rates, limit_s))
    kept = [scored for scored in [*scores, *instead.competing] if scored.step_s <= wish.step_limit_s]
    if not kept:
        kept = _fastest(problem, found, indices, wish, instead, solve)
    if not kept:
        return None
    best = min(kept, key=value)
    own = estimate(best, index, found.fastest_s)
    rows = tuple(replace(s.row, value=value(s.best)) if s.best else s.row for s in instead.table)
    cost = cost_of(best.plan, own, drawn, index, wish, drawn.value(found.lower_bound, 1.0))
    plan = replace(best.plan, estimate=replace(own, cost=cost), baselines=rows)
    return recorded(plan, instead.pins, found.fastest_s)


def _candidates(
    problem: Problem, found: Cheapest, indices: Sequence[Index], wish: Wish, search: Callable[[Problem, float], Cheapest]
) -> list[Score]:
    """Those that fit when simulated; searched again, with less memory or a smaller limit, while none fits or keeps the limit."""
    limit_s = wish.step_limit_s
    fitting: list[Score] = []
    for _ in range(ATTEMPTS):
        scores = [score(plan, indices[0]) for plan in decoded(problem, found.candidates, indices)]
        fitting = [scored for scored in scores if not scored.overfull]
        fastest_s = min((scored.step_s for scored in fitting), default=math.inf)
        if not scores or fastest_s <= wish.step_limit_s:
            break
        if fitting:
            limit_s *= SLACK * wish.step_limit_s / fastest_s
        else:
            problem = with_memory(problem, SLACK / min(scored.fullness for scored in scores))
        found = search(problem, limit_s)
    return fitting


def _fastest(
    problem: Problem, found: Cheapest, indices: Sequence[Index], wish: Wish, instead: Instead, solve: Solve
) -> list[Score]:
    """The fastest plan, if it keeps the limit; none where there is no plan at all."""
    scores = [*best_candidates(problem, solve(problem), indices, solve), *instead.competing]
    if not scores:
        return []
    fastest = min(scores, key=lambda scored: scored.step_s)
    if fastest.step_s <= wish.step_limit_s:
        return [fastest]
    took, formula, bound = map(format_seconds, (fastest.step_s, formula_step(fastest.plan, indices[0]), found.fastest_s))
    raise Infeasible(
        f"no plan keeps a step of {format_seconds(wish.step_limit_s)}: by the formula none is faster than {bound}; the fastest "
        f"takes {formula} by it and {took} simulated",
        remedy=f"Take --step-limit '{format_seconds(_rounded_up(fastest.step_s))}' or more, or leave it out.",
    )


def _rounded_up(seconds: float) -> float:
    """To three digits."""
    digit = 10.0 ** (math.floor(math.log10(seconds)) - 2)
    return math.ceil(seconds / digit * (1 - 1e-12)) * digit


def cost_of(plan: Plan, own: Estimate, drawn: Tariff, index: Index, wish: Wish, lower_bound: float) -> Cost:
    """What a plan with this estimate takes."""
    rate = drawn.rate(index.cluster, plan.used_ranks)
    formula = drawn.value(rate, own.formula_s)
    return Cost(
        objective=wish.objective,
        unit=drawn.unit,
        rate=rate,
        value=drawn.value(rate, own.step_time_s),
        lower_bound=lower_bound,
        gap=max((formula - lower_bound) / formula, 0.0) if own.formula_s <= wish.step_limit_s else math.nan,
        step_limit_s=wish.step_limit_s if math.isfinite(wish.step_limit_s) else None,
        each=drawn.by_node(index.cluster),
    )


def cost_again(before: Plan, plan: Plan, own: Estimate, index: Index) -> Cost | None:
    """What a plan takes that somebody edited, at the prices of now; a bound of other prices is not kept."""
    if before.estimate is None or before.estimate.cost is None:
        return None
    old = before.estimate.cost
    drawn = tariff(index.cluster, old.objective)
    bound = old.lower_bound if drawn.by_node(index.cluster) == old.each else math.nan
    limit_s = math.inf if old.step_limit_s is None else old.step_limit_s
    return cost_of(plan, own, drawn, index, Wish(old.objective, limit_s), bound)
