"""What bounds a step: its slowest stage, the device or link that would shorten it most, the fullest devices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

from autopart.cluster.cluster import Cluster
from autopart.explain.changes import Change, changed
from autopart.explain.question import Question
from autopart.plans import Plan

FASTER = "2x"


@dataclass(frozen=True, slots=True)
class Faster:
    """The step of the plan as it is with one resource ``FASTER``."""

    change: str
    step_time_s: float


@dataclass(frozen=True, slots=True)
class Fullness:
    """The fullest device of a type: its peak out of what it has to use."""

    device: str
    rank: int
    peak_bytes: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """``rank`` of ``stage`` computes longest: ``busy_s`` of the step, over all microbatches. ``breakdown`` is of the rank that
    waits least. ``faster`` has the resource that shortens the step most first.
    """

    stage: int
    rank: int
    busy_s: float
    breakdown: Mapping[str, float]
    faster: tuple[Faster, ...]
    memory: tuple[Fullness, ...]


def bottleneck(question: Question) -> Bottleneck:
    asked = question.asked
    microbatches = question.plan.schedule.microbatches
    busy = {place: microbatches * (each.forward_s + each.backward_s) + each.update_s for place, each in asked.costs.of.items()}
    stage, rank = max(busy, key=lambda place: (busy[place], -place[0], -place[1]))
    return Bottleneck(stage, rank, busy[stage, rank], dict(asked.breakdown), tuple(_faster(question)), tuple(_fullness(question)))


def _faster(question: Question) -> list[Faster]:
    cluster = question.index.cluster
    found = []
    for change in dict.fromkeys(_resources(question.plan, cluster)):
        question.say(f"what if {change}")
        kept = question.kept(changed(cluster, [change]))
        assert kept is not None, "no device goes away when one gets faster"
        found.append(Faster(str(change), kept.step_s))
    return sorted(found, key=lambda each: each.step_time_s)


def _resources(plan: Plan, cluster: Cluster) -> Iterator[Change]:
    """Device types, links in nodes and links between nodes of the ranks that the plan uses."""
    places = [cluster.ranks[rank] for stage in plan.stages for rank in stage.ranks]
    groups = sorted({place.group for place in places})
    yield from (Change("speed", cluster.groups[group].device.name, FASTER) for group in groups)
    nodes = {group: {place.node for place in places if place.group == group} for group in groups}
    for group in groups:
        if len([place for place in places if place.group == group]) > len(nodes[group]):
            yield Change("interconnect", cluster.groups[group].name, FASTER)
    for first, second in combinations_with_replacement(groups, 2):
        if first != second or len(nodes[first]) > 1:
            yield Change("network", f"{cluster.groups[first].name}-{cluster.groups[second].name}", FASTER)


def _fullness(question: Question) -> Iterator[Fullness]:
    """By device type, in the order of ranks."""
    cluster, peaks = question.index.cluster, question.asked.timeline.peak_bytes
    capacity = {rank: each.capacity_bytes for (_, rank), each in question.asked.costs.of.items()}
    for name in dict.fromkeys(cluster.device(rank).name for rank in sorted(peaks)):
        ranks = [rank for rank in sorted(peaks) if cluster.device(rank).name == name]
        fullest = max(ranks, key=lambda rank: (peaks[rank] / max(capacity[rank], 1), -rank))
        yield Fullness(name, fullest, peaks[fullest], capacity[fullest])
