"""`autopart plan layers.json` and what follows: a plan as of a model, priced by hand too; what is refused and how."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from torch import nn

import autopart
from autopart.cluster.load import load_cluster
from autopart.errors import PlanError
from cost_models.price import memory_byte_s
from tests.commands import Done, assert_refused, run
from tests.layers import layer, row

ROOT = Path(__file__).parents[2]

CLUSTER = """\
nodes:
  - name: f
    devices: {type: fast, count: 2}
    interconnect: {bandwidth: 10 GB/s, latency: 10 us}
    network: {bandwidth: 10 GB/s, latency: 10 us}
  - name: s
    devices: {type: slow, count: 2}
    interconnect: {bandwidth: 10 GB/s, latency: 10 us}
    network: {bandwidth: 1 GB/s, latency: 20 us}
types:
  fast: {memory: 8 GiB, memory_bandwidth: 900 GB/s, flops: {float32: 15 TFLOP/s}}
  slow: {memory: 8 GiB, memory_bandwidth: 500 GB/s, flops: {float32: 5 TFLOP/s}}
"""


def rows(seconds: float) -> list[dict[str, Any]]:
    """At one, two and four samples, on one and on two devices; the slow type takes three times as long."""
    return [
        row(kind, n, times * n * seconds / t, 2 * times * n * seconds / t, 1e-4, t)
        for kind, times in (("fast", 1), ("slow", 3))
        for t in (1, 2)
        for n in (1, 2, 4)
    ]


LAYERS: dict[str, Any] = {
    "format": 1,
    "kind": "profile",
    "ops": [layer(f"layer{i}", *rows(0.01), parameters=4e7, kept=1e6, output=1e5) for i in range(6)],
}
PLAN = ("plan", "layers.json", "--devices", "cluster.yaml", "--batch-size", "8")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("layers.json").write_text(json.dumps(LAYERS, indent=1))
    Path("cluster.yaml").write_text(CLUSTER)
    return tmp_path


def planned(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[Done, Any]:
    done = run(capsys, *PLAN, *more)
    assert done.status == 0, done.err
    return done, json.loads(Path("plan.json").read_text())


def test_a_plan_as_of_a_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, plan = planned(capsys)
    Draft202012Validator(json.loads((ROOT / "docs/schema/plan.schema.json").read_text())).validate(plan)
    assert [name for stage in plan["stages"] for name in stage["blocks"]] == [f"layer{i}" for i in range(6)]
    assert plan["model"]["path"] == "layers.json"
    assert plan["model"]["parameters"] == 6 * 10**7
    assert plan["estimate"]["lower_bound_s"] <= plan["estimate"]["formula_s"]
    assert plan["estimate"]["gap"] <= 0.01
    assert {each["name"] for each in plan["baselines"]} >= {"data parallel, even", "pure tensor, fastest node"}
    assert "notes" not in plan
    assert run(capsys, "show", "plan.json").out == done.out
    assert json.loads(run(capsys, *PLAN, "--json").out) == plan


def test_pins_and_settings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, plan = planned(capsys, "--tensor", "2", "--microbatches", "4", "--optimizer", "sgd")
    assert {stage["tensor"] for stage in plan["stages"]} == {2}
    assert (plan["schedule"]["microbatches"], plan["settings"]["optimizer"]) == (4, "sgd")


@pytest.mark.parametrize("kind", ["dot", "svg", "html", "trace"])
def test_pictures(kind: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned(capsys, "--stages", "2")
    done = run(capsys, "show", "plan.json", "--format", kind)
    assert done.status == 0, done.err
    assert "layer5" in done.out or kind == "trace"


BY_HAND: dict[str, Any] = {
    "format": 1,
    "model": {"path": "layers.json"},
    "cluster": {"path": "cluster.yaml"},
    "batch_size": 8,
    "schedule": {"name": "1f1b", "microbatches": 2},
    "stages": [
        {"blocks": [f"layer{i}" for i in range(4)], "ranks": [0, 1], "tensor": 2, "shares": [4]},
        {"blocks": ["layer4", "layer5"], "ranks": [2, 3], "shares": [2, 2]},
    ],
}


def test_a_plan_by_hand_is_priced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four layers on two fast columns and two on two slow replicas: 0.12 s x 2 and 0.12 s x 3 a microbatch, and half of what
    adding gradients of 80 MB to others takes, for there are two.
    """
    Path("hand.json").write_text(json.dumps(BY_HAND))
    done = run(capsys, "price", "hand.json", "-o", "priced.json")
    assert done.status == 0, done.err
    estimate = json.loads(Path("priced.json").read_text())["estimate"]
    fast_s, slow_s = (3 * 8e7 * memory_byte_s(group.device) / 2 for group in load_cluster("cluster.yaml").groups)
    first_s, second_s = 4 * 3 * 4 * 0.01 / 2 + fast_s, 2 * 3 * 2 * 0.01 * 3 + slow_s
    assert estimate["step_time_s"] == pytest.approx(first_s + 2 * second_s, rel=0.1), (
        "stage 1 sets the pace; the rest are messages"
    )
    assert estimate["schedule_bound_s"] == pytest.approx(first_s + 2 * second_s, rel=1e-9)
    assert estimate["lower_bound_s"] is None
    planned(capsys)
    compared = run(capsys, "diff", "plan.json", "priced.json")
    assert compared.status == 0, compared.err


