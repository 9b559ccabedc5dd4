"""Playing a program with many replicas: of those that do the same at the same time one is enough.

A *lane* are ranks that have to do with each other before gradients are summed: the columns of a replica, the ranks of a node,
whose uplink they share, and all that exchange messages. Lanes of the same stages, costs, places in their nodes and messages,
rank by rank in the order of their numbers, run alike to the last tie, and a gradient sum waits for the last of ranks that
all arrive as their twins do. So one lane of each sort is played, as a program of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from autopart.cluster.cluster import Cluster
from autopart.pricing.costs import StageCosts
from autopart.program.lower import completed
from autopart.program.pieces import Pair, messages, nbytes
from autopart.program.program import Program, StageSpec
from autopart.simulate.engine import simulate
from autopart.simulate.timeline import Timeline

T = TypeVar("T")
Sizes = tuple[Mapping[Pair, tuple[int, ...]], Mapping[Pair, tuple[int, ...]]]
"""Bytes of each piece by sender and receiver of one microbatch: values forward, gradients backward."""


def play(program: Program, costs: StageCosts, cluster: Cluster) -> Timeline:
    """One training step of a program that has no lists yet; the same as ``simulate`` says of all of it."""
    sizes = _sizes(program)
    alike = _alike(_lanes(program, cluster, sizes[0]), program, costs, cluster, sizes)
    kept = frozenset(rank for lanes in alike for rank in lanes[0])
    folded = _folded(program, kept)
    if _sizes(folded) != tuple({pair: size for pair, size in each.items() if pair[0] in kept} for each in sizes):
        return simulate(completed(program), costs, cluster)  # who sends what went by the places of all
    timeline = simulate(completed(folded), _folded_costs(costs, kept), cluster)
    twins = tuple(dict(zip(lanes[0], lane, strict=True)) for lanes in alike for lane in lanes[1:])
    return replace(
        timeline,
        memory=_spread(timeline.memory, twins),
        peak_bytes=_spread(timeline.peak_bytes, twins),
        seconds=_spread(timeline.seconds, twins),
        twins=twins,
    )


def _sizes(program: Program) -> Sizes:
    def of(*, backward: bool) -> dict[Pair, tuple[int, ...]]:
        found = messages(program, backward=backward)
        return {pair: tuple(nbytes(piece, program.batch_size) for piece in sent) for pair, sent in found.items()}

    return of(backward=False), of(backward=True)


def _spread(of: Mapping[int, T], twins: Iterable[Mapping[int, int]]) -> dict[int, T]:
    """Also of the twins, by rank."""
    found = {**of, **{other: of[rank] for twin in twins for rank, other in twin.items()}}
    return {rank: found[rank] for rank in sorted(found)}


def _lanes(program: Program, cluster: Cluster, messages: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Each lane's ranks, ascending."""
    root = {rank: rank for stage in program.stages for rank in stage.ranks}

    def find(rank: int) -> int:
        while root[rank] != rank:
            root[rank] = root[root[rank]]
            rank = root[rank]
        return rank

    nodes: dict[int, list[int]] = {}
    for rank in root:
        nodes.setdefault(cluster.ranks[rank].node, []).append(rank)
    replicas = [stage.replica(index) for stage in program.stages for index in range(len(stage.shares))]
    for first, *others in (*nodes.values(), *replicas, *messages):
        for other in others:
            root[find(other)] = find(first)
    lanes: dict[int, list[int]] = {}
    for rank in sorted(root):
        lanes.setdefault(find(rank), []).append(rank)
    return [tuple(lane) for lane in lanes.values()]


def _alike(
    lanes: Sequence[tuple[int, ...]], program: Program, costs: StageCosts, cluster: Cluster, sizes: Sizes
) -> list[list[tuple[int, ...]]]:
    """The lanes of each sort."""
    stage_of = {rank: stage.index for stage in program.stages for rank in stage.ranks}
    number = {rank: place for lane in lanes for place, rank in enumerate(lane)}
    sent: dict[int, list[Hashable]] = {rank: [] for rank in stage_of}
    for backward, each in enumerate(sizes):
        for (sender, receiver), size in each.items():
            sent[sender].append((backward, number[receiver], size))

    def sort(lane: tuple[int, ...]) -> Hashable:
        nodes = {node: place for place, node in enumerate(dict.fromkeys(cluster.ranks[rank].node for rank in lane))}
        own = (replace(costs.of[stage_of[rank], rank], rank=-1) for rank in lane)
        places = ((cluster.ranks[rank].group, nodes[cluster.ranks[rank].node]) for rank in lane)
        return tuple(zip(own, places, (tuple(sent[rank]) for rank in lane), strict=True))

    found: dict[Hashable, list[tuple[int, ...]]] = {}
    for lane in lanes:
        found.setdefault(sort(lane), []).append(lane)
    return list(found.values())


def _folded(program: Program, kept: Collection[int]) -> Program:
    return replace(program, stages=tuple(_folded_stage(stage, kept) for stage in program.stages))


def _folded_stage(stage: StageSpec, kept: Collection[int]) -> StageSpec:
    shares = tuple(share for index, share in enumerate(stage.shares) if stage.replica(index)[0] in kept)
    return replace(stage, ranks=tuple(rank for rank in stage.ranks if rank in kept), shares=shares)


def _folded_costs(costs: StageCosts, kept: Collection[int]) -> StageCosts:
    reductions = (replace(each, ranks=tuple(rank for rank in each.ranks if rank in kept)) for each in costs.reductions)
    return StageCosts(costs.of, tuple(each for each in reductions if each.ranks))
