"""``autopart replan`` from end to end on a small model, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.commands import BY_HAND, CLUSTER, MODEL, Done, assert_refused, run

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/schema/plan.schema.json").read_text())
FAST = CLUSTER[: CLUSTER.index("  - name: slow")] + CLUSTER[CLUSTER.index("types:") :]
HAND = {
    **BY_HAND,
    "stages": [
        {"blocks": ["encoder", "middle"], "ranks": [0, 2], "shares": [9, 3]},
        {"blocks": ["head"], "ranks": [3], "shares": [12]},
    ],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, a cluster, a plan that is priced, and the cluster without its second machine."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("fast.yaml").write_text(FAST)
    Path("hand.json").write_text(json.dumps(HAND))
    return tmp_path


@pytest.fixture
def planned(here: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(capsys, "price", "hand.json", "-o", "plan.json").status == 0
    return here


def replan(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    return run(capsys, "replan", *(arguments or ("plan.json", "--devices", "fast.yaml")))


def edited(**changes: Any) -> None:
    raw = json.loads(Path("plan.json").read_text())
    Path("plan.json").write_text(json.dumps({**raw, **changes}))


def test_a_machine_died(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head was on the slow machine alone; the other blocks have a copy on the fast one."""
    done = replan(capsys)
    assert done.status == 0, done.err
    assert "devices: 2 kept, 2 lost (slow:0, slow:1), 0 new" in done.out
    assert "only a checkpoint has" in done.out
    assert done.out.rstrip().endswith("were the only ones with (parts of) head")
    raw = json.loads(Path("replan.json").read_text())
    Draft202012Validator(SCHEMA).validate(raw)
    assert raw["moves"]["lost"] == ["slow:0", "slow:1"]
    assert raw["moves"]["checkpoint_bytes"] % (3 * 4 * (64 * 3 + 3)) == 0  # AdamW's state of the head and itself, on some ranks
    assert raw["cluster"]["nodes"] == [{"name": "fast", "devices": 2, "type": "fast-cpu"}]
    assert {rank for stage in raw["stages"] for rank in stage["ranks"]} <= {0, 1}
    assert run(capsys, "show", "replan.json") == done
    assert run(capsys, "compile", "replan.json").status == 0
    assert run(capsys, "price", "replan.json", "-o", "priced.json").status == 0
    assert "moves" not in json.loads(Path("priced.json").read_text())  # it speaks of plans before an edit


def test_json_and_where_it_goes(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("plan.json").read_bytes()
    done = replan(capsys, "plan.json", "--devices", "fast.yaml", "-o", "new.json", "--json", "--quiet")
    assert json.loads(done.out) == json.loads(Path("new.json").read_text())
    assert not Path("replan.json").exists()
    assert Path("plan.json").read_bytes() == before
    again = replan(capsys, "plan.json", "--devices", "fast.yaml", "-o", "again.json", "--json")
    assert again == done


def test_the_cluster_file_may_be_edited_in_place_or_gone(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = replan(capsys)
    Path("cluster.yaml").write_text(FAST)
    done = replan(capsys, "plan.json", "--devices", "cluster.yaml")
    assert done.out.replace("cluster.yaml", "fast.yaml") == elsewhere.out
    Path("cluster.yaml").unlink()
    assert replan(capsys) == elsewhere


def test_an_unchanged_cluster_moves_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24").status == 0
    done = replan(capsys, "plan.json", "--devices", "cluster.yaml")
    assert "devices: 4 kept, 0 lost, 0 new" in done.out
    assert "nothing moves: all" in done.out
    old, new = (json.loads(Path(name).read_text()) for name in ("plan.json", "replan.json"))
    assert new["estimate"]["step_time_s"] <= old["estimate"]["step_time_s"]
    assert all(rank["was"] == rank["rank"] and not rank["takes"] for rank in new["moves"]["ranks"])


def test_pins_and_tolerance(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = replan(
        capsys, "plan.json", "--devices", "cluster.yaml", "--stages", "1", "--data", "2", "--microbatches", "3",
        "--schedule", "gpipe", "--stay", "0.5", "--gap", "0.05", "--time-limit", "20",
    )  # fmt: skip
    assert done.status == 0, done.err
    raw = json.loads(Path("replan.json").read_text())
    assert (len(raw["stages"]), raw["stages"][0]["data"], raw["schedule"]) == (1, 2, {"name": "gpipe", "microbatches": 3})


def test_what_is_refused(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(replan(capsys, "nowhere.json", "--devices", "fast.yaml"), "nowhere.json", "can't be read")
    assert_refused(replan(capsys, "plan.json", "--devices", "nowhere.yaml"), "nowhere.yaml", "no such file")
    assert_refused(replan(capsys, "plan.json"), "--devices")
    assert_refused(replan(capsys, "plan.json", "--devices", "fast.yaml", "--stay", "much"), "--stay", "not a fraction")
    assert_refused(replan(capsys, "plan.json", "--devices", "fast.yaml", "-o", "no/new.json"), "no directory no")
    assert_refused(replan(capsys, "plan.json", "--devices", "fast.yaml", "--microbatches", "5"), "can't be cut into 5")
    assert not Path("replan.json").exists()


def test_another_model(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(MODEL.replace("64", "32"))
    assert_refused(replan(capsys), "plan.json", "made for another model than model.py is now")


def test_a_plan_from_python_names_no_model(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(model={"path": ""})
    assert_refused(replan(capsys), "plan.json", "made from a model in Python")


def test_a_plan_that_does_not_say_what_its_ranks_were(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edited(cluster={"path": "cluster.yaml", "digest": "0"})
    assert_refused(replan(capsys), "plan.json: cluster: cluster.yaml has changed since the plan was made", '"nodes": [')
    Path("cluster.yaml").unlink()
    assert_refused(replan(capsys), "cluster.yaml can't be read, and the plan does not say which device each rank was")
    edited(cluster={"path": "cluster.yaml", "nodes": [{"name": "fast", "devices": 2, "type": "fast-cpu"}]})
    assert_refused(replan(capsys), "there is no rank 2 in cluster.yaml", "ranks 0 to 1")
    edited(cluster={"path": "cluster.yaml", "nodes": [{"name": "fast", "devices": "two", "type": "fast-cpu"}]})
    assert_refused(replan(capsys), "cluster.nodes[0].devices")


def test_a_plan_by_hand(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cluster file as it is tells what its ranks are."""
    done = replan(capsys, "hand.json", "--devices", "fast.yaml")
    assert done.status == 0, done.err
    assert "2 lost (slow:0, slow:1)" in done.out
    assert "before" not in done.out  # nobody priced it


def test_the_answer_may_be_no(planned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.yaml").write_text(FAST.replace("memory: 8 GiB", "memory: 200 MiB"))
    done = replan(capsys, "plan.json", "--devices", "small.yaml")
    assert_refused(done, "plan.json: no plan fits", status=1)
    assert not Path("replan.json").exists()
