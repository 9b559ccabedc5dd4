"""What the HTML report draws, as compact JSON: see docs/reference/show.md for the page, ``assets/decode.js`` for the reader.

Times of the timeline are whole ticks of ``tick_s`` seconds. Tracks and memory curves that are equal stand once: replicas run
alike. A track is a flat list (kind, microbatch, ticks since the event before, ticks), a curve one of (ticks since the step
before, index of the level), a list of flights one of (microbatch, ticks since the message before got ready, ticks in the queue,
ticks on its way).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_rate, format_seconds
from autopart.planner.meshes import Index
from autopart.planner.score import Score
from autopart.program.program import Kind
from autopart.report.opcosts import BlockCost, OpCost, StageCost, stage_cost
from autopart.report.text import block_names, bound_text, device_names, layout_text, mesh_text, ranges, shares_text
from autopart.report.traffic import boundaries, link_uses, message_bytes
from autopart.simulate import Message, Timeline
from cost_models.compute import EFFICIENCY, peak_flops, reached, waste_of
from cost_models.hardware import DeviceType, Link
from cost_models.memory import usable_bytes

KINDS = (Kind.FORWARD, Kind.BACKWARD, Kind.REDUCE, Kind.UPDATE)
TICKS = 1e6  # at least so many in a step, and under ten times as many

Json = dict[str, Any]


def page_data(scored: Score, index: Index) -> Json:
    """Everything that the page shows of a priced plan."""
    plan, cluster = scored.plan, index.cluster
    tick_s = 10.0 ** math.floor(math.log10(scored.timeline.step_s / TICKS))
    tracks, curves, flights = _Once(), _Once(), _Once()
    ranks = [_rank(scored, cluster, rank.rank, tick_s, tracks, curves) for rank in cluster.ranks]
    messages = _messages(scored.timeline.messages, tick_s, flights)
    return {
        "plan": _plan(scored),
        "bound": bound_text(plan, cluster),
        "tick_s": tick_s,
        "drawn": {"microbatches": scored.program.microbatches, "step_s": _short(scored.timeline.step_s)},
        "groups": _groups(cluster),
        "nodes": [
            {"name": name, "group": next(r.group for r in cluster.ranks if r.node == i)} for i, name in enumerate(cluster.nodes)
        ],
        "exceptions": [
            {"between": [cluster.groups[a].name, cluster.groups[b].name], "link": _link(link)}
            for (a, b), link in cluster.exceptions
        ],
        "ranks": ranks,
        "stages": _stages(scored, index),
        "tracks": tracks.values,
        "curves": curves.values,
        "messages": messages,
        "flights": flights.values,
        **_traffic(scored, cluster),
        "baselines": [
            {"name": b.name, "step_s": b.step_time_s, "infeasible": b.infeasible} for b in plan.baselines
        ],
    }  # fmt: skip


class _Once:
    """Values in the order in which they first came, each once."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._places: dict[Hashable, int] = {}

    def place(self, key: Hashable, make: Callable[[], Any]) -> int:
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(make())
        return self._places[key]


def _short(value: float) -> float:
    """Six digits are more than anybody reads."""
    return float(f"{value:.6g}")


def _plan(scored: Score) -> Json:
    plan, estimate = scored.plan, scored.plan.estimate
    assert estimate is not None, "a page is drawn of a priced plan"
    proven = estimate.lower_bound_s > 0  # not of a NaN, where nobody searched, nor of a search that was stopped before it knew
    return {
        "model": plan.model.path,
        "cluster": plan.cluster.path,
        "parameters": plan.model.parameters,
        "batch_size": plan.batch_size,
        "microbatches": plan.schedule.microbatches,
        "schedule": plan.schedule.name,
        "optimizer": plan.settings.optimizer,
        "precision": plan.settings.precision,
        "step_s": estimate.step_time_s,
        "formula_s": estimate.formula_s,
        "lower_bound_s": estimate.lower_bound_s if proven else None,
        "gap": estimate.gap if proven else None,
        "schedule_bound_s": estimate.schedule_bound_s,
        "breakdown": {cause: _short(seconds) for cause, seconds in estimate.breakdown.items()},
    }


