"""The simulated step in the Trace Event Format, for Perfetto (ui.perfetto.dev) and chrome://tracing.

A process is a node, a thread a rank. F, B, S and U are complete events; a message is a flow from the computation that makes it to
the one that reads it, and an asynchronous slice for the time it takes; what a rank holds is a counter. Times are whole
nanoseconds, rounded one by one: what follows something in the simulation never begins before its end here. A step that was
executed goes below, in processes of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from autopart.cluster.cluster import Cluster
from autopart.planner.score import Score
from autopart.program.program import Kind
from autopart.report.text import block_names
from autopart.simulate import Event, Message, Timeline

COLORS = (
    "thread_state_running",
    "rail_response",
    "rail_animation",
    "cq_build_passed",
    "thread_state_iowait",
    "rail_load",
    "yellow",
)
"""Names that chrome://tracing knows, for microbatches in turn; Perfetto colours by name."""
WORDS = {Kind.FORWARD: "forward", Kind.BACKWARD: "backward", Kind.REDUCE: "sum gradients", Kind.UPDATE: "update"}

Entry = dict[str, Any]


@dataclass(frozen=True)
class _Band:
    """A timeline, and the processes that it is drawn in."""

    timeline: Timeline
    cluster: Cluster
    note: str = ""
    first: int = 0  # process, and message

    def place(self, rank: int) -> Entry:
        return {"pid": self.first + self.cluster.ranks[rank].node, "tid": rank}


def format_trace(scored: Score, cluster: Cluster, executed: Timeline | None = None) -> str:
    """JSON text, an event a line."""
    bands = [_Band(scored.timeline, cluster)]
    if executed:
        bands.append(_Band(executed, cluster, ", executed", max(len(cluster.nodes), len(scored.timeline.messages))))
    events = [event for band in bands for event in _drawn(scored, band)]
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return f'{{"displayTimeUnit":"ms","otherData":{json.dumps(_about(scored))},\n"traceEvents":[\n{lines}\n]}}\n'


def _drawn(scored: Score, band: _Band) -> Iterator[Entry]:
    yield from _names(scored, band)
    yield from _computations(band)
    yield from _messages(band)
    yield from _memory(band)


def _about(scored: Score) -> Entry:
    plan, drawn = scored.plan, scored.program.microbatches
    about: Entry = {
        "model": plan.model.path,
        "cluster": plan.cluster.path,
        "schedule": plan.schedule.name,
        "microbatches": plan.schedule.microbatches,
        "step_time_s": scored.step_s,
        "drawn_microbatches": drawn,
        "drawn_step_s": scored.timeline.step_s,
    }
    if drawn < plan.schedule.microbatches:
        about["note"] = (
            f"The first {drawn} of {plan.schedule.microbatches} microbatches, and the end of a step of so many; "
            "the plan's step time goes on from there in the steady state."
        )
    return about


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _us(nanoseconds: int) -> float:
    return nanoseconds / 1000


def _names(scored: Score, band: _Band) -> Iterator[Entry]:
    cluster = band.cluster
    stage_of = {rank: stage for stage in scored.plan.stages for rank in stage.ranks}
    for node in sorted({cluster.ranks[rank].node for rank in stage_of}):
        pid = band.first + node
        yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"node {cluster.nodes[node]}{band.note}"}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
    for rank, stage in sorted(stage_of.items()):
        name = f"rank {rank}: {cluster.device(rank).name}, stage {stage.index} ({block_names(stage.blocks)})"
        yield {"ph": "M", "name": "thread_name", **band.place(rank), "args": {"name": name}}
        index = stage.index * len(cluster.ranks) + rank
        yield {"ph": "M", "name": "thread_sort_index", **band.place(rank), "args": {"sort_index": index}}


def _computations(band: _Band) -> Iterator[Entry]:
    for event in band.timeline.events:
        action = event.action
        start, end = _ns(event.start_s), _ns(event.end_s)
        numbered = action.microbatch >= 0
        entry: Entry = {
            "ph": "X",
            "name": f"{action.kind.value}{action.microbatch}" if numbered else WORDS[action.kind],
            "cat": WORDS[action.kind],
            **band.place(event.rank),
            "ts": _us(start),
            "dur": _us(end - start),
            "args": {"stage": action.stage, "microbatch": action.microbatch} if numbered else {"stage": action.stage},
        }
        if numbered:
            entry["cname"] = COLORS[action.microbatch % len(COLORS)]
        yield entry


def _messages(band: _Band) -> Iterator[Entry]:
    ends = {_key(event): event for event in band.timeline.events}
    for number, message in enumerate(band.timeline.messages, band.first):
        what = "gradients" if message.backward else "values"
        common: Entry = {"cat": "message", "name": f"{what} of {message.microbatch}", "id": number}
        made = ends[message.sender, message.backward, message.microbatch]
        read = ends[message.receiver, message.backward, message.microbatch]
        sender, receiver = band.place(message.sender), band.place(message.receiver)
        # inside the slice that it leaves, whose end belongs to the next one
        yield {"ph": "s", **common, **sender, "ts": _us(max(_ns(made.start_s), _ns(made.end_s) - 1))}
        yield {"ph": "f", "bp": "e", **common, **receiver, "ts": _us(_ns(read.start_s))}
        transit: Entry = {**common, "cat": "transit", **sender}
        yield {"ph": "b", **transit, "ts": _us(_ns(message.start_s)), "args": _facts(message)}
        yield {"ph": "e", **transit, "ts": _us(_ns(message.end_s))}


def _key(event: Event) -> tuple[int, bool, int]:
    return event.rank, event.action.kind is Kind.BACKWARD, event.action.microbatch


def _facts(message: Message) -> Entry:
    waited_us = _us(_ns(message.start_s) - _ns(message.ready_s))
    return {"from": message.sender, "to": message.receiver, "bytes": message.nbytes, "waited_us": waited_us}


def _memory(band: _Band) -> Iterator[Entry]:
    for rank, levels in sorted(band.timeline.memory.items()):
        name, pid = f"memory of rank {rank}", band.place(rank)["pid"]
        for time_s, nbytes in levels:
            yield {"ph": "C", "name": name, "pid": pid, "ts": _us(_ns(time_s)), "args": {"bytes": nbytes}}
