"""The front of step time against devices, as plans: simulated, without what another one on as few devices beats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from autopart.cluster.tariffs import Tariff, powers, prices
from autopart.planner.choose import decoded
from autopart.planner.front import Limited, bound_s
from autopart.planner.meshes import Index
from autopart.planner.problem import Problem
from autopart.planner.score import Score, formula_step, score
from autopart.plans import Draw, FrontPoint

SIMULATED = 3  # candidates of each number of devices


def front_points(
    problem: Problem, found: Sequence[Limited], indices: Sequence[Index], others: Iterable[Score]
) -> tuple[FrontPoint, ...]:
    """From few devices to many, each faster than all before; ``others`` are plans that are known already."""
    scores = [*_simulated(problem, found, indices), *others]
    points: list[FrontPoint] = []
    for scored in sorted(scores, key=lambda scored: (len(scored.plan.used_ranks), scored.step_s)):
        if not points or scored.step_s < points[-1].step_time_s:
            points.append(_point(scored, found, indices[0]))
    return tuple(points)


def _simulated(problem: Problem, found: Iterable[Limited], indices: Sequence[Index]) -> Iterator[Score]:
    for each in found:
        for plan in decoded(problem, each.solution.candidates, indices)[:SIMULATED]:
            scored = score(plan, indices[0])
            if not scored.overfull:
                yield scored


def _point(scored: Score, found: Sequence[Limited], index: Index) -> FrontPoint:
    ranks, formula_s = scored.plan.used_ranks, formula_step(scored.plan, index)
    lower_s = bound_s(found, len(ranks))
    return FrontPoint(
        devices=len(ranks),
        types=dict(Counter(index.cluster.device(rank).name for rank in ranks)),
        step_time_s=scored.step_s,
        formula_s=formula_s,
        lower_bound_s=lower_s,
        gap=max((formula_s - lower_s) / formula_s, 0.0),
        cost=_draw(prices(index.cluster), scored, index),
        energy=_draw(powers(index.cluster), scored, index),
    )


def _draw(drawn: Tariff | None, scored: Score, index: Index) -> Draw | None:
    if drawn is None:
        return None
    rate = drawn.rate(index.cluster, scored.plan.used_ranks)
    return Draw(drawn.unit, rate, drawn.value(rate, scored.step_s))