def _link(link: Link) -> str:
    return f"{format_rate(link.bandwidth_bytes_per_s)}, {format_seconds(link.latency_s)}"


def _groups(cluster: Cluster) -> list[Json]:
    return [
        {
            "name": group.name,
            "device": group.device.name,
            "nodes": group.count,
            "devices": group.devices_per_node,
            "inside": _link(group.interconnect) if group.devices_per_node > 1 else "",
            "network": _link(group.network) if len(cluster.nodes) > 1 else "",
        }
        for group in cluster.groups
    ]


def _rank(scored: Score, cluster: Cluster, rank: int, tick_s: float, tracks: _Once, curves: _Once) -> Json:
    """A device, with its track and its memory curve where the plan uses it."""
    device, timeline = cluster.device(rank), scored.timeline
    found: Json = {
        "node": cluster.ranks[rank].node,
        "device": device.name,
        "memory": device.memory_bytes,
        "usable": usable_bytes(device),
    }
    if rank not in timeline.memory:
        return found
    stage = next(stage for stage in scored.plan.stages if rank in stage.ranks)
    events = [
        (KINDS.index(e.action.kind), e.action.microbatch, _ticks(e.start_s, tick_s), _ticks(e.end_s, tick_s))
        for e in timeline.events
        if e.rank == rank
    ]
    levels = [(_ticks(time_s, tick_s), nbytes) for time_s, nbytes in timeline.memory[rank]]
    return {
        **found,
        "stage": stage.index,
        "samples": stage.share_of(rank),
        "peak": timeline.peak_bytes[rank],
        "busy_s": _short(scored.busy_s[rank]),
        "seconds": {cause: _short(seconds) for cause, seconds in timeline.seconds[rank].items()},
        "track": tracks.place((stage.index, *events), lambda: _track(events)),
        "curve": curves.place((stage.index, *levels), lambda: _curve(levels)),
    }


def _ticks(seconds: float, tick_s: float) -> int:
    return round(seconds / tick_s)


def _track(events: Iterable[tuple[int, int, int, int]]) -> list[int]:
    flat, at = [], 0
    for kind, microbatch, start, end in events:
        flat += [kind, microbatch, start - at, end - start]
        at = end
    return flat


def _curve(levels: Sequence[tuple[int, int]]) -> Json:
    values = sorted({nbytes for _, nbytes in levels})
    place = {nbytes: i for i, nbytes in enumerate(values)}
    flat, at = [], 0
    for time, nbytes in levels:
        flat += [time - at, place[nbytes]]
        at = time
    return {"levels": values, "steps": flat}


def _messages(messages: Iterable[Message], tick_s: float, flights: _Once) -> list[list[int]]:
    """By sender, receiver and direction: [sender, receiver, backward, bytes, index of the flights]."""
    pairs: dict[tuple[int, int, bool, int], list[tuple[int, int, int, int]]] = {}
    for m in messages:
        times = (_ticks(seconds, tick_s) for seconds in (m.ready_s, m.start_s, m.end_s))
        pairs.setdefault((m.sender, m.receiver, m.backward, m.nbytes), []).append((m.microbatch, *times))  # type: ignore[arg-type]
    found = []
    for pair, own in sorted(pairs.items()):
        rows = tuple(sorted(own, key=lambda row: row[1]))
        found.append([*map(int, pair), flights.place(rows, lambda rows=rows: _flights(rows))])  # type: ignore[misc]
    return found


def _flights(rows: Iterable[tuple[int, int, int, int]]) -> list[int]:
    flat, at = [], 0
    for microbatch, ready, start, end in rows:
        flat += [microbatch, ready - at, start - ready, end - start]
        at = ready
    return flat


