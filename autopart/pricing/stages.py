"""A plan's costs, rank by rank, for the simulator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from autopart.cluster.cluster import Cluster, topology
from autopart.ir.graph import Parameter
from autopart.ir.rows import Extent, parts
from autopart.plans import Plan, Stage
from autopart.pricing import zero
from autopart.pricing.costs import RankCosts, Reduction, StageCosts
from autopart.pricing.held import Setting, batch_bytes, stage_running
from autopart.pricing.network import side_by_side
from autopart.pricing.table import Array, BlockTable, Seconds, elements
from cost_models.collective import Topology, all_reduce_handling_s
from cost_models.hardware import DeviceType
from cost_models.memory import PRECISIONS, usable_bytes

Tables = Callable[[Stage, int], BlockTable]
"""The prices of a column of a stage."""


def stage_costs(tables: Tables, plan: Plan, cluster: Cluster, split: Collection[str] = ()) -> StageCosts:
    """What every rank of a valid plan pays, and which gradients it sums with whom.

    ``split`` names the parameters that are shards over the columns of their stages.
    """
    held = _held(tables, plan, split)
    of: dict[tuple[int, int], RankCosts] = {}
    joined = len({(stage.shares, stage.tensor) for stage in plan.stages}) > 1
    for stage in plan.stages:
        alike: dict[object, RankCosts] = {}  # ranks of one type with as many rows pay the same in their column
        for replica, share in enumerate(stage.shares):
            across = topology(cluster, stage.replica(replica))
            for column, rank in enumerate(stage.replica(replica)):
                key = cluster.device(rank), share, column, across
                if key not in alike:
                    shared, count = held[stage.index, column], plan.schedule.microbatches
                    alike[key] = _rank_costs(tables(stage, column), cluster, stage, rank, across, shared, count, joined)
                of[stage.index, rank] = replace(alike[key], rank=rank)
    return StageCosts(of, tuple(_reductions(held, plan, cluster, tables)))


def interval(table: BlockTable, stage: Stage) -> tuple[int, int]:
    """The stage's blocks as [start, stop)."""
    start = table.blocks.index[stage.blocks[0]]
    return start, start + len(stage.blocks)


@dataclass(frozen=True, slots=True)
class _Sharers:
    """Who sums the gradients of a parameter: these stages, each column by itself or all together."""

    stages: tuple[int, ...]
    split: bool

    def ranks(self, plan: Plan, column: int) -> tuple[int, ...]:
        stages = [plan.stages[index] for index in self.stages]
        return tuple(rank for stage in stages for rank in (stage.column(column) if self.split else stage.ranks))

    def level(self, stage: Stage) -> int:
        """The ZeRO level at which they share: what several stages hold is not shared out."""
        return stage.zero if len(self.stages) == 1 else 0


Held = Mapping[tuple[int, int], Mapping[str, _Sharers]]
"""By stage and column: who sums the gradients of each parameter."""


def _held(tables: Tables, plan: Plan, split: Collection[str]) -> Held:
    names = {
        (stage.index, column): [p.name for p in _trained(tables(stage, column), *interval(tables(stage, column), stage))]
        for stage in plan.stages
        for column in range(stage.tensor)
    }
    holders: dict[str, list[int]] = {}
    for (stage, column), own in names.items():
        for name in own if column == 0 else ():
            holders.setdefault(name, []).append(stage)
    return {place: {name: _Sharers(tuple(holders[name]), name in split) for name in own} for place, own in names.items()}


def _trained(table: BlockTable, start: int, stop: int) -> Iterator[Parameter]:
    return (parameter for parameter in table.parameters(start, stop) if parameter.trainable)


