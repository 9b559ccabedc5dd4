"""Recordings read back: of a run exactly as simulated the causes are those of the simulator, on whatever clocks; by hand else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopart.cluster.costs import dump_costs, parse_costs
from autopart.errors import InputError
from autopart.feedback.compare import GROUPS, compare
from autopart.feedback.executed import OTHER, executed, load_executed
from autopart.feedback.refit import Refit, refit
from autopart.program.steps import describe
from autopart.report.trace import format_trace
from cost_models.hardware import DeviceType
from tests.shown import Shown, shown, small

AHEAD_S = {0: 0.0, 1: 1234.5, 2: -17.25}  # clocks of further ranks go as rank 1's


def recorded(made: Shown, steps: int = 3, slower: float = 1.0) -> dict[int, dict[str, Any]]:
    """As if the simulated step had been executed several times, every step ``slower`` than the one before."""
    timeline = made.scored.timeline
    found = {}
    for rank in timeline.seconds:
        ahead = AHEAD_S.get(rank, AHEAD_S[1])
        rows, begin, factor = [], 100.0 + ahead, 1.0
        for _ in range(steps):
            events = [
                [describe(event.action), begin + factor * event.start_s, begin + factor * event.end_s]
                for event in sorted(timeline.events, key=lambda event: event.start_s)
                if event.rank == rank
            ]
            arrivals = [
                [f"{stage_of(made, rank)}{'B' if m.backward else 'F'}{m.microbatch}", m.sender, begin + factor * m.end_s]
                for m in timeline.messages
                if m.receiver == rank
            ]
            rows.append({"start": begin, "events": events, "arrivals": arrivals})
            begin, factor = begin + factor * timeline.step_s, factor * slower
        found[rank] = {"offset_s": ahead, "steps": rows, "end": begin}
    return found


def stage_of(made: Shown, rank: int) -> int:
    return next(stage.index for stage in made.plan.stages if rank in stage.ranks)


def test_of_a_run_as_simulated_the_causes_are_the_simulator_s() -> None:
    made = small()
    ran = executed(recorded(made), made.scored.program).timeline
    assert ran.step_s == pytest.approx(made.scored.timeline.step_s, rel=1e-6)
    for rank, causes in made.scored.timeline.seconds.items():
        seconds = dict(ran.seconds[rank])
        after_the_last = seconds.pop(OTHER)  # a simulated rank waits for the others at the end, an executed one starts again
        seconds["bubble"] += after_the_last
        assert seconds == pytest.approx(dict(causes), abs=1e-8)
    assert any(causes["transfer"] > 0 for causes in made.scored.timeline.seconds.values())
    assert any(causes["bubble"] > 0 for causes in made.scored.timeline.seconds.values())


def test_events_and_messages_come_on_one_clock() -> None:
    made = small()
    ran, simulated = executed(recorded(made), made.scored.program).timeline, made.scored.timeline
    wanted = {(e.rank, e.action): (e.start_s, e.end_s) for e in simulated.events}
    assert {(e.rank, e.action) for e in ran.events} == wanted.keys()
    for event in ran.events:
        assert (event.start_s, event.end_s) == pytest.approx(wanted[event.rank, event.action], abs=1e-8)
    key = [(m.sender, m.receiver, m.backward, m.microbatch) for m in ran.messages]
    assert sorted(key) == sorted((m.sender, m.receiver, m.backward, m.microbatch) for m in simulated.messages)


def test_the_median_step_counts_without_the_warm_up() -> None:
    made = small()
    ran = executed(recorded(made, steps=5, slower=2.0), made.scored.program)
    step_s = made.scored.timeline.step_s
    assert ran.steps_s == pytest.approx((4 * step_s, 8 * step_s, 16 * step_s))
    assert ran.timeline.step_s == pytest.approx(8 * step_s)
    found = compare(made.scored, ran)
    assert found.error == pytest.approx(made.scored.step_s / (8 * step_s) - 1)
    for rank in found.executed:
        assert sum(found.executed[rank].values()) == pytest.approx(8 * step_s)
        assert found.executed[rank]["compute"] == pytest.approx(8 * found.simulated[rank]["compute"])
    assert found.off_s("compute") < 0
    assert set(found.executed[0]) == set(GROUPS)


def test_a_trace_has_both_apart() -> None:
    made = small()
    ran = executed(recorded(made), made.scored.program).timeline
    events = json.loads(format_trace(made.scored, made.cluster, ran))["traceEvents"]
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert len(names) == len(set(names))
    assert sum("executed" in name for name in names) * 2 == len(names)
    slices = [(event["pid"], event["tid"], event["name"]) for event in events if event["ph"] == "X"]
    assert len(slices) == len(set(slices)) == 2 * len(made.scored.timeline.events)
    flows = [event["id"] for event in events if event["ph"] == "s"]
    assert len(flows) == len(set(flows)) == 2 * len(made.scored.timeline.messages)


def test_a_recording_of_something_else_is_refused(tmp_path: Path) -> None:
    made = small()
    recording = recorded(made)
    file = tmp_path / "recording.json"
    file.write_text(json.dumps({"format": 1, "kind": "recording", "ranks": recording}))
    assert load_executed(str(file), made.scored.program).timeline.step_s == pytest.approx(made.scored.timeline.step_s, rel=1e-6)
    recording[0]["steps"][1]["events"].pop()
    file.write_text(json.dumps({"format": 1, "kind": "recording", "ranks": recording}))
    with pytest.raises(InputError, match="rank 0 ran something else"):
        load_executed(str(file), made.scored.program)
    del recording[0]
    file.write_text(json.dumps({"format": 1, "kind": "recording", "ranks": recording}))
    with pytest.raises(InputError, match="rank 0 ran something else"):
        load_executed(str(file), made.scored.program)
    file.write_text('{"format": 1, "kind": "recording", "ranks": {"0": {"offset_s": 0, "steps": [], "end": 1}}}')
    with pytest.raises(InputError, match=r"recording\.json"):
        load_executed(str(file), made.scored.program)


def test_a_refit_prices_what_was_executed() -> None:
    """Of forwards that took twice and backwards that took three times as long the next simulation is right."""
    made = small()
    factors = {"F": 2.0, "B": 3.0, "S": 1.0, "U": 5.0}
    recording = recorded(made)
    for rank in recording.values():
        for step in rank["steps"]:
            for event in step["events"]:
                event[2] = event[1] + factors[event[0].lstrip("0123456789")[0]] * (event[2] - event[1])
    found = refit(made.scored, executed(recording, made.scored.program), made.index)
    assert found
    for each in found.values():
        assert (each.ratio.forward, each.ratio.backward, each.ratio.update) == pytest.approx((2.0, 3.0, 5.0), rel=1e-6)
    groups = [replace(group, device=priced_by(group.device, found)) for group in made.cluster.groups]
    again = shown(made.plan, replace(made.cluster, groups=tuple(groups)), made.blocks).scored.timeline
    before = made.scored.timeline
    for rank, causes in before.seconds.items():
        assert again.seconds[rank]["forward"] == pytest.approx(2.0 * causes["forward"], rel=2e-3)
        assert again.seconds[rank]["backward"] == pytest.approx(3.0 * causes["backward"], rel=2e-3)
        assert again.seconds[rank]["update"] == pytest.approx(5.0 * causes["update"], rel=2e-3)


def priced_by(device: DeviceType, refits: Mapping[str, Refit]) -> DeviceType:
    """As if the cluster file named the new costs, read back from their file."""
    if device.name not in refits:
        return device
    return replace(device, measured=parse_costs(dump_costs(refits[device.name].costs), "costs.json"))
