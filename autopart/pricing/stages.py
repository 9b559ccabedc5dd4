"""A plan's costs, rank by rank, for the simulator."""

from __future__ import annotations

from dataclasses import replace

from autopart.cluster.cluster import Cluster, topology
from autopart.plans import Plan, Stage
from autopart.pricing.costs import RankCosts, Reduction, StageCosts
from autopart.pricing.table import BlockTable, elements
from cost_models.collective import all_reduce_s
from cost_models.hardware import DeviceType
from cost_models.memory import PRECISIONS, usable_bytes


def stage_costs(table: BlockTable, plan: Plan, cluster: Cluster) -> StageCosts:
    """What every rank of a valid plan pays, and which gradients it sums with whom."""
    of: dict[tuple[int, int], RankCosts] = {}
    for stage in plan.stages:
        alike: dict[tuple[DeviceType, int], RankCosts] = {}  # ranks of one type with as many rows pay the same
        for rank, rows in zip(stage.ranks, stage.shares, strict=True):
            key = cluster.device(rank), rows
            if key not in alike:
                alike[key] = _rank_costs(table, cluster, stage, rank, rows)
            of[stage.index, rank] = replace(alike[key], rank=rank)
    return StageCosts(of, _reductions(table, plan, cluster))


def interval(table: BlockTable, stage: Stage) -> tuple[int, int]:
    """The stage's blocks as [start, stop)."""
    start = table.blocks.index[stage.blocks[0]]
    return start, start + len(stage.blocks)


def _rank_costs(table: BlockTable, cluster: Cluster, stage: Stage, rank: int, rows: int) -> RankCosts:
    start, stop = interval(table, stage)
    device = cluster.device(rank)
    seconds, kept = table.seconds(device, rows), table.kept(device, rows, stage.recompute)
    mixing_s = float(table.collectives_s(max(stage.shares), topology(cluster, stage.ranks))[start:stop].sum()) / 2
    forward_s = float(seconds.forward[start:stop].sum()) + mixing_s
    backward_s = float(seconds.backward[start:stop].sum()) + mixing_s + (forward_s if stage.recompute else 0.0)
    inflight = kept.inflight[start:stop].sum() + kept.output[stop] + table.shared_bytes(rows, start, stop)
    trained = table.trained_elements(start, stop)
    return RankCosts(
        rank=rank,
        stage=stage.index,
        forward_s=forward_s + table.shared_s(device, rows, start, stop),
        backward_s=backward_s,
        update_s=table.update_s(device, trained),
        static_bytes=int(table.static_bytes(start, stop)),
        inflight_bytes=int(inflight),
        transient_bytes=int(kept.transient[start:stop].max()),
        update_bytes=int(table.update_transient(device, trained)),
        capacity_bytes=usable_bytes(device),
    )


def _reductions(table: BlockTable, plan: Plan, cluster: Cluster) -> tuple[Reduction, ...]:
    """One for every set of stages that hold a trainable parameter together, where they have several ranks."""
    holders: dict[str, list[int]] = {}
    trained: dict[str, int] = {}
    for stage in plan.stages:
        for parameter in table.parameters(*interval(table, stage)):
            holders.setdefault(parameter.name, []).append(stage.index)
            trained[parameter.name] = elements(parameter)
    found = []
    for stages in sorted({tuple(held) for held in holders.values()}):
        ranks = tuple(rank for index in stages for rank in plan.stages[index].ranks)
        together = sum(trained[name] for name, held in holders.items() if tuple(held) == stages)
        nbytes = together * PRECISIONS[table.precision].gradient_bytes
        if nbytes and len(ranks) > 1:
            found.append(Reduction(stages, ranks, nbytes, all_reduce_s(nbytes, topology(cluster, ranks))))
    return tuple(found)
