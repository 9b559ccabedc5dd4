"""A candidate of the solver -> a plan with concrete ranks.

The solver counts devices by group; here they become ranks. Replicas of a stage share a node wherever they fit into one,
because the option was priced so, and stages that follow each other share nodes where there is a choice. Parts are placed in
decreasing size, whole nodes first, then each where it leaves the least room. A replica of several devices never leaves its
node: where that order leaves no node for one, the largest replicas are placed first, and where what must be in a node
(``packing``) is not, it goes first, by decreasing size. There are candidates for which even that fails, of tensor degrees that
are no powers of two: those stand for no plan. What a replica of joined parts has in one group is placed as a replica of so many
devices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.planner.meshes import Index, own_layouts
from autopart.planner.packing import units
from autopart.planner.problem import Candidate, Option, Part, Problem, columns_of, replicas_of
from autopart.plans import ClusterRef, NodeRef, Plan, Schedule, Stage


def decode(candidate: Candidate, problem: Problem, index: Index) -> Plan | None:
    """The plan that a candidate stands for; the same candidate always gives the same ranks. None where nodes can't hold it."""
    setting = problem.settings[candidate.setting]
    options = [setting.options[choice.option] for choice in candidate.choices]
    ranks = place([option.parts for option in options], index.cluster)
    if ranks is None:
        return None
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
        cluster=cluster_ref(index.cluster),
        batch_size=index.batch_size,
        settings=index.settings,
        schedule=schedule,
        stages=stages,
        unused_ranks=tuple(r.rank for r in index.cluster.ranks if r.rank not in used),
    )


def cluster_ref(cluster: Cluster) -> ClusterRef:
    """What a plan keeps of its cluster."""
    groups = [group for group in cluster.groups for _ in range(group.count)]
    nodes = zip(cluster.nodes, groups, strict=True)
    named = tuple(NodeRef(name, group.devices_per_node, group.device.name) for name, group in nodes)
    return ClusterRef(cluster.path, cluster.digest, named)


def _stage(number: int, blocks: Blocks, start: int, stop: int, option: Option, ranks: tuple[int, ...]) -> Stage:
    shares, weights = replicas_of(option.parts), tuple(weight for part in option.parts for weight in part.weights)
    return Stage(
        index=number,
        blocks=tuple(block.name for block in blocks.blocks[start:stop]),
        ranks=ranks,
        shares=shares,
        data=len(shares),
        tensor=columns_of(option.parts),
        zero=option.zero,
        recompute=option.recompute,
        layouts=own_layouts(option.layouts, blocks, start, stop),
        tensor_shares=weights if len(set(weights)) > 1 else (),
    )


def place(stages: Sequence[tuple[Part, ...]], cluster: Cluster) -> tuple[tuple[int, ...], ...] | None:
    """Ranks of each stage, row major, in the order of its parts' samples (ascending: parts are in the order of their groups);
    of joined parts replica by replica, their columns in the order of the parts. None where a group's nodes have no place for a
    replica.
    """
    assert all(list(parts) == sorted(parts, key=lambda part: part.group) for parts in stages), "parts are not in group order"
    ranks: list[list[tuple[int, ...]]] = [[] for _ in stages]
    for group in range(len(cluster.groups)):
        wanted = {number: part for number, parts in enumerate(stages) for part in parts if part.group == group}
        placed = _place_group(wanted, _nodes(cluster, group))
        if placed is None:
            return None
        for number, found in placed.items():
            ranks[number].append(found)
    return tuple(_row_major(parts, own) for parts, own in zip(stages, ranks, strict=True))