def _stages(scored: Score, index: Index) -> list[Json]:
    plan, rewritten = scored.plan, index.tables_of(scored.plan)
    run = rewritten.local.plan.stages
    return [
        {
            "devices": device_names(stage.ranks, index.cluster),
            "ranks": ranges(stage.ranks),
            "mesh": mesh_text(stage),
            "blocks": block_names(stage.blocks),
            "samples": shares_text(stage),
            "recompute": stage.recompute,
            "layout": layout_text(stage),
            "cost": _cost(stage_cost(run[stage.index], rewritten, index, scored.costs), index),
        }
        for stage in plan.stages
    ]


def _cost(cost: StageCost, index: Index) -> Json:
    device = index.cluster.device(cost.rank)
    asked = {(op.demand.op_class, op.demand.dtype) for block in cost.blocks for op in block.ops if op.demand}
    return {
        "rank": cost.rank,
        "rows": cost.rows,
        "forward_s": _short(cost.forward_s),
        "backward_s": _short(cost.backward_s),
        "launch_s": device.launch_s,
        "rates": {f"{op_class} {dtype}": _rates(device, op_class, dtype) for op_class, dtype in sorted(asked)},
        "blocks": [_block(block, device) for block in cost.blocks],
        "order": list(cost.order),
        "extra": [[what, _short(forward), _short(backward)] for what, forward, backward in cost.extra],
    }


def _rates(device: DeviceType, op_class: Any, dtype: str) -> list[float]:
    """FLOP/s and bytes/s that ops of the class reach."""
    return [
        _short(peak_flops(device, dtype, op_class) * reached(device, dtype, op_class)),
        _short(device.memory_bandwidth_bytes_per_s * EFFICIENCY[op_class].bandwidth),
    ]


def _block(block: BlockCost, device: DeviceType) -> Json:
    return {
        "names": list(block.names),
        "forward_s": _short(block.forward_s),
        "backward_s": _short(block.backward_s),
        "mixing_s": _short(block.mixing_s),
        "ops": [_op(op, device) for op in block.ops],
    }


def _op(op: OpCost, device: DeviceType) -> list[Any]:
    """Name without the module, module, forward, backward; of what computes also class and dtype, then flops and bytes each way
    or, where the price is not the datasheet's, where it comes from; of products what each way wastes.
    """
    row: list[Any] = [op.name.removeprefix(f"{op.module}:"), op.module, _short(op.forward_s), _short(op.backward_s)]
    if op.demand is None:
        return [*row, op.kind]
    asked = op.demand
    if op.source != "analytic":
        return [*row, f"{asked.op_class} {asked.dtype}", op.source]
    work = (asked.forward_flops, asked.forward_bytes, asked.backward_flops, asked.backward_bytes)
    wastes = [_short(waste_of(device, each, asked.dtype, asked.op_class)) for each in asked.products]
    return [*row, f"{asked.op_class} {asked.dtype}", *map(_short, work), *(wastes if wastes != [1.0, 1.0] else ())]


def _traffic(scored: Score, cluster: Cluster) -> Json:
    """Links over the step that is drawn, boundaries by microbatch, sums of gradients once a step."""
    timeline: Timeline = scored.timeline
    return {
        "links": [
            {
                "name": use.name,
                "outward": use.outward,
                "messages": use.messages,
                "nbytes": use.nbytes,
                "busy_s": _short(use.busy_s),
                "waited_s": round(use.waited_s, 10),
                "bandwidth": use.bandwidth_bytes_per_s,
            }
            for use in link_uses(timeline, cluster)
        ],
        "boundaries": [
            [b.source, b.target, b.forward_bytes, b.backward_bytes]
            for b in boundaries(scored.program, message_bytes(timeline.messages))
        ],
        "sums": [
            {"stages": list(r.stages), "ranks": ranges(r.ranks), "nbytes": r.nbytes, "seconds": _short(r.seconds)}
            for r in scored.costs.reductions
        ],
    }
