"""plan.json: what is written comes back, equal plans give equal bytes, and every broken file gets one clear message."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopart.errors import PlanError
from autopart.planfile import dump_plan, load_plan, parse_plan, save_plan, to_json
from autopart.plans import (
    Baseline,
    ClusterRef,
    Cost,
    Draw,
    Estimate,
    FrontPoint,
    ModelRef,
    Plan,
    Proof,
    Schedule,
    Settings,
    Stage,
)

PLAN = Plan(
    model=ModelRef("model.py", "model", "abc", 3, 1234),
    cluster=ClusterRef("cluster.yaml", "def"),
    batch_size=24,
    settings=Settings("sgd", "float64", "local"),
    schedule=Schedule("1f1b", 2),
    stages=(
        Stage(0, ("embed", "h.0"), (0, 2), (9, 3), data=2, recompute=True),
        Stage(1, ("head",), (1,), (12,)),
    ),
    unused_ranks=(3,),
    estimate=Estimate(0.1, 0.11, 0.109, 0.01, 0.09, {"compute": 0.08, "wait": 0.02}, {0: 5, 1: 7, 2: 5}),
    baselines=(Baseline("data parallel, even", 0.2), Baseline("fastest device alone", None, "needs 3 GiB of 2 GiB")),
)
MINIMAL = {
    "format": 1,
    "model": {"path": "model.py"},
    "cluster": {"path": "cluster.yaml"},
    "batch_size": 4,
    "schedule": {"name": "1f1b", "microbatches": 2},
    "stages": [{"blocks": ["a", "b"], "ranks": [0], "shares": [2]}],
}


def test_what_is_written_comes_back() -> None:
    assert parse_plan(dump_plan(PLAN), "plan.json") == PLAN


def test_equal_plans_give_equal_bytes() -> None:
    assert dump_plan(PLAN) == dump_plan(parse_plan(dump_plan(PLAN), "plan.json"))


def test_columns_come_back_and_even_shares_of_them_are_left_out() -> None:
    stage = Stage(0, ("a",), (0, 1, 2, 3), (9, 3), data=2, tensor=2, zero=1, layouts={"w": "S(0/3)"}, tensor_shares=(3, 1))
    plan = replace(PLAN, stages=(stage,))
    assert parse_plan(dump_plan(plan), "plan.json") == plan
    even = replace(plan, stages=(replace(stage, tensor_shares=(2, 2)),))
    assert "tensor_shares" not in dump_plan(even)
    assert parse_plan(dump_plan(even), "plan.json").stages[0] == replace(stage, tensor_shares=())
    wrong = replace(plan, stages=(replace(stage, tensor_shares=(2, 2, 2)),))
    assert parse_plan(dump_plan(wrong), "plan.json") == wrong


def test_plans_without_columns_are_written_as_before() -> None:
    rows = to_json(PLAN)["stages"]
    keys = ["index", "blocks", "ranks", "shares", "data", "tensor", "zero", "recompute", "layouts"]
    assert [list(row) for row in rows] == [keys, keys]


def test_money_and_the_front_come_back() -> None:
    cost = Cost("cost", "USD", 4.4, 1.2e-4, 1.1e-4, 0.02, 0.2, {"a": 1.1})
    point = FrontPoint(4, {"A100-40GB": 4}, 0.1, 0.11, 0.109, 0.01, Draw("USD", 4.4, 1.2e-4), Draw("J", 1600.0, 160.0))
    assert PLAN.estimate is not None
    plan = replace(PLAN, estimate=replace(PLAN.estimate, cost=cost), front=(point, replace(point, energy=None)))
    assert parse_plan(dump_plan(plan), "plan.json") == plan
    unproven = replace(PLAN, estimate=replace(PLAN.estimate, cost=replace(cost, lower_bound=math.nan, gap=math.nan)))
    again = parse_plan(dump_plan(unproven), "plan.json")
    assert again.estimate is not None
    assert again.estimate.cost is not None
    assert math.isnan(again.estimate.cost.lower_bound)
    assert "cost" not in to_json(PLAN)["estimate"]
    assert "front" not in to_json(PLAN)


def test_a_bound_that_nobody_proved_is_null() -> None:
    estimate = replace(PLAN.estimate, lower_bound_s=math.nan, gap=math.nan) if PLAN.estimate else None
    raw = to_json(replace(PLAN, estimate=estimate))
    assert raw["estimate"]["gap"] is None
    again = parse_plan(dump_plan(replace(PLAN, estimate=estimate)), "plan.json")
    assert again.estimate is not None
    assert math.isnan(again.estimate.lower_bound_s)


def test_how_the_search_ended_is_kept() -> None:
    assert PLAN.estimate is not None
    assert "proof" not in to_json(PLAN)["estimate"]
    searched = replace(PLAN, estimate=replace(PLAN.estimate, proof=Proof("time limit", "every cut of 2 blocks")))
    assert parse_plan(dump_plan(searched), "plan.json") == searched


def test_a_person_writes_little() -> None:
    plan = parse_plan(json.dumps(MINIMAL), "plan.json")
    assert plan.stages == (Stage(0, ("a", "b"), (0,), (2,)),)
    wide = parse_plan(json.dumps(_set("stages", to=[{"blocks": ["a"], "ranks": [0, 1, 2, 3], "shares": [1, 1], "tensor": 2}])(
        dict(MINIMAL))), "plan.json")  # fmt: skip
    assert wide.stages == (Stage(0, ("a",), (0, 1, 2, 3), (1, 1), data=2, tensor=2),)
    assert plan.settings == Settings()
    assert plan.estimate is None


def test_paths_are_relative_to_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    save_plan(PLAN, "there/plan.json")
    assert json.loads(Path("there/plan.json").read_text())["model"]["path"] == "../model.py"
    monkeypatch.chdir(tmp_path / "here")
    assert load_plan("../there/plan.json").model.path == "../model.py"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.write_text("old")
    (tmp_path / "plan.json.part").mkdir()
    with pytest.raises(PlanError, match="can't be written"):
        save_plan(PLAN, target)
    assert target.read_text() == "old"


def test_links_are_followed_and_devices_stay(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("old")
    (tmp_path / "link.json").symlink_to("plan.json")
    save_plan(PLAN, tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "plan.json").read_text())["batch_size"] == 24
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    save_plan(PLAN, pipe)
    assert json.loads(os.read(reader, 100_000))["batch_size"] == 24
    os.close(reader)
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "plan.json"]


def _set(*path: str | int, to: Any) -> Callable[[Any], Any]:
    def change(raw: Any) -> Any:
        place = raw
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = to
        return raw

    return change


def _drop(key: str) -> Callable[[Any], Any]:
    return lambda raw: {name: value for name, value in raw.items() if name != key}


BROKEN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "not an object": (lambda raw: [raw], "is not of type 'object'"),
    "future format": (_set("format", to=2), "format: 1 was expected"),
    "no stages key": (_drop("stages"), "'stages' is a required property"),
    "no stages": (_set("stages", to=[]), "stages"),
    "no schedule": (_drop("schedule"), "'schedule' is a required property"),
    "no model path": (_set("model", to={}), "'path' is a required property"),
    "no cluster": (_drop("cluster"), "'cluster' is a required property"),
    "unknown key": (_set("stagess", to=1), "'stagess' was unexpected"),
    "unknown key in a stage": (_set("stages", 0, "rank", to=1), "'rank' was unexpected"),
    "zero batch": (_set("batch_size", to=0), "batch_size: 0 is less than the minimum of 1"),
    "batch as text": (_set("batch_size", to="32"), "batch_size: '32' is not of type 'integer'"),
    "half a batch": (_set("batch_size", to=1.5), "batch_size: 1.5 is not of type 'integer'"),
    "unknown schedule": (_set("schedule", "name", to="zigzag"), "schedule.name: 'zigzag' is not one of"),
    "zero microbatches": (_set("schedule", "microbatches", to=0), "schedule.microbatches: 0 is less than"),
    "negative rank": (_set("stages", 0, "ranks", to=[-1]), r"stages\[0\].ranks\[0\]: -1 is less than"),
    "zero share": (_set("stages", 0, "shares", to=[0]), r"stages\[0\].shares\[0\]: 0 is less than"),
    "stage without blocks": (_set("stages", 0, "blocks", to=[]), r"stages\[0\].blocks"),
    "blocks as text": (_set("stages", 0, "blocks", to="a"), r"stages\[0\].blocks: 'a' is not of type 'array'"),
    "tensor degree": (_set("stages", 0, "tensor", to=0), r"stages\[0\].tensor: 0 is less than the minimum of 1"),
    "zero level": (_set("stages", 0, "zero", to=4), r"stages\[0\].zero: 4 is not one of"),
    "no tensor share": (_set("stages", 0, "tensor_shares", to=[1, 0]), r"stages\[0\].tensor_shares\[1\]: 0 is less than"),
    "layouts as a list": (_set("stages", 0, "layouts", to=["R"]), r"stages\[0\].layouts: \['R'\] is not of type 'object'"),
    "unknown optimizer": (_set("settings", to={"optimizer": "lion"}), "settings.optimizer: 'lion' is not one of"),
    "unknown precision": (_set("settings", to={"precision": "int4"}), "settings.precision: 'int4' is not one of"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plan_gets_one_clear_message(kind: str) -> None:
    change, message = BROKEN[kind]
    text = json.dumps(change(json.loads(json.dumps(MINIMAL))), indent=1)
    with pytest.raises(PlanError, match=message) as caught:
        parse_plan(text, "plan.json")
    assert caught.value.exit_status == 2
    assert caught.value.where.startswith("plan.json:")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file ends in the middle"),
        (json.dumps(MINIMAL)[:-20], "not JSON"),
        ("{'format': 1}", "not JSON: Expecting property name"),
        (json.dumps(MINIMAL).replace('"batch_size": 4', '"batch_size": NaN'), "NaN is not a number"),
        (json.dumps(MINIMAL).replace('"batch_size": 4', '"batch_size": 1e999'), "batch_size"),
        ("[" * 100_000, "not"),
        ("null", "is not of type 'object'"),
    ],
    ids=["empty", "truncated", "python literal", "NaN", "infinite", "deeply nested", "null"],
)
def test_text_that_is_no_plan(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_plan(text, "plan.json")


def test_a_message_names_the_line() -> None:
    text = json.dumps(MINIMAL, indent=1).replace('"batch_size": 4', '"batch_size": -4')
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "batch_size" in row)
    with pytest.raises(PlanError, match=f"plan.json:{line}: batch_size"):
        parse_plan(text, "plan.json")


def test_files_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name, message in [("none.json", "No such file"), ("", "Is a directory"), ("binary.json", "not a text file")]:
        with pytest.raises(PlanError, match=message):
            load_plan(tmp_path / name)