def _rank_costs(
    table: BlockTable,
    cluster: Cluster,
    stage: Stage,
    rank: int,
    columns: Topology,
    held: Mapping[str, _Sharers],
    microbatches: int,
    joined: bool,
) -> RankCosts:
    start, stop = interval(table, stage)
    device, rows = cluster.device(rank), stage.share_of(rank)
    seconds = table.seconds(device, rows)
    replicas = topology(cluster, stage.column(stage.place(rank)[1]))
    between = between_s(table, max(stage.shares), replicas, rows, columns if stage.tensor > 1 else None)
    forward_s = float((seconds.forward + between.forward)[start:stop].sum())
    backward_s = float((seconds.backward + between.backward)[start:stop].sum())
    if stage.recompute:
        backward_s += float(again_s(table, device, rows, between)[start:stop].sum())
    own, sums = _zero(table, cluster, stage, rank, held), _sum_bytes(table, stage, rank, held)
    packing_s = _packing_s(table, device, stage, rank, held)
    added = own.updated if stage.zero >= 2 else float(table.trained[start:stop].sum())
    adding_s = table.adding_s(device, added, microbatches)
    leaving = own.leaving_bytes + sums.leaving
    running = stage_running(
        table, device.kind, rows, (start, stop), Setting(stage.recompute, stage.zero, joined), own.lent_bytes, leaving
    )
    return RankCosts(
        rank=rank,
        stage=stage.index,
        forward_s=forward_s + table.shared_s(device, rows, start, stop) + own.forward_s,
        backward_s=backward_s + adding_s + own.backward_s,
        update_s=packing_s + table.update_s(device, own.updated, start, stop) + own.spread_s,
        static_bytes=int(table.static_bytes(start, stop) - own.saved_bytes),
        batch_bytes=int(batch_bytes(table, rows, microbatches)),
        inflight_bytes=ceil(running.kept),
        transient_bytes=ceil(max(running.forward, running.backward[False, False])),
        update_bytes=_update_bytes(table, device, stage, rank, held, own.updated),
        capacity_bytes=usable_bytes(device),
        beside_s=(own.forward_s, own.backward_s),
        adding_s=adding_s,
        gradient_bytes=int(running.gradients),
        backward_bytes={when: ceil(nbytes) for when, nbytes in running.backward.items()},
        reduce_bytes=ceil(sums.reducing + own.leaving_bytes.max()),
    )


def between_s(table: BlockTable, share: int, replicas: Topology, rows: int, columns: Topology | None) -> Seconds:
    """[n] of what each block sends: between replicas, of which the largest has ``share`` samples, where ops mix samples; and
    between columns, where there are several.
    """
    mixing_s = table.collectives_s(share, replicas) / 2
    if columns is None:
        return Seconds(mixing_s, mixing_s)
    tensor = table.tensor_seconds(rows, columns)
    return Seconds(mixing_s + tensor.forward, mixing_s + tensor.backward)


def again_s(table: BlockTable, device: DeviceType, rows: int, between: Seconds) -> Array:
    """[n] of each block's forward once more, with what it sends."""
    found: Array = table.again_s(device, rows) + between.forward * table.recomputable
    return found


