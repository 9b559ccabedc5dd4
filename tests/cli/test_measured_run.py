"""`autopart run --measure` and what is made of its recording: real processes, every computation accounted for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autopart.planfile import load_plan
from tests.commands import CLUSTER, MODEL, assert_refused, run

STEPS = 4


def test_a_run_is_recorded_beside_its_simulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    pinned = ("--stages", "2", "--microbatches", "3", "--data", "1", "--tensor", "1")
    assert run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24", *pinned).status == 0
    done = run(capsys, "run", "plan.json", "--steps", str(STEPS), "--measure", "recording.json")
    assert done.status == 0, done.err
    assert "simulated > executed, ms" in done.out

    ranks = [rank for stage in load_plan("plan.json").stages for rank in stage.ranks]
    recording = json.loads(Path("recording.json").read_text())["ranks"]
    assert sorted(map(int, recording)) == sorted(ranks)
    for rank in ranks:
        steps = recording[str(rank)]["steps"]
        assert len(steps) == STEPS
        for step in steps:
            kinds = [name.lstrip("0123456789")[0] for name, _, _ in step["events"]]
            assert sorted(kinds) == sorted("FFFBBBSU" if "S" in kinds else "FFFBBBU")
            times = [time for _, start, end in step["events"] for time in (start, end)]
            assert times == sorted(times)
            assert step["start"] <= times[0]
    first, last = (recording[str(rank)]["steps"][-1]["arrivals"] for rank in (ranks[0], ranks[-1]))
    assert [peer for _, peer, _ in first] == [ranks[-1]] * 3, "three gradients"
    assert [peer for _, peer, _ in last] == [ranks[0]] * 3, "three activations"

    data = json.loads(run(capsys, "show", "plan.json", "--measured", "recording.json", "--format", "json").out)
    for causes in data["executed_s"].values():
        assert sum(causes.values()) == pytest.approx(data["step_executed_s"])
        assert causes["compute"] > 0
    trace = json.loads(run(capsys, "show", "plan.json", "--measured", "recording.json", "--format", "trace").out)
    assert any("executed" in event["args"].get("name", "") for event in trace["traceEvents"] if event["ph"] == "M")
    refit = run(capsys, "profile", "plan.json", "--refit", "recording.json")
    assert refit.status == 0, refit.err
    assert_priced_as_executed(capsys, refit.out, data)
    assert_refused(run(capsys, "profile", "--refit", "recording.json"), "needs the plan", "plan.json")
    assert_refused(run(capsys, "show", "plan.json", "--measured", "recording.json", "--format", "html"), "--measured", "trace")
    assert_refused(run(capsys, "show", "plan.json", "--measured", "plan.json"), "plan.json", "recording")
    assert_refused(run(capsys, "run", "plan.json", "--measure", str(Path("no") / "such.json")), "no directory")


def assert_priced_as_executed(capsys: pytest.CaptureFixture[str], said: str, data: Mapping[str, Any]) -> None:
    """With the lines that ``profile --refit`` told, ranks compute as long in the simulation as they did."""
    lines = said.partition("types:\n")[2]
    names = [line.split(":")[0].strip() for line in lines.splitlines()]
    cluster = Path("cluster.yaml").read_text()
    for name, line in zip(names, lines.splitlines(), strict=True):
        own = re.search(rf"^  {name}: {{", cluster, re.MULTILINE)
        assert own, f"{name} is described in the file: {cluster}"
        cluster = cluster.replace(own[0], f"{own[0]}{line.partition('{')[2].rstrip('}')}, ")
    Path("refitted.yaml").write_text(cluster)
    plan = json.loads(Path("plan.json").read_text())
    plan["cluster"] = {"path": "refitted.yaml"}
    Path("refitted.json").write_text(json.dumps(plan))
    assert run(capsys, "price", "refitted.json", "-o", "priced.json").status == 0
    busy = json.loads(Path("priced.json").read_text())["estimate"]["busy_s"]
    executed_s = sum(causes["compute"] for causes in data["executed_s"].values())
    assert sum(busy.values()) == pytest.approx(executed_s, rel=0.01), "no gradients are summed in this plan"