def test_questions(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A faster type is faster in what was measured; an op is a layer."""
    planned(capsys, "--stages", "2")
    asked = ("--why-not", "ddp", "--what-if", "speed slow = 3x", "--op", "layer2", "--json")
    done = run(capsys, "explain", "plan.json", *asked)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    (op,) = found["ops"]
    assert set(op["forward_s"]) <= {"fast", "slow"}
    assert found["what_if"]["best"]["step_time_s"] < found["step_time_s"]


def test_there_is_nothing_to_compile(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned(capsys)
    assert_refused(
        run(capsys, "compile", "plan.json"), "plan.json: this plan is of a layer profile", "no model to compile or run"
    )
    assert_refused(run(capsys, "run", "plan.json"), "this plan is of a layer profile (layers.json)")
    assert not Path("plan").exists()
    with pytest.raises(PlanError, match="this plan is of a layer profile"):
        autopart.compile("plan.json", nn.Linear(2, 2))


def test_extrapolating_is_said_in_the_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done, plan = planned(capsys, "--microbatches", "1", "--stages", "1", "--data", "1", "--tensor", "1")
    (note,) = plan["notes"]
    assert note.startswith("extrapolated: fast with 8 samples")
    assert " ".join(note.split()[:4]) in done.out


def test_another_profile(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan belongs to the numbers that it was made of, whatever their order."""
    planned(capsys)
    raw = copy.deepcopy(LAYERS)
    raw["ops"][3]["table"].reverse()
    Path("layers.json").write_text(json.dumps(raw))
    assert run(capsys, "price", "plan.json").status == 0
    raw["ops"][3]["table"][0]["forward_s"] *= 2
    Path("layers.json").write_text(json.dumps(raw))
    assert_refused(run(capsys, "price", "plan.json"), "another model than layers.json is now")


def test_options_that_layers_do_not_have(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(run(capsys, *PLAN[:4]), "layers.json", "--batch-size")
    assert_refused(run(capsys, *PLAN, "--granularity", "op"), "--granularity is for models")
    assert_refused(run(capsys, *PLAN, "--layout", "*.weight=R"), "--layout is for models")
    assert_refused(run(capsys, *PLAN, "--objective", "latency"), "not planned for latency")
    assert_refused(run(capsys, *PLAN, "--tensor", "4"), "4 columns")


def test_a_stage_that_was_not_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = copy.deepcopy(BY_HAND)
    raw["stages"][1] = {"blocks": ["layer4", "layer5"], "ranks": [2, 3], "tensor": 2, "shares": [4], "tensor_shares": [1, 2]}
    Path("hand.json").write_text(json.dumps(raw))
    assert_refused(run(capsys, "price", "hand.json"), "hand.json: stage 1: tensor_shares, but layers of a profile")


def test_no_type_of_the_cluster(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("layers.json").write_text(json.dumps(LAYERS).replace('"fast"', '"A100"').replace('"slow"', '"V100"'))
    assert_refused(run(capsys, *PLAN), "layers.json", "rows for A100, V100, the cluster has fast, slow")


def put(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        raw[path[-1]] = to

    return change


def without(key: str, *path: str | int) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path:
            raw = raw[part]
        del raw[key]

    return change


ROW = ("ops", 2, "table", 1)
WRONG: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "negative time": (put(*ROW, "forward_s", to=-0.125), ("ops[2] (layer2).table[1].forward_s: -0.125", "Seconds from 0 up")),
    "a word for a time": (put(*ROW, "backward_s", to="quick"), ("ops[2] (layer2).table[1].backward_s: 'quick'",)),
    "no update": (without("update_s", *ROW), ("ops[2] (layer2).table[1]", "'update_s' is a required property")),
    "unknown key": (put(*ROW, "forwards_s", to=1), ("ops[2] (layer2).table[1]", "Did you mean forward_s?")),
    "no batch": (put(*ROW, "batch", to=0), ("ops[2] (layer2).table[1].batch: 0",)),
    "half a device": (put(*ROW, "tensor", to=0.5), ("ops[2] (layer2).table[1].tensor: 0.5",)),
    "twice": (put(*ROW, "batch", to=1), ("table[1]: table[0] is of fast, tensor 1, batch 1 too",)),
    "no row": (put("ops", 2, "table", to=[]), ("ops[2] (layer2).table: [] ",)),
    "negative bytes": (put("ops", 2, "parameter_bytes", to=-4), ("ops[2] (layer2).parameter_bytes: -4",)),
    "a degree that is none": (put("ops", 2, "activation_bytes", to={"two": 4}), ("ops[2] (layer2).activation_bytes", "two")),
    "no output": (without("output_bytes", "ops", 2), ("ops[2] (layer2)", "'output_bytes'")),
    "time of an op": (put("ops", 2, "time_s", to={}), ("ops[2] (layer2)", "'time_s' was unexpected")),
    "an op among layers": (without("table", "ops", 2), ("ops[2] (layer2): no table, other than the ops before",)),
    "same name": (put("ops", 2, "name", to="layer1"), ("ops[2].name: 'layer1' is the name of ops[1] too",)),
    "two ends": (put("edges", to=[["layer0", "layer1"]]), ("nobody reads layer1, layer2, layer3, layer4, ...",)),
    "circle": (put("edges", to=[[f"layer{i}", f"layer{(i + 1) % 6}"] for i in range(6)]), ("is a circle",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = WRONG[case]
    raw = copy.deepcopy(LAYERS)
    change(raw)
    Path("layers.json").write_text(json.dumps(raw, indent=1))
    assert_refused(run(capsys, *PLAN), "layers.json", *words)
    assert not Path("plan.json").exists()


def test_a_line_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = copy.deepcopy(LAYERS)
    raw["ops"][2]["table"][1]["forward_s"] = -0.125
    text = json.dumps(raw, indent=1)
    Path("layers.json").write_text(text)
    line = 1 + next(number for number, each in enumerate(text.splitlines()) if "-0.125" in each)
    assert_refused(run(capsys, *PLAN), f"layers.json:{line}: ops[2] (layer2).table[1].forward_s")


def test_the_example_is_planned(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = ROOT / "examples"
    done = run(
        capsys, "plan", examples / "profiles/gpt_layers.json", "--devices", examples / "clusters/two_generations.yaml",
        "--batch-size", "16", "--precision", "bfloat16", "--microbatches", "4", "--tensor", "1", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert json.loads(done.out)["model"]["blocks"] == 26
