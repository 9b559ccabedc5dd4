"""What ``autopart explain`` says, as data. ``explain.text`` puts it in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autopart.explain.bottleneck import Bottleneck, bottleneck
from autopart.explain.changes import Change, changed, parse_change
from autopart.explain.ops import OpFacts, op_facts
from autopart.explain.question import Other, Question, other, same
from autopart.explain.remedies import LeftOut, after, left_out, remedies
from autopart.explain.restrictions import Answer, why_not
from autopart.planner.meshes import Index
from autopart.planner.score import Score
from autopart.planner.strategies import Pins
from autopart.say import Say, silent


@dataclass(frozen=True)
class WhatIf:
    """``kept`` is the plan as it is after the changes (None: a device of it is gone), ``overfull`` the rank that then lacks most,
    with its peak and what it has to use; ``best`` is the best plan then. Ranks are those of the changed cluster.
    """

    changes: tuple[Change, ...]
    kept: Other | None
    overfull: tuple[int, int, int] | None
    best: Other


@dataclass(frozen=True)
class Explanation:
    """A plan's answers; sections that were not asked for are None or empty.

    ``next_best`` is the best plan beside this one that another search found, ``lower_bound_s`` that search's bound. ``why_not``
    is asked on the changed cluster where one is supposed; then it stands beside ``there``.
    """

    step_time_s: float
    pins: dict[str, object]
    bottleneck: Bottleneck | None = None
    lower_bound_s: float | None = None
    next_best: Other | None = None
    baselines: tuple[Other, ...] = ()
    remedies: tuple[Other, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    why_not: tuple[Other, ...] = ()
    there: Other | None = None
    what_if: WhatIf | None = None
    ops: tuple[OpFacts, ...] = ()


def explain(
    asked: Score,
    index: Index,
    pins: Pins,
    *,
    wishes: Sequence[str] = (),
    changes: Sequence[str] = (),
    op: str | None = None,
    gap: float = 0.01,
    time_limit_s: float = 20.0,
    say: Say = silent,
) -> Explanation:
    """Answer what is asked of a plan that fits; without ``wishes`` (why not), ``changes`` (what if) and ``op``: everything."""
    question = Question(asked, index, pins, gap, time_limit_s, say)
    said = dict(pins.said)
    if not wishes and not changes and op is None:
        return _everything(question, said)
    parsed = [parse_change(line) for line in changes]
    facts = op_facts(question, op) if op is not None else ()
    there = _supposing(question, parsed) if parsed and wishes else question
    answers = [(wish, answer) for wish in wishes for answer in why_not(there, wish)]
    supposed = what_if(question, parsed) if parsed else None
    return Explanation(
        step_time_s=question.step_s,
        pins=said,
        why_not=tuple(_said(question, wish, answer) for wish, answer in answers),
        there=other("this plan", there.asked) if there is not question else None,
        what_if=supposed,
        ops=facts,
    )


def _said(question: Question, wish: str, answer: Answer) -> Other:
    question.say(f"why not {wish}")
    return answer()


def _everything(question: Question, pins: dict[str, object]) -> Explanation:
    bounds = bottleneck(question)
    ranking = question.search("searching again")
    unlike = next((scored for scored in ranking.scores if not same(scored.plan, question.plan)), None)
    return Explanation(
        step_time_s=question.step_s,
        pins=pins,
        bottleneck=bounds,
        lower_bound_s=ranking.lower_bound_s,
        next_best=other("next best", unlike) if unlike else None,
        baselines=tuple(other(row.name, row.best, row.reason) for row in ranking.table),
        remedies=tuple(remedies(question)),
        left_out=tuple(left_out(question)),
    )


def what_if(question: Question, changes: list[Change]) -> WhatIf:
    """The plan as it is, and the best plan, on the changed cluster."""
    kept = question.kept(changed(question.index.cluster, changes))
    found = other("as it is", kept) if kept else None
    return WhatIf(tuple(changes), found, _overfull(kept) if kept else None, after(question, changes))


def _overfull(scored: Score) -> tuple[int, int, int] | None:
    capacity = {rank: each.capacity_bytes for (_, rank), each in scored.costs.of.items()}
    over = scored.overfull
    if not over:
        return None
    rank = max(over, key=lambda rank: (over[rank] / max(1, capacity[rank]), -rank))
    return rank, over[rank], capacity[rank]


def _supposing(question: Question, changes: list[Change]) -> Question:
    """The same question where the cluster is changed; of the best plan there where this one does not run."""
    cluster = changed(question.index.cluster, changes)
    kept = question.kept(cluster)
    asked = (
        kept
        if kept and not kept.overfull
        else next(iter(question.search("planning there", cluster=cluster).scores), question.asked)
    )
    return Question(asked, question.on(cluster), question.pins, question.gap, question.time_limit_s, question.say)
