"""What moves from a plan to the next, from whom, and how long that takes at least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import block_buffers, block_parameters
from autopart.cluster.cluster import Cluster
from autopart.plans import Moves, Plan, RankMoves, Stage, Take
from autopart.program.state import State
from autopart.replan.devices import device_names
from autopart.replan.overlap import overlaps
from autopart.simulate.network import find_path

Sources = tuple[int, ...]
"""Ranks of the new cluster that have a thing, ascending; none: a checkpoint alone."""
Wanted = dict[tuple[int, Sources], Counter[str]]
"""Bytes by block, of what a rank needs and others have."""


def moves_of(
    plan: Plan,
    before: Plan,
    states: tuple[State, State],
    clusters: tuple[Cluster, Cluster],
    same: Mapping[int, int],
    blocks: Blocks,
) -> Moves:
    """From the plan ``before``; ``states`` and ``clusters`` are the old and the new, ``same`` has old ranks by new ones."""
    old, new = clusters
    kept, wanted = _wanted(plan, states, same, blocks)
    takes = _sources(wanted, new)
    order = {name: i for i, name in enumerate(block.name for block in blocks.blocks)}
    ranks = []
    for rank in sorted(rank for stage in plan.stages for rank in stage.ranks):
        own = [Take(source, found.total(), tuple(sorted(found, key=order.__getitem__))) for source, found in takes.get(rank, ())]
        ranks.append(RankMoves(rank, same.get(rank), kept[rank], tuple(own)))
    every = [take for each in ranks for take in each.takes]
    names = device_names(old), device_names(new)
    return Moves(
        nbytes=sum(take.nbytes for take in every),
        checkpoint_bytes=sum(take.nbytes for take in every if take.source is None),
        seconds=busiest_s(((t.source, each.rank, t.nbytes) for each in ranks for t in each.takes if t.source is not None), new),
        step_before_s=before.estimate.step_time_s if before.estimate else None,
        kept=len(same),
        lost=tuple(name for rank, name in enumerate(names[0]) if rank not in set(same.values())),
        new=tuple(name for rank, name in enumerate(names[1]) if rank not in same),
        ranks=tuple(ranks),
    )


def _wanted(plan: Plan, states: tuple[State, State], same: Mapping[int, int], blocks: Blocks) -> tuple[Counter[int], Wanted]:
    """Bytes that ranks have already, and what they lack."""
    now = {was: rank for rank, was in same.items()}
    stage_of = {rank: stage for stage in plan.stages for rank in stage.ranks}
    home = {stage.index: _home(stage, blocks) for stage in plan.stages}
    kept: Counter[int] = Counter()
    wanted: Wanted = {}
    for (name, _), old, after, nbytes in overlaps(*states):
        alive = tuple(sorted(now[was] for was in old if was in now))
        for rank in after:
            if rank in alive:
                kept[rank] += nbytes
                continue
            stage = stage_of[rank]
            block = home[stage.index].get(name, stage.blocks[0])
            wanted.setdefault((rank, alive), Counter())[block] += nbytes
    return kept, wanted


def _home(stage: Stage, blocks: Blocks) -> dict[str, str]:
    """The first block of a stage that reads each parameter or buffer."""
    found: dict[str, str] = {}
    for block in stage.blocks:
        index = blocks.index[block]
        for name in (*block_parameters(blocks, index), *block_buffers(blocks, index)):
            found.setdefault(name, block)
    return found


def _sources(wanted: Wanted, cluster: Cluster) -> dict[int, list[tuple[int | None, Counter[str]]]]:
    """By rank: the nearest holder of each thing, of those equally near the one that gives least so far."""
    given: Counter[int] = Counter()
    found: dict[int, dict[int | None, Counter[str]]] = {}
    for (rank, sources), each in sorted(wanted.items(), key=lambda item: item[0]):
        source = _nearest(rank, sources, each.total(), cluster, given) if sources else None
        if source is not None:
            given[source] += each.total()
        found.setdefault(rank, {}).setdefault(source, Counter()).update(each)
    return {rank: sorted(own.items(), key=lambda item: (item[0] is None, item[0])) for rank, own in found.items()}


def _nearest(rank: int, sources: Sources, nbytes: int, cluster: Cluster, given: Counter[int]) -> int:
    """In its node if any is there; links are asked for between few ranks only."""
    node = cluster.ranks[rank].node
    near = [source for source in sources if cluster.ranks[source].node == node] or sources
    return min(near, key=lambda source: (cluster.link(source, rank).transfer_s(nbytes), given[source], source))


def busiest_s(messages: Iterable[tuple[int, int, int]], cluster: Cluster) -> float:
    """Seconds for which messages (sender, receiver, bytes) take the busiest port or uplink: no order of them is faster."""
    busy: dict[int, float] = {}
    for sender, receiver, nbytes in messages:
        path = find_path(cluster, sender, receiver)
        for resource, byte_s in ((path.out, path.out_byte_s), (path.into, path.into_byte_s)):
            busy[resource] = busy.get(resource, 0.0) + nbytes * byte_s
    return max(busy.values(), default=0.0)
