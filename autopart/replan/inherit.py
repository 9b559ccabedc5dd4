"""An old plan on a new cluster: the same cuts, the same devices as far as they are there, others for those that are not.

A lost replica goes to idle devices of the same types. Where there are none its stage does without it, and the others take its
samples; a stage that has lost all hands its blocks to the stage before it or behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.planner.decode import build_plan
from autopart.planner.meshes import Index, own_layouts
from autopart.planner.price import pools
from autopart.planner.shares import fastest_parts
from autopart.plans import Plan, Stage

Replicas = list[tuple[int, ...]]


def inherited(plan: Plan, old: Cluster, same: Mapping[int, int], index: Index) -> tuple[Plan, ...]:
    """What becomes of a plan, in one way or two; nothing where none of its devices is left, nor one like them."""
    now = {was: rank for rank, was in same.items()}
    replicas = _replaced(plan, old, index.cluster, now)
    if not any(replicas):
        return ()
    stages = [_with_replicas(stage, own, index) if own else None for stage, own in zip(plan.stages, replicas, strict=True)]
    ways = [tuple(_without_gaps(plan.stages, stages, index, forward=forward)) for forward in (False, True)]
    return tuple(build_plan(index, plan.schedule, way) for way in (ways[:1] if ways[0] == ways[1] else ways))


def _replaced(plan: Plan, old: Cluster, new: Cluster, now: Mapping[int, int]) -> list[Replicas]:
    """The new ranks of every stage's replicas, as far as there are devices for them."""
    before = [[stage.replica(number) for number in range(stage.data)] for stage in plan.stages]
    found = [[tuple(now[was] for was in own) if set(own) <= now.keys() else None for own in each] for each in before]
    idle = set(range(len(new.ranks))) - {rank for each in found for own in each if own is not None for rank in own}
    for number, each in enumerate(before):
        for place, own in enumerate(each):
            if found[number][place] is None:
                found[number][place] = _substitute(own, old, new, idle)
    return [[own for own in each if own is not None] for each in found]


def _substitute(replica: Sequence[int], old: Cluster, new: Cluster, idle: set[int]) -> tuple[int, ...] | None:
    """Idle devices like those of a replica, in one node where those were, the fullest that has room; they are idle no more."""
    wanted: dict[int, list[int]] = {}
    for column, was in enumerate(replica):
        wanted.setdefault(old.ranks[was].node, []).append(column)
    found: dict[int, int] = {}
    for columns in wanted.values():
        name, free = old.device(replica[columns[0]]).name, dict[int, list[int]]()
        for rank in sorted(idle - set(found.values())):
            if new.device(rank).name == name:
                free.setdefault(new.ranks[rank].node, []).append(rank)
        roomy = [node for node, ranks in free.items() if len(ranks) >= len(columns)]
        if not roomy:
            return None
        node = min(roomy, key=lambda node: (len(free[node]), node))
        found.update(zip(columns, free[node], strict=False))
    idle -= set(found.values())
    return tuple(found[column] for column in range(len(replica)))


def _with_replicas(stage: Stage, replicas: Replicas, index: Index) -> Stage:
    """The stage on these; where they are fewer than they were, in the order of their groups and with shares anew."""
    ranks = index.cluster.ranks
    if len(replicas) == stage.data:
        return replace(stage, ranks=tuple(rank for own in replicas for rank in own))
    ordered = sorted(replicas, key=lambda own: (ranks[own[0]].group, own))
    groups = [ranks[own[0]].group for own in ordered]
    counts = tuple(groups.count(group) for group in range(len(index.cluster.groups)))
    parts = fastest_parts(pools(index), counts, sum(stage.shares))
    return replace(
        stage,
        ranks=tuple(rank for own in ordered for rank in own),
        shares=tuple(samples for part in parts for samples in part.samples),
        data=len(ordered),
        zero=stage.zero if len(ordered) > 1 else 0,
    )


def _without_gaps(before: Sequence[Stage], after: Sequence[Stage | None], index: Index, *, forward: bool) -> list[Stage]:
    """Stages that are left, with the blocks of those that are not: of the next one (``forward``), or the one before."""
    left = [number for number, stage in enumerate(after) if stage is not None]
    taking: dict[int, list[str]] = {number: [] for number in left}
    for number, stage in enumerate(before):
        behind, ahead = [n for n in left if n <= number], [n for n in left if n >= number]
        heir = ahead[0] if ahead and (forward or not behind) else behind[-1]
        taking[heir] += stage.blocks
    kept = [(after[number], tuple(taking[number])) for number in left]
    return [_with_blocks(stage, position, blocks, index) for position, (stage, blocks) in enumerate(kept) if stage is not None]


def _with_blocks(stage: Stage, position: int, names: tuple[str, ...], index: Index) -> Stage:
    """Of several columns with layouts chosen anew where there are more blocks."""
    more = replace(stage, index=position, blocks=names)
    if stage.tensor == 1 or names == stage.blocks:
        return more
    return replace(more, layouts=_layouts(replace(more, layouts={}), index, index.blocks))


def _layouts(stage: Stage, index: Index, blocks: Blocks) -> dict[str, str]:
    start = blocks.index[stage.blocks[0]]
    return own_layouts(index.mesh_of(stage).layouts, blocks, start, start + len(stage.blocks))
