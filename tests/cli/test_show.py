"""`autopart show` in the formats that trace the model, and in colours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from autopart.planfile import load_plan
from tests.commands import CLUSTER, MODEL, assert_refused, run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Path:
    """A folder with a plan of two stages."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(f"print('loading')\n{MODEL}")
    Path("cluster.yaml").write_text(CLUSTER)
    done = run(
        capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24", "--stages", "2", "--microbatches", "4"
    )
    assert done.status == 0, done.err
    return tmp_path


def test_drawn_formats(planned: Path, capsys: Capture) -> None:
    """What the model prints is not part of a picture."""
    plan = load_plan("plan.json")
    assert plan.estimate is not None
    found = {kind: run(capsys, "show", "plan.json", "--format", kind) for kind in ("dot", "svg", "html", "trace")}
    assert all((done.status, done.err) == (0, "loading\n") for done in found.values())
    assert found["dot"].out.startswith("digraph plan {")
    assert ElementTree.fromstring(found["svg"].out).tag.endswith("svg")
    whole = json.loads(found["trace"].out)
    end = max(round((e["ts"] + e["dur"]) * 1000) for e in whole["traceEvents"] if e["ph"] == "X")
    assert end == round(plan.estimate.step_time_s * 1e9)
    data = re.search(r'id="data">(.*?)</script>', found["html"].out, re.DOTALL)
    assert data is not None
    page = json.loads(data[1])
    assert page["plan"]["step_s"] == plan.estimate.step_time_s
    assert page["plan"]["gap"] == plan.estimate.gap
    assert {str(n): rank["peak"] for n, rank in enumerate(page["ranks"]) if "peak" in rank} == {
        str(rank): nbytes for rank, nbytes in plan.estimate.peak_bytes.items()
    }
    assert [b["name"] for b in page["baselines"]] == [b.name for b in plan.baselines]


def test_a_plan_by_hand_is_drawn_unpriced(planned: Path, capsys: Capture) -> None:
    raw = json.loads(Path("plan.json").read_text())
    kept = ("format", "model", "cluster", "batch_size", "schedule", "stages")
    Path("hand.json").write_text(json.dumps({key: raw[key] for key in kept}))
    for kind in ("svg", "html", "trace"):
        assert run(capsys, "show", "hand.json", "--format", kind, "-o", f"hand.{kind}").status == 0
    drawn = {kind: Path(f"hand.{kind}").read_text() for kind in ("svg", "html", "trace")}
    assert "Instead" not in drawn["svg"]
    assert '"gap":null' in drawn["html"]
    assert json.loads(drawn["trace"])["otherData"]["step_time_s"] == raw["estimate"]["step_time_s"]


def test_an_edited_plan_is_drawn_as_it_is_now(planned: Path, capsys: Capture) -> None:
    """Its old estimate is not shown for the new plan."""
    raw = json.loads(Path("plan.json").read_text())
    raw["schedule"]["microbatches"], raw["stages"] = (
        1,
        [{**raw["stages"][0], "blocks": ["encoder", "middle", "head"], "ranks": [3]}],
    )
    raw["stages"][0] |= {"shares": [24], "data": 1, "tensor": 1, "zero": 0, "layouts": {}}
    raw["unused_ranks"] = [0, 1, 2]
    Path("edited.json").write_text(json.dumps(raw))
    assert run(capsys, "price", "edited.json", "-o", "priced.json").status == 0
    trace = json.loads(run(capsys, "show", "edited.json", "--format", "trace").out)
    priced = load_plan("priced.json")
    assert priced.estimate is not None
    assert trace["otherData"]["step_time_s"] == priced.estimate.step_time_s != raw["estimate"]["step_time_s"]


def test_colours_are_for_terminals(planned: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    plain = run(capsys, "show", "plan.json").out
    assert "\x1b" not in plain
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "\x1b[" in run(capsys, "show", "plan.json").out
    assert run(capsys, "show", "plan.json", "-o", "plan.txt").status == 0
    assert Path("plan.txt").read_text() == plain
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as there:
            there.setenv(name, value)
            assert run(capsys, "show", "plan.json").out == plain


def test_a_place_that_can_not_be_written_is_refused_at_once(planned: Path, capsys: Capture) -> None:
    Path("model.py").unlink()
    assert_refused(run(capsys, "show", "plan.json", "--format", "html", "-o", "nowhere/plan.html"), "no directory nowhere")
