"""What a user would do instead of planning: each priced like the chosen plan, or the reason why it can't be done.

Shares and cuts that don't divide are rounded to the nearest integers. A baseline takes the number of microbatches that the
formula likes best of those that fit, without recomputation if any does, with it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby, islice

from autopart.cluster.cluster import node_sizes
from autopart.cluster.units import format_bytes
from autopart.planner.decode import build_plan
from autopart.planner.meshes import Index, own_layouts
from autopart.planner.price import pools
from autopart.planner.problem import Part
from autopart.planner.score import Score, formula_step, score
from autopart.planner.shares import Counts, even_parts, fastest_parts
from autopart.planner.strategies import microbatch_counts
from autopart.plans import Baseline, Plan, Schedule, Stage
from autopart.pricing.stages import stage_costs
from autopart.program.schedule import in_flight
from cost_models.memory import usable_bytes

TRIED = 4  # numbers of microbatches that are simulated before giving up


@dataclass(frozen=True)
class Scored:
    """A baseline's name, its best plan simulated (None: it can't be done), and why."""

    name: str
    best: Score | None
    reason: str = ""

    @property
    def row(self) -> Baseline:
        """As plan.json has it."""
        return Baseline(self.name, self.best.step_s) if self.best else Baseline(self.name, infeasible=self.reason)


def baselines(index: Index, schedule: str = "1f1b", only: str = "") -> tuple[Scored, ...]:
    """All of them, or one by its name, in the order of the table."""
    rows = [row for row in _rows(index) if only in ("", row[0])]
    return tuple(_score_best(name, index, schedule, ranks, layout) for name, ranks, layout in rows)


def baseline_names(index: Index) -> tuple[str, ...]:
    """Of those that this cluster has."""
    return tuple(name for name, _, _ in _rows(index))


def _rows(index: Index) -> list[tuple[str, tuple[int, ...], Layout]]:
    fast = _fastest_ranks(index)
    every = tuple(rank.rank for rank in index.cluster.ranks)
    best_group = tuple(r.rank for r in index.cluster.ranks if r.group == _fastest_group(index))
    rows: list[tuple[str, tuple[int, ...], Layout]] = [
        ("data parallel, even", every, _data_even),
        ("data parallel, by speed", every, _data_by_speed),
        ("even pipeline", every, _pipeline),
        ("even pipeline, fast devices only", fast, _pipeline),
        ("fastest device alone", fast[:1], _data_even),
        ("fastest group, data parallel", best_group, _data_even),
    ]
    if len(every) > 1:
        rows.append(("fully sharded data parallel", every, _sharded))
    if max(node_sizes(index.cluster)) > 1:
        rows.append(("tensor in nodes, pipeline across", every, _tensor))
        rows.append(("pure tensor, fastest node", _fastest_node(index), _pure_tensor))
    return rows


Layout = Callable[[Index, tuple[int, ...], int], tuple[Stage, ...] | str]
"""Stages on these ranks for microbatches of so many samples, or why there can't be any."""


def _score_best(name: str, index: Index, schedule: str, ranks: tuple[int, ...], layout: Layout) -> Scored:
    reason = ""
    for recompute in (False, True):
        plans = _plans(index, schedule, ranks, layout, recompute)
        if isinstance(plans, str):
            return Scored(name, None, plans)
        if least := _overflow(plans[-1], index):  # the smallest microbatches take the least memory
            reason = reason or _too_full(index, least)
            continue
        best_first = sorted(plans, key=lambda plan: formula_step(plan, index))
        for plan in islice((plan for plan in best_first if not _overflow(plan, index)), TRIED):
            scored = score(plan, index)
            if not scored.overfull:
                return Scored(name, scored)
            reason = _too_full(index, scored.overfull)
    return Scored(name, None, reason)