def _update_bytes(
    table: BlockTable, device: DeviceType, stage: Stage, rank: int, held: Mapping[str, _Sharers], updated: float
) -> int:
    """Beside parameters and their state; where ranks share these out, of the one whose pieces need most."""
    own = table.parameters(*interval(table, stage))
    if device.kind == "accelerator":
        return ceil(table.update_transient(device, updated))
    whole = {parameter.name: elements(parameter) for parameter in own}
    each = [dict(whole) for _ in stage.ranks]
    for who in {who for who in held.values() if who.level(stage)}:
        extents = {p.name: _extent(p, table.precision) for p in own if held.get(p.name) == who}
        count = len(_ranks(who, stage, rank))
        for name, taken in parts(extents, zero.ROW_BYTES, count).items():
            for place, sizes in enumerate(each):
                first, end = taken[place * count // len(each)]  # columns of a replica are neighbours
                sizes[name] = end - first
    return ceil(max(table.update_transient(device, sizes=list(sizes.values())) for sizes in each))


def _extent(parameter: Parameter, precision: str) -> Extent:
    nbytes = elements(parameter) * PRECISIONS[precision].parameter_bytes
    return Extent(parameter.value.dtype, parameter.trainable, elements(parameter), nbytes)


def _packing_s(table: BlockTable, device: DeviceType, stage: Stage, rank: int, held: Mapping[str, _Sharers]) -> float:
    """Of the gradients that are summed over several ranks of the stage."""
    names = {name for name, who in held.items() if len(who.stages) == 1 and len(_ranks(who, stage, rank)) > 1}
    return zero.packing_s(device, _elements(table, names, *interval(table, stage)), table.precision)


def _ranks(who: _Sharers, stage: Stage, rank: int) -> tuple[int, ...]:
    """Of the stage, those that sum what ``who`` share with this rank."""
    return stage.column(stage.place(rank)[1]) if who.split else stage.ranks


@dataclass(frozen=True, eq=False)
class _Zero:
    """What a rank's ZeRO level makes of its stage. ``updated``: elements that it updates; [blocks] bytes of whole parameters that
    are lent, and of gradients that leave.
    """

    updated: float
    lent_bytes: Array
    leaving_bytes: Array
    saved_bytes: float = 0.0
    forward_s: float = 0.0
    backward_s: float = 0.0
    spread_s: float = 0.0


def _zero(table: BlockTable, cluster: Cluster, stage: Stage, rank: int, held: Mapping[str, _Sharers]) -> _Zero:
    start, stop = interval(table, stage)
    found = _Zero(table.trained_elements(start, stop), np.zeros(stop - start), np.zeros(stop - start))
    level, precision = stage.zero, table.precision
    for split in (False, True) if level else ():
        ranks = stage.column(stage.place(rank)[1]) if split else stage.ranks
        together = side_by_side(topology(cluster, ranks), _columns_of_a_node(cluster, stage) if split else 1)
        shared = {name for name, who in held.items() if who.split == split and len(who.stages) == 1}
        total = _elements(table, shared, start, stop)
        by_block = [_elements(table, shared, block, block + 1) for block in range(start, stop)]
        messages = [zero.microbatch_s(level, each, together, precision) for each in by_block]
        found = _Zero(
            updated=found.updated - total * (1 - 1 / len(ranks)),
            lent_bytes=found.lent_bytes + zero.lent_bytes(level, np.array(by_block), precision),
            leaving_bytes=found.leaving_bytes + zero.leaving_bytes(level, np.array(by_block), precision),
            saved_bytes=found.saved_bytes + total * zero.saved_bytes(level, len(ranks), table.optimizer, precision),
            forward_s=found.forward_s + sum(forward for forward, _ in messages),
            backward_s=found.backward_s + sum(backward for _, backward in messages),
            spread_s=found.spread_s + zero.spread_s(level, total, together, precision),
        )
    return found


@dataclass(frozen=True, eq=False)
class _Sums:
    """Copies of whole gradients that travel: [blocks] in the last backward, and after it."""

    leaving: Array
    reducing: float


def _sum_bytes(table: BlockTable, stage: Stage, rank: int, held: Mapping[str, _Sharers]) -> _Sums:
    """Of gradients that are summed over ranks, not shared out: two buckets at a time of each set of parameters."""
    start, stop = interval(table, stage)
    found = _Sums(np.zeros(stop - start), 0.0)
    for who in dict.fromkeys(held.values()):
        ranks = _ranks(who, stage, rank)
        if (len(ranks) == 1 and len(who.stages) == 1) or who.level(stage):
            continue
        names = {name for name, other in held.items() if other == who}
        nbytes = PRECISIONS[table.precision].gradient_bytes
        sizes = [nbytes * elements(each) for each in table.parameters(start, stop) if each.name in names]
        by_block = nbytes * np.array([_elements(table, names, block, block + 1) for block in range(start, stop)])
        most = zero.UNDER_WAY * max(zero.ROW_BYTES, *sizes, 0)
        ready = np.cumsum(by_block[::-1])[::-1]
        overlaps = len(who.stages) == 1
        found = _Sums(found.leaving + (np.minimum(ready, most) if overlaps else 0.0), found.reducing + min(sum(sizes), most))
    return found


def _elements(table: BlockTable, names: Collection[str], start: int, stop: int) -> int:
    return sum(elements(parameter) for parameter in table.parameters(start, stop) if parameter.name in names)


def _columns_of_a_node(cluster: Cluster, stage: Stage) -> int:
    """How many collectives of single columns share a node's uplink."""
    return max(Counter(cluster.ranks[rank].node for rank in stage.replica(0)).values())


def _reductions(held: Held, plan: Plan, cluster: Cluster, tables: Tables) -> Iterator[Reduction]:
    """One for every set of stages that hold a trainable parameter together, where they have several ranks.

    Columns sum their shards at the same time, then all sum what they hold whole.
    """
    for stages in sorted({who.stages for own in held.values() for who in own.values()}):
        first = plan.stages[stages[0]]
        whole, split = _Sharers(stages, split=False), _Sharers(stages, split=True)
        sums = [_sum(whole, 0, held, plan, cluster, tables)]
        sums.append(max(_sum(split, column, held, plan, cluster, tables) for column in range(first.tensor)))
        seconds, nbytes, handling_s = (sum(each) for each in zip(*sums, strict=True))
        if nbytes:
            yield Reduction(stages, whole.ranks(plan, 0), int(nbytes), seconds, handling_s)


def _sum(who: _Sharers, column: int, held: Held, plan: Plan, cluster: Cluster, tables: Tables) -> tuple[float, int, float]:
    """Seconds and bytes of a sum once a step, in a column, and what it takes from computing; no bytes where there is none."""
    stage, ranks = plan.stages[who.stages[0]], who.ranks(plan, column)
    table = tables(stage, column)
    mine = {name for name, other in held[stage.index, column].items() if other == who}
    count, level = _elements(table, mine, *interval(table, stage)), who.level(stage)
    together = side_by_side(topology(cluster, ranks), _columns_of_a_node(cluster, stage) if who.split else 1)
    seconds = zero.sum_s(level, count, together, table.precision)
    nbytes = count * PRECISIONS[table.precision].gradient_bytes if len(ranks) > 1 and level < 2 else 0
    return seconds, nbytes, all_reduce_handling_s(nbytes, together) / (1 + level)  # level 1 gathers parameters after the update
