"""A plan that is asked about, and other plans beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_seconds
from autopart.errors import InputError
from autopart.explain.changes import moved
from autopart.planner.best import search
from autopart.planner.choose import Ranking
from autopart.planner.meshes import Index
from autopart.planner.score import Score, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan
from autopart.say import Say


@dataclass(frozen=True, eq=False)
class Question:
    """``asked`` is the plan as it would run, ``index`` what prices it; ``pins`` were fixed when it was made. Every search may
    take ``time_limit_s`` and ends ``gap`` from its bound; ``say`` hears how far it is.
    """

    asked: Score
    index: Index
    pins: Pins
    gap: float
    time_limit_s: float
    say: Say

    @property
    def plan(self) -> Plan:
        return self.asked.plan

    @property
    def step_s(self) -> float:
        return self.asked.step_s

    def search(self, what: str, pins: Pins | None = None, cluster: Cluster | None = None, schedule: str | None = None) -> Ranking:
        """Plan again, with other pins, for another cluster or another schedule: from the plan as it is, where it may be so.

        ``what`` is asked, for whoever waits.
        """
        there = cluster or self.index.cluster
        kept = moved(self.plan, self.index.cluster, there)
        self.say(what)
        return search(
            self.on(there),
            pins or self.pins,
            schedule or self.plan.schedule.name,
            gap=self.gap,
            time_limit_s=self.time_limit_s,
            progress=lambda best_s, bound_s, elapsed_s: self.say(f"{what}: {_so_far(best_s, bound_s, elapsed_s)}"),
            known=(kept,) if kept else (),
        )

    def on(self, cluster: Cluster) -> Index:
        """What prices plans for another cluster: prices are remembered by device and link, so they can be shared."""
        return replace(self.index, cluster=cluster)

    def kept(self, cluster: Cluster) -> Score | None:
        """The plan as it is on a changed cluster; None where a rank of it is gone."""
        plan = moved(self.plan, self.index.cluster, cluster)
        return score(plan, self.on(cluster)) if plan else None


@dataclass(frozen=True, slots=True)
class Other:
    """Another plan: its simulated step, or why there is none. ``breakdown`` is of its slowest rank."""

    name: str
    step_time_s: float | None = None
    infeasible: str = ""
    plan: Plan | None = None
    breakdown: Mapping[str, float] | None = None


def _so_far(best_s: float, bound_s: float, elapsed_s: float) -> str:
    """Of a search."""
    best = "no plan yet" if math.isinf(best_s) else f"best step {format_seconds(best_s)}"
    return f"{best}, none below {format_seconds(bound_s)}, {elapsed_s:.0f} s"


def other(name: str, scored: Score | None, reason: str = "") -> Other:
    if scored is None:
        return Other(name, infeasible=reason)
    return Other(name, scored.step_s, "", scored.plan, dict(scored.breakdown))


def best_under(question: Question, name: str, pins: Pins, schedule: str | None = None) -> Other:
    """The best plan that has these pins, or the reason why there is none."""
    try:
        found = question.search(f"why not {name}", pins, schedule=schedule)
    except InputError as error:
        return Other(name, infeasible=error.what)
    return other(name, next(iter(found.scores), None), "no such plan fits into the devices' memory")


def same(first: Plan, second: Plan) -> bool:
    """Whether two plans do the same."""
    return first.stages == second.stages and first.schedule == second.schedule
