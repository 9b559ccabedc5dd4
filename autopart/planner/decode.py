"""A candidate of the solver -> a plan with concrete ranks.

The solver counts devices by group; here they become ranks. Replicas of a stage share a node wherever they fit into one,
because the option was priced so, and stages that follow each other share nodes where there is a choice. Parts are placed in
decreasing size, whole nodes first, then each where it leaves the least room: for sizes that are powers of two in
nodes of a power of two this never splits a part that could have stayed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.planner.price import Index
from autopart.planner.problem import Candidate, Option, Part, Problem
from autopart.plans import ClusterRef, Plan, Schedule, Stage


def decode(candidate: Candidate, problem: Problem, index: Index) -> Plan:
    """The plan that a candidate stands for; the same candidate always gives the same ranks."""
    setting = problem.settings[candidate.setting]
    options = [setting.options[choice.option] for choice in candidate.choices]
    ranks = place([option.parts for option in options], index.cluster)
    stages = tuple(
        _stage(number, index.blocks, choice.start, choice.stop, option, ranks[number])
        for number, (choice, option) in enumerate(zip(candidate.choices, options, strict=True))
    )
    return build_plan(index, Schedule(setting.schedule, setting.microbatches), stages)


def build_plan(index: Index, schedule: Schedule, stages: tuple[Stage, ...]) -> Plan:
    """A plan of these stages, not yet priced."""
    used = {rank for stage in stages for rank in stage.ranks}
    return Plan(
        model=index.model,
        cluster=ClusterRef(index.cluster.path, index.cluster.digest),
        batch_size=index.batch_size,
        settings=index.settings,
        schedule=schedule,
        stages=stages,
        unused_ranks=tuple(r.rank for r in index.cluster.ranks if r.rank not in used),
    )


def _stage(number: int, blocks: Blocks, start: int, stop: int, option: Option, ranks: tuple[int, ...]) -> Stage:
    shares = tuple(samples for part in option.parts for samples in part.samples)
    names = tuple(block.name for block in blocks.blocks[start:stop])
    return Stage(number, names, ranks, shares, data=len(ranks), recompute=option.recompute)


def place(stages: Sequence[tuple[Part, ...]], cluster: Cluster) -> tuple[tuple[int, ...], ...]:
    """Ranks of each stage, in the order of its parts' samples (ascending: parts are in the order of their groups)."""
    assert all(list(parts) == sorted(parts, key=lambda part: part.group) for parts in stages), "parts are not in group order"
    ranks: list[tuple[int, ...]] = [() for _ in stages]
    for group in range(len(cluster.groups)):
        wanted = {number: part.devices for number, parts in enumerate(stages) for part in parts if part.group == group}
        for number, found in _place_group(wanted, _nodes(cluster, group)).items():
            ranks[number] += found
    return tuple(ranks)


def _nodes(cluster: Cluster, group: int) -> dict[int, list[int]]:
    nodes: dict[int, list[int]] = {}
    for rank in cluster.ranks:
        if rank.group == group:
            nodes.setdefault(rank.node, []).append(rank.rank)
    return nodes


@dataclass
class _Packing:
    """Devices still free on each node, and which stage took how many where."""

    free: dict[int, int]
    taken: dict[int, dict[int, int]] = field(default_factory=dict)  # stage -> node -> devices

    def take(self, stage: int, node: int, devices: int) -> None:
        self.free[node] -= devices
        at = self.taken.setdefault(stage, {})
        at[node] = at.get(node, 0) + devices

    def distance(self, stage: int, node: int) -> int:
        """To the nearest stage on the node, along the chain; large for an empty node."""
        return min((abs(stage - other) for other, nodes in self.taken.items() if node in nodes), default=1 << 30)


def _place_group(wanted: Mapping[int, int], nodes: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """Ranks by stage within one group of equal nodes."""
    packing = _Packing({node: len(ranks) for node, ranks in nodes.items()})
    for stage, devices in sorted(wanted.items(), key=lambda item: (-item[1], item[0])):
        _pack(packing, stage, devices, max(len(ranks) for ranks in nodes.values()))
    return _ranks(packing, nodes)


def _pack(packing: _Packing, stage: int, devices: int, node_size: int) -> None:
    """Whole nodes, then the node that fits the rest best, else the freest ones."""
    assert devices <= sum(packing.free.values()), f"stage {stage} wants {devices} devices of {sum(packing.free.values())}"
    while devices >= node_size and node_size in packing.free.values():
        packing.take(stage, min(node for node, free in packing.free.items() if free == node_size), node_size)
        devices -= node_size
    while devices:
        fits = [node for node, free in packing.free.items() if free >= devices]
        if fits:
            packing.take(stage, min(fits, key=lambda n: (packing.free[n], packing.distance(stage, n), n)), devices)
            return
        freest = min(packing.free, key=lambda n: (-packing.free[n], packing.distance(stage, n), n))
        devices -= packing.free[freest]
        packing.take(stage, freest, packing.free[freest])


def _ranks(packing: _Packing, nodes: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """Concrete ranks, ascending; on a node in the order of the chain."""
    unused = {node: list(ranks) for node, ranks in nodes.items()}
    found: dict[int, tuple[int, ...]] = {}
    for stage in sorted(packing.taken):
        for node, count in sorted(packing.taken[stage].items()):
            found[stage] = (*found.get(stage, ()), *unused[node][:count])
            del unused[node][:count]
    return found