def _row_major(parts: Sequence[Part], ranks: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Of each part's ranks, those of the whole stage."""
    if not parts[0].weights:
        return tuple(rank for own in ranks for rank in own)
    of_each = [(own, part.tensor) for own, part in zip(ranks, parts, strict=True)]
    replicas = range(len(parts[0].samples))
    return tuple(rank for replica in replicas for own, n in of_each for rank in own[replica * n : (replica + 1) * n])


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

    def keeps(self, stage: int, part: Part, node_size: int) -> bool:
        """Whether what must be in a node is: as many nodes have as much of it."""
        here = sorted(self.taken[stage].values(), reverse=True)
        return all(unit <= most for unit, most in zip(units(part, node_size), here, strict=False) if unit > part.tensor)

    def distance(self, stage: int, node: int) -> int:
        """To the nearest stage on the node, along the chain; large for an empty node."""
        return min((abs(stage - other) for other, nodes in self.taken.items() if node in nodes), default=1 << 30)


def _place_group(wanted: Mapping[int, Part], nodes: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]] | None:
    """Ranks by stage within one group of equal nodes."""
    node_size = max(len(ranks) for ranks in nodes.values())
    by_size = sorted(wanted, key=lambda stage: (-wanted[stage].devices, stage))
    by_tensor = sorted(by_size, key=lambda stage: -wanted[stage].tensor)
    spread: _Packing | None = None
    for pieces in (_by_stage(wanted, by_size, node_size), _by_stage(wanted, by_tensor, node_size), _by_unit(wanted, node_size)):
        packing = _Packing({node: len(ranks) for node, ranks in nodes.items()})
        if all(_put(packing, piece) for piece in pieces):
            if all(packing.keeps(stage, part, node_size) for stage, part in wanted.items()):
                return _ranks(packing, nodes)
            spread = spread or packing
    return _ranks(spread, nodes) if spread else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """``replicas`` of ``tensor`` devices each; all in one node, or if they may be ``apart`` in as few as there is room for."""

    stage: int
    replicas: int
    tensor: int
    apart: bool = False


def _by_stage(wanted: Mapping[int, Part], order: Sequence[int], node_size: int) -> list[_Piece]:
    """Whole nodes of a stage, then its rest."""
    found: list[_Piece] = []
    for stage in order:
        part = wanted[stage]
        full, rest = divmod(len(part.samples), max(1, node_size // part.tensor))
        found += [_Piece(stage, node_size // part.tensor, part.tensor)] * full
        found += [_Piece(stage, rest, part.tensor, apart=True)] * (rest > 0)
    return found


def _by_unit(wanted: Mapping[int, Part], node_size: int) -> list[_Piece]:
    """What must be in a node, of all stages, by decreasing size."""
    found: list[_Piece] = []
    for stage, part in wanted.items():
        together = [unit // part.tensor for unit in units(part, node_size) if unit > part.tensor]
        found += [_Piece(stage, replicas, part.tensor) for replicas in together]
        left = len(part.samples) - sum(together)
        found += [_Piece(stage, left, part.tensor, apart=True)] * (left > 0)
    return sorted(found, key=lambda piece: (-(piece.tensor if piece.apart else piece.replicas * piece.tensor), piece.stage))


def _put(packing: _Packing, piece: _Piece) -> bool:
    """On the node that it fits best, else on the freest ones; False where a replica finds no node."""
    left = piece.replicas
    while left:
        fits = [node for node, free in packing.free.items() if free >= left * piece.tensor]
        if fits:
            best = min(fits, key=lambda n: (packing.free[n], packing.distance(piece.stage, n), n))
            packing.take(piece.stage, best, left * piece.tensor)
            return True
        freest = min(packing.free, key=lambda n: (-packing.free[n], packing.distance(piece.stage, n), n))
        replicas = packing.free[freest] // piece.tensor
        if not (replicas and piece.apart):
            return False
        left -= replicas
        packing.take(piece.stage, freest, replicas * piece.tensor)
    return True


def _ranks(packing: _Packing, nodes: Mapping[int, Sequence[int]]) -> dict[int, tuple[int, ...]]:
    """Concrete ranks, ascending; on a node in the order of the chain."""
    unused = {node: list(ranks) for node, ranks in nodes.items()}
    found: dict[int, tuple[int, ...]] = {}
    for stage in sorted(packing.taken):
        for node, count in sorted(packing.taken[stage].items()):
            found[stage] = (*found.get(stage, ()), *unused[node][:count])
            del unused[node][:count]
    return found
