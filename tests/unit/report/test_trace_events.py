"""The trace, event by event: slices nest, flows pair, every track has a name, its end is the plan's step."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest

from autopart.planner import score as scoring
from autopart.plans import Schedule
from autopart.program.lower import with_actions
from autopart.program.program import Kind
from autopart.report.trace import format_trace
from tests.shown import Shown, large, shown, small

BOTH = pytest.mark.parametrize("make", [small, large])
Make = type(small)
Event = dict[str, Any]


@cache
def trace_of(made: Shown) -> tuple[Event, dict[str, list[Event]]]:
    """The whole, and its events by phase."""
    whole = json.loads(format_trace(made.scored, made.cluster))
    phases: dict[str, list[Event]] = defaultdict(list)
    for event in whole["traceEvents"]:
        phases[event["ph"]].append(event)
    return whole, phases


def ns(event: Event, key: str = "ts") -> int:
    """Whole nanoseconds, as the trace is written."""
    return round(event[key] * 1000)


def tracks_of(phases: dict[str, list[Event]]) -> dict[tuple[int, int], list[Event]]:
    found: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in phases["X"]:
        found[event["pid"], event["tid"]].append(event)
    return found


@BOTH
def test_slices_follow_each_other_as_the_program_says(make: Make) -> None:
    made = make()
    _, phases = trace_of(made)
    tracks = tracks_of(phases)
    assert {rank for _, rank in tracks} == {rank for stage in made.plan.stages for rank in stage.ranks}
    for (_, rank), slices in tracks.items():
        for before, after in pairwise(slices):
            assert ns(before) + ns(before, "dur") <= ns(after), "they do not overlap, which is the strictest nesting"
        assert all(event["dur"] >= 0 for event in slices)
        computed = [a for a in with_actions(made.scored.program).actions[rank] if a.kind not in (Kind.SEND, Kind.RECEIVE)]
        words = {Kind.FORWARD: "forward", Kind.BACKWARD: "backward", Kind.REDUCE: "sum gradients", Kind.UPDATE: "update"}
        assert [(e["cat"], e["args"].get("microbatch", -1)) for e in slices] == [(words[a.kind], a.microbatch) for a in computed]


@BOTH
def test_flows_lead_from_the_sender_to_the_reader(make: Make) -> None:
    made = make()
    _, phases = trace_of(made)
    tracks = tracks_of(phases)
    starts, ends = ({event["id"]: event for event in phases[phase]} for phase in "sf")
    assert len(starts) == len(phases["s"]) == len(phases["f"]) == len(made.scored.timeline.messages)
    assert starts.keys() == ends.keys()
    pairs = Counter()
    for number, start in starts.items():
        end = ends[number]
        assert (start["cat"], start["name"]) == (end["cat"], end["name"]), "they are joined by category, name and id"
        assert end["bp"] == "e"
        made_by, read_by = enclosing(tracks, start), enclosing(tracks, end)
        assert made_by["args"]["microbatch"] == read_by["args"]["microbatch"]
        assert made_by["cat"] == read_by["cat"] == ("backward" if "gradients" in start["name"] else "forward")
        assert ns(made_by) + ns(made_by, "dur") <= ns(read_by), "nobody reads what is not made"
        pairs[start["tid"], end["tid"], made_by["cat"]] += 1
    expected = Counter((m.sender, m.receiver, "backward" if m.backward else "forward") for m in made.scored.timeline.messages)
    assert pairs == expected


def enclosing(tracks: dict[tuple[int, int], list[Event]], point: Event) -> Event:
    """The slice that a flow's end binds to: the last that has begun, if it is not over."""
    track = tracks[point["pid"], point["tid"]]
    last = track[bisect_right(track, ns(point), key=ns) - 1]
    assert ns(point) < ns(last) + max(ns(last, "dur"), 1)
    return last


@BOTH
def test_messages_on_their_way(make: Make) -> None:
    _, phases = trace_of(make())
    begins, ends = ({event["id"]: event for event in phases[phase]} for phase in "be")
    assert begins.keys() == ends.keys()
    assert len(begins) == len(phases["b"]) == len(phases["e"])
    for number, begin in begins.items():
        assert ns(begin) <= ns(ends[number])
        assert (begin["cat"], begin["pid"], begin["name"]) == (ends[number]["cat"], ends[number]["pid"], ends[number]["name"])
        assert begin["args"]["waited_us"] >= 0


@BOTH
def test_every_track_has_a_name(make: Make) -> None:
    made = make()
    _, phases = trace_of(made)
    named = {(e["pid"], e.get("tid")): e["args"]["name"] for e in phases["M"] if e["name"] in ("process_name", "thread_name")}
    for event in (*phases["X"], *phases["s"], *phases["f"], *phases["b"], *phases["e"]):
        assert f"rank {event['tid']}:" in named[event["pid"], event["tid"]]
        assert named[event["pid"], None] == f"node {made.cluster.nodes[event['pid']]}"
    assert len(set(named.values())) == len(named)


@BOTH
def test_it_ends_with_the_step(make: Make) -> None:
    made = make()
    whole, phases = trace_of(made)
    assert made.plan.estimate is not None
    assert max(ns(event) + ns(event, "dur") for event in phases["X"]) == round(made.plan.estimate.step_time_s * 1e9)
    assert min(ns(event) for event in phases["X"]) == 0
    about = whole["otherData"]
    assert about["step_time_s"] == about["drawn_step_s"] == made.plan.estimate.step_time_s
    assert "note" not in about


@BOTH
def test_counters_peak_where_the_estimate_says(make: Make) -> None:
    made = make()
    _, phases = trace_of(made)
    levels: dict[str, list[int]] = defaultdict(list)
    for event in phases["C"]:
        levels[event["name"]].append(event["args"]["bytes"])
    assert made.plan.estimate is not None
    peaks = {f"memory of rank {rank}": nbytes for rank, nbytes in made.plan.estimate.peak_bytes.items()}
    assert {name: max(values) for name, values in levels.items()} == peaks


def test_microbatches_have_colours_of_their_own() -> None:
    _, phases = trace_of(small())
    colours = {event["args"]["microbatch"]: event["cname"] for event in phases["X"] if "microbatch" in event["args"]}
    assert len(set(colours.values())) == len(colours) == 4


def test_of_very_many_microbatches_some_are_drawn_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "ACTIONS", 64)
    made = small()
    many = replace(made.plan, schedule=Schedule("1f1b", 1000), batch_size=6000, estimate=None)
    whole, phases = trace_of(shown(many, made.cluster, made.blocks))
    about = whole["otherData"]
    assert about["microbatches"] == 1000
    assert about["drawn_microbatches"] < 20
    assert f"first {about['drawn_microbatches']} of 1000" in about["note"]
    assert max(ns(e) + ns(e, "dur") for e in phases["X"]) == round(about["drawn_step_s"] * 1e9) < about["step_time_s"] * 1e9
