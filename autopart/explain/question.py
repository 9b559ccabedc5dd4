"""A plan that is asked about, and other plans beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from autopart.cluster.cluster import Cluster
from autopart.errors import InputError
from autopart.explain.changes import moved
from autopart.planner.best import search
from autopart.planner.choose import Ranking
from autopart.planner.meshes import Index
from autopart.planner.score import Score, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan


@dataclass(frozen=True, eq=False)
class Question:
    """``asked`` is the plan as it would run, ``index`` what prices it; ``pins`` were fixed when it was made. Every search may
    take ``time_limit_s`` and ends ``gap`` from its bound; ``say`` hears what is going on.
    """

    asked: Score
    index: Index
    pins: Pins
    gap: float
    time_limit_s: float
    say: Callable[[str], None]

    @property
    def plan(self) -> Plan:
        return self.asked.plan

    @property
    def step_s(self) -> float:
        return self.asked.step_s

    def search(self, pins: Pins | None = None, cluster: Cluster | None = None, schedule: str | None = None) -> Ranking:
        """Plan again, with other pins, for another cluster or another schedule."""
        return search(
            self.on(cluster or self.index.cluster),
            pins or self.pins,
            schedule or self.plan.schedule.name,
            gap=self.gap,
            time_limit_s=self.time_limit_s,
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


def other(name: str, scored: Score | None, reason: str = "") -> Other:
    if scored is None:
        return Other(name, infeasible=reason)
    return Other(name, scored.step_s, "", scored.plan, dict(scored.breakdown))


def best_under(question: Question, name: str, pins: Pins, schedule: str | None = None) -> Other:
    """The best plan that has these pins, or the reason why there is none."""
    try:
        found = question.search(pins, schedule=schedule)
    except InputError as error:
        return Other(name, infeasible=error.what)
    return other(name, next(iter(found.scores), None), "no such plan fits into the devices' memory")


def same(first: Plan, second: Plan) -> bool:
    """Whether two plans do the same."""
    return first.stages == second.stages and first.schedule == second.schedule