def _plans(index: Index, schedule: str, ranks: tuple[int, ...], layout: Layout, recompute: bool) -> tuple[Plan, ...] | str:
    """One for every number of microbatches that leaves a sample for everybody; or why there is none."""
    found: list[Plan] = []
    reason = ""
    one_only = bool(index.blocks.sharded.mixing) or not _has_batch(index)
    for microbatches in microbatch_counts(index.batch_size, one_only, None):
        stages = _runnable(index, layout(index, ranks, index.batch_size // microbatches))
        if isinstance(stages, str):
            reason = reason or stages
            continue
        kept = tuple(replace(stage, recompute=recompute) for stage in stages)
        found.append(build_plan(index, Schedule(schedule, microbatches), kept))
    return tuple(found) or reason


def _runnable(index: Index, stages: tuple[Stage, ...] | str) -> tuple[Stage, ...] | str:
    """The stages; or which devices can't run theirs, where prices say so."""
    for stage in stages if isinstance(stages, tuple) else ():
        for group in {index.cluster.ranks[rank].group for rank in stage.ranks}:
            if not index.meshes(group, stage.tensor):
                columns = f" on {stage.tensor} columns" if stage.tensor > 1 else ""
                return f"there are no prices of {index.cluster.groups[group].device.name}{columns}"
    return stages


def _has_batch(index: Index) -> bool:
    return any(source.batch_dim is not None for source in index.blocks.sharded.graph.inputs)


def _data_even(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    return _data(index, ranks, samples, even_parts(_counts(index, ranks), samples) if len(ranks) <= samples else ())


def _data_by_speed(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    return _data(
        index, ranks, samples, fastest_parts(pools(index), _counts(index, ranks), samples) if len(ranks) <= samples else ()
    )


def _sharded(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    """ZeRO 3 over all of them, as FSDP does it."""
    stages = _data_even(index, ranks, samples)
    return stages if isinstance(stages, str) else tuple(replace(stage, zero=3) for stage in stages)


def _data(index: Index, ranks: tuple[int, ...], samples: int, parts: Iterable[Part]) -> tuple[Stage, ...] | str:
    if len(ranks) > 1 and not _has_batch(index):
        return "the model has no batch dim to share out"
    shares = tuple(rows for part in parts for rows in part.samples)
    if not shares:
        return f"{len(ranks)} devices, but {samples} samples"
    names = tuple(block.name for block in index.blocks.blocks)
    return (Stage(0, names, ranks, shares, data=len(ranks)),)


def _pipeline(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    """One device a stage, in rank order, as equal numbers of blocks as can be."""
    names = [block.name for block in index.blocks.blocks]
    if len(ranks) > len(names):
        return f"{len(ranks)} devices, but {len(names)} blocks"
    cuts = [round(i * len(names) / len(ranks)) for i in range(len(ranks) + 1)]
    return tuple(
        Stage(number, tuple(names[cuts[number] : cuts[number + 1]]), (rank,), (samples,)) for number, rank in enumerate(ranks)
    )


def _tensor(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    """A stage for each node, of as many columns as an expert would take of it, as equal numbers of blocks as can be. Columns
    split what parameters they can.
    """
    names = [block.name for block in index.blocks.blocks]
    nodes = [tuple(own) for _, own in groupby(ranks, key=lambda rank: index.cluster.ranks[rank].node)]
    if len(nodes) > len(names):
        return f"{len(nodes)} nodes, but {len(names)} blocks"
    cuts = [round(i * len(names) / len(nodes)) for i in range(len(nodes) + 1)]
    stages = []
    for number, own in enumerate(nodes):
        group, tensor = index.cluster.ranks[own[0]].group, _columns(len(own))
        if not (meshes := index.meshes(group, tensor)):
            return f"the model can't be split over {tensor} columns"
        data = len(own) // tensor
        if data > samples or (data > 1 and not _has_batch(index)):
            return f"{data} replicas, but {samples} samples" if data > samples else "the model has no batch dim to share out"
        (part,) = even_parts((data,), samples)
        mesh = max(meshes, key=lambda mesh: float(mesh.split_trained.sum()))
        layouts = own_layouts(mesh.layouts, index.blocks, cuts[number], cuts[number + 1])
        blocks = tuple(names[cuts[number] : cuts[number + 1]])
        stages.append(Stage(number, blocks, own, part.samples, data=data, tensor=tensor, layouts=layouts))
    return tuple(stages)


def _pure_tensor(index: Index, ranks: tuple[int, ...], samples: int) -> tuple[Stage, ...] | str:
    """One replica of as many columns as there are ranks, which share a node."""
    meshes = index.meshes(index.cluster.ranks[ranks[0]].group, len(ranks))
    if not meshes:
        return f"the model can't be split over {len(ranks)} columns"
    names = tuple(block.name for block in index.blocks.blocks)
    mesh = max(meshes, key=lambda mesh: float(mesh.split_trained.sum()))
    return (Stage(0, names, ranks, (samples,), tensor=len(ranks), layouts=dict(mesh.layouts)),)


def _columns(devices: int) -> int:
    """The largest power of two up to 8 that divides a node."""
    return max(n for n in (1, 2, 4, 8) if devices % n == 0)


def _counts(index: Index, ranks: tuple[int, ...]) -> Counts:
    groups = [index.cluster.ranks[rank].group for rank in ranks]
    return tuple(groups.count(group) for group in range(len(index.cluster.groups)))


def _device_s(index: Index, group: int) -> float:
    """One device's seconds for the whole batch, or for what a replica would get of it."""
    rows = max(1, index.batch_size // len(index.cluster.ranks))
    return float(index.table.seconds(index.cluster.groups[group].device, rows).total.sum())


def _fastest_ranks(index: Index) -> tuple[int, ...]:
    """All devices of the fastest type."""
    groups = range(len(index.cluster.groups))
    fastest = index.cluster.groups[min(groups, key=lambda group: _device_s(index, group))].device
    return tuple(rank.rank for rank in index.cluster.ranks if index.cluster.device(rank.rank) == fastest)


def _fastest_group(index: Index) -> int:
    """The group whose devices together are fastest."""
    groups = range(len(index.cluster.groups))
    return min(groups, key=lambda group: _device_s(index, group) / index.cluster.groups[group].devices)


def _fastest_node(index: Index) -> tuple[int, ...]:
    """Ranks of the first node of the group whose nodes are fastest, among those of several devices."""
    groups = [number for number, group in enumerate(index.cluster.groups) if group.devices_per_node > 1]
    best = min(groups, key=lambda group: _device_s(index, group) / index.cluster.groups[group].devices_per_node)
    ranks = [rank for rank in index.cluster.ranks if rank.group == best]
    return tuple(rank.rank for rank in ranks if rank.node == ranks[0].node)


def _overflow(plan: Plan, index: Index) -> Mapping[int, int]:
    """Ranks whose static bytes and activations in flight are more than they have, without simulating."""
    local, tables = index.tables_of(plan)
    found = {}
    for (number, rank), costs in stage_costs(tables, local.plan, index.cluster, local.shards).of.items():
        held = in_flight(plan.schedule.name, len(plan.stages) - number, plan.schedule.microbatches)
        needed = costs.peak_bytes(held, plan.schedule.microbatches)
        if needed > costs.capacity_bytes:
            found[rank] = needed
    return found


def _too_full(index: Index, needed: Mapping[int, int]) -> str:
    """The device that lacks most."""
    capacity = {rank: max(1, usable_bytes(index.cluster.device(rank))) for rank in needed}
    rank = max(needed, key=lambda r: needed[r] / capacity[r])
    device = index.cluster.device(rank).name
    return f"rank {rank} ({device}) needs {format_bytes(needed[rank])} of the {format_bytes(capacity[rank])} that it has"
