"""What would help most: planned again for clusters with more memory, faster links, another device."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

from autopart.cluster.cluster import Cluster
from autopart.explain.changes import Change, changed
from autopart.explain.question import Other, Question, other
from autopart.explain.restrictions import using
from cost_models.hardware import UNUSED_LINK

WORTH = 0.005  # of the step: where changing all of a kind gains less, its parts are not tried one by one
MOST_PARTS = 8  # of a kind that are tried one by one


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Devices that do nothing, of one kind, and the best plan that uses one more of them."""

    ranks: tuple[int, ...]
    slowness: float  # the time of such a device for the whole model, by that of the fastest; 0 where nobody knows
    best: Other


def remedies(question: Question) -> list[Other]:
    """The best plan after each change, the most helpful first."""
    cluster = question.index.cluster
    found = []
    for every, parts in _kinds(cluster):
        whole = after(question, [every])
        found.append(whole)
        if len(parts) > 1 and (whole.step_time_s or question.step_s) < (1 - WORTH) * question.step_s:
            found += [after(question, [change]) for change in parts[:MOST_PARTS]]
    found += [after(question, [change]) for change in _one_more(cluster)]
    return sorted(found, key=lambda each: (each.step_time_s or float("inf"), each.name))


def after(question: Question, changes: list[Change]) -> Other:
    """The best plan for the changed cluster: what a search finds, or the plan as it is where that is faster there."""
    name = ", ".join(map(str, changes))
    cluster = changed(question.index.cluster, changes)
    scores = list(question.search(f"what if {name}", cluster=cluster).scores[:1])
    kept = question.kept(cluster)
    if kept and not kept.overfull:
        scores.append(kept)
    return other(name, min(scores, key=lambda scored: scored.step_s, default=None), "no plan fits")


def _kinds(cluster: Cluster) -> Iterator[tuple[Change, list[Change]]]:
    """A change of everything of a kind, and the changes that it consists of."""
    groups = range(len(cluster.groups))
    types = dict.fromkeys(group.device.name for group in cluster.groups)
    yield Change("memory", "", "2x"), [Change("memory", name, "2x") for name in types]
    if any(group.interconnect is not UNUSED_LINK for group in cluster.groups):
        inside = [group.name for group in cluster.groups if group.interconnect is not UNUSED_LINK]
        yield Change("interconnect", "", "2x"), [Change("interconnect", name, "2x") for name in inside]
    if sum(group.count for group in cluster.groups) > 1:
        pairs = [(a, b) for a, b in combinations_with_replacement(groups, 2) if a != b or cluster.groups[a].count > 1]
        ends = [f"{cluster.groups[a].name}-{cluster.groups[b].name}" for a, b in pairs]
        yield Change("network", "", "2x"), [Change("network", name, "2x") for name in ends]


def _one_more(cluster: Cluster) -> Iterator[Change]:
    """One more device in a node that stands alone, one more node where there are several."""
    for group in cluster.groups:
        if group.count > 1:
            yield Change("nodes", group.name, str(group.count + 1))
        elif group.interconnect is not UNUSED_LINK:
            yield Change("devices", group.name, str(group.devices_per_node + 1))
        elif group.network is not UNUSED_LINK:
            yield Change("nodes", group.name, "2")


def left_out(question: Question) -> Iterator[LeftOut]:
    """By group, where some of its devices are idle."""
    cluster, table = question.index.cluster, question.index.table
    rows = max(1, question.plan.microbatch_size)
    used = {rank for stage in question.plan.stages for rank in stage.ranks}
    seconds = {g: float(table.seconds(group.device, rows).total.sum()) for g, group in enumerate(cluster.groups)}
    idle = [rank for rank in cluster.ranks if rank.rank not in used]
    for group in sorted(Counter(rank.group for rank in idle)):
        ranks = tuple(rank.rank for rank in idle if rank.group == group)
        slowness = seconds[group] / min(seconds.values()) if math.isfinite(seconds[group]) else 0.0
        yield LeftOut(ranks, slowness, using(question, ranks[0]))
