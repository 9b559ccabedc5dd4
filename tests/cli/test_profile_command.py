"""``autopart profile``: a small model measured on this machine, and what plans make of what a costs file says.

How long anything takes decides nothing here: times in files are written by hand where they matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from autopart.cluster.load import load_cluster
from autopart.profiling import campaign
from tests.commands import MODEL, Done, assert_refused, run

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/costs.schema.json").read_text())
SHEET = "{memory: 8 GiB, memory_bandwidth: 12 GB/s, flops: {float64: 60 GFLOP/s, float32: 120 GFLOP/s}"
CLUSTER = f"""\
nodes:
  - name: a
    devices: {{type: a-cpu, count: 1}}
    network: {{bandwidth: 100 Gb/s, latency: 1 us}}
  - name: b
    devices: {{type: b-cpu, count: 1}}
    network: {{bandwidth: 100 Gb/s, latency: 1 us}}
types:
  a-cpu: {SHEET}, measured: a-cpu.costs.json}}
  b-cpu: {SHEET}, measured: b-cpu.costs.json}}
"""
ONE = f"""\
nodes:
  - name: a
    devices: {{type: a-cpu, count: 1}}
types:
  a-cpu: {SHEET}, measured: a-cpu.costs.json}}
"""
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("one.yaml").write_text(ONE)
    return tmp_path


def profile(capsys: pytest.CaptureFixture[str], *more: str, name: str = "a-cpu", rows: str = "1,2,4") -> Done:
    given = ("--devices", "cluster.yaml", "--type", name, "--rows", rows, "--repeats", "1", "--no-sustained")
    return run(capsys, "profile", "model.py", *given, *more)


def costs(name: str = "a-cpu") -> dict[str, Any]:
    return json.loads(Path(f"{name}.costs.json").read_text())  # type: ignore[no-any-return]


def doctor(change: Change, name: str = "a-cpu") -> None:
    raw = costs(name)
    change(raw)
    Path(f"{name}.costs.json").write_text(json.dumps(raw))


def samples(raw: dict[str, Any], kind: str) -> dict[str, list[int]]:
    return {each["key"]: [sample[0] for sample in each["samples"]] for each in raw[kind]}


def blocks_take(row_s: float, update_s: float = 0.0) -> Change:
    """Every block ``row_s`` a row forward and twice that backward; the update so long."""

    def change(raw: dict[str, Any]) -> None:
        for block in raw["blocks"]:
            block["samples"] = [[rows, rows * row_s, 2 * rows * row_s] for rows in (1, 2, 4)]
        raw["updates"] = {"adamw": [[1, update_s]]}

    return change


def plan(capsys: pytest.CaptureFixture[str], devices: str, *more: str) -> dict[str, Any]:
    done = run(capsys, "plan", "model.py", "--devices", devices, "--batch-size", "4", "-o", "plan.json", *more)
    assert done.status == 0, done.err
    return json.loads(Path("plan.json").read_text())  # type: ignore[no-any-return]


def test_what_it_measures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every op and block of the model, at every number of rows; linear layers of one size are one op."""
    done = profile(capsys)
    assert done.status == 0, done.err
    raw = costs()
    Draft202012Validator(SCHEMA).validate(raw)
    assert all(rows == [1, 2, 4] for kind in ("ops", "blocks") for rows in samples(raw, kind).values())
    linear = [op for op in raw["ops"] if op["key"].startswith("aten.linear.default")]
    assert {op["key"].split(" of ")[1] for op in linear} == {
        "float32[b,4], float32[64,4]+, float32[64]+",
        "float32[b,64]+, float32[64,64]+, float32[64]+",
        "float32[b,64]+, float32[3,64]+, float32[3]+",
    }
    (first,) = (op for op in linear if "[64,4]" in op["key"])
    rows, forward_s, backward_s, forward_flops, *_ = first["samples"][2]
    assert (rows, forward_flops) == (4, 2 * 4 * 4 * 64)
    assert forward_s > 0
    assert backward_s > 0
    assert {block["name"] for block in raw["blocks"]} >= {"encoder", "middle"}
    assert list(raw["updates"]) == ["adamw"]
    assert "matmul float32" in done.out
    assert "a-cpu: {measured: a-cpu.costs.json}" in done.out


def test_a_second_run_measures_what_is_missing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(capsys)
    before = costs()
    assert " 0 new samples" in profile(capsys).out
    assert costs() == before

    def forget(raw: dict[str, Any]) -> None:
        raw["ops"] = raw["ops"][1:]
        del raw["blocks"][0]["samples"][1]

    doctor(forget)
    assert " 4 new samples" in profile(capsys).out  # three of the op, one of the block
    after = costs()
    assert [samples(after, kind) for kind in ("ops", "blocks")] == [samples(before, kind) for kind in ("ops", "blocks")]
    assert after["ops"][1:] == before["ops"][1:], "what was known was measured again"
    assert " new samples" in profile(capsys, rows="1,8").out
    assert set(samples(costs(), "ops").popitem()[1]) == {1, 2, 4, 8}


def test_what_was_measured_before_an_interruption_is_kept(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(*arguments: Any) -> tuple[float, float]:
        calls.append(arguments)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return 1e-3, 2e-3

    monkeypatch.setattr(campaign, "time_stretch", interrupted)
    assert profile(capsys).status == 130
    kept = costs()
    assert sum(len(rows) for kind in ("ops", "blocks") for rows in samples(kept, kind).values()) == 5
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert profile(capsys).status == 0
    assert all(rows == [1, 2, 4] for kind in ("ops", "blocks") for rows in samples(costs(), kind).values())


def test_an_op_that_does_not_run_alone_is_left_out_and_said(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = campaign.time_stretch

    def failing(part: Any, *more: Any) -> tuple[float, float]:
        if part.ops[0].kind.startswith("aten.tanh"):
            raise campaign.NotAloneError("it wants company")
        return real(part, *more)

    monkeypatch.setattr(campaign, "time_stretch", failing)
    done = profile(capsys)
    assert done.status == 0
    assert "tanh does not run alone: it wants company" in done.out
    assert not any("tanh" in key for key in samples(costs(), "ops"))


@pytest.mark.parametrize(("by", "ops", "blocks"), [("op", True, False), ("block", False, True)])
def test_by(by: str, ops: bool, blocks: bool, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile(capsys, "--by", by).status == 0
    assert (bool(costs()["ops"]), bool(costs()["blocks"])) == (ops, blocks)


def test_a_plan_of_one_device_takes_what_the_file_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Blocks of 1 s a row forward and 2 s backward, 4 rows, an update of 7 s a parameter element."""
    profile(capsys)
    doctor(blocks_take(1.0, 7.0))
    found = plan(capsys, "one.yaml")
    (stage,) = found["stages"]
    elements = 4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3
    assert found["estimate"]["step_time_s"] == pytest.approx(len(stage["blocks"]) * 4 * 3.0 + 7.0 * elements, rel=1e-6)


def test_a_plan_follows_what_the_files_say(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two equal datasheets, one measured three times as fast: it gets three of four samples, and both work as long."""
    for name, row_s in (("a-cpu", 0.3), ("b-cpu", 0.1)):
        profile(capsys, name=name)
        doctor(blocks_take(row_s), name)
    found = plan(capsys, "cluster.yaml", "--stages", "1", "--microbatches", "1")
    (stage,) = found["stages"]
    assert dict(zip(stage["ranks"], stage["shares"], strict=True)) == {0: 1, 1: 3}
    assert found["estimate"]["step_time_s"] == pytest.approx(len(stage["blocks"]) * 3 * 0.3, rel=1e-3)


def test_ops_of_columns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a linear layer, as two devices split it where that is worth a message, is measured beside the whole one."""
    Path("model.py").write_text(MODEL.replace("64", "512"))
    Path("node.yaml").write_text(ONE.replace("count: 1}", "count: 2}\n    interconnect: {bandwidth: 50 GB/s, latency: 1 us}"))
    given = ("--devices", "node.yaml", "--rows", "4", "--repeats", "1", "--no-sustained")
    run(capsys, "profile", "model.py", *given)
    whole = costs()
    assert run(capsys, "profile", "model.py", *given, "--tensor", "2").status == 0
    halves = samples(costs(), "ops").keys() - samples(whole, "ops").keys()
    assert any(key.startswith("aten.linear") and "float32[256,512]" in key for key in halves)
    assert costs()["blocks"] == whole["blocks"], "a column has no whole blocks of its own"


def test_explain_says_where_prices_come_from(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(capsys)
    doctor(blocks_take(1.0))
    plan(capsys, "one.yaml", "--microbatches", "1")
    done = run(capsys, "explain", "plan.json", "--op", "middle", "--json")
    assert done.status == 0, done.err
    facts = json.loads(done.out)["ops"]
    assert {each["priced"]["a-cpu"] for each in facts} == {"measured, scaled to its measured block"}
    assert "measured, scaled to its measured block" in run(capsys, "explain", "plan.json", "--op", "middle").out
    (block,) = {each["block"] for each in facts}
    assert block == "middle"


def test_the_page_says_so_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(capsys)
    plan(capsys, "one.yaml", "--microbatches", "1")
    page = run(capsys, "show", "plan.json", "--format", "html").out
    assert "measured, scaled to its measured block" in page


def test_a_plan_is_of_the_costs_that_it_was_made_with(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(capsys)
    plan(capsys, "one.yaml")
    doctor(blocks_take(1.0))
    assert_refused(run(capsys, "show", "plan.json"), "another cluster")


def test_the_types_datasheet_is_in_the_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile(capsys)
    measured = load_cluster("one.yaml").device(0).measured
    assert measured is not None
    assert (measured.device.name, measured.device.flops["float32"]) == ("a-cpu", 120e9)


def test_under_compile(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks alone, in a file that says so; what compiles them is PyTorch's matter."""
    compiled: list[object] = []
    monkeypatch.setattr("torch.compile", lambda run, dynamic: compiled.append(run) or run)
    assert profile(capsys, "--compile").status == 0
    raw = costs()
    assert raw["origin"]["compiled"] is True
    assert (raw["ops"], len(compiled)) == ([], 3 * len(raw["blocks"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--type", "c-cpu"), ("no type 'c-cpu'", "--type a-cpu or --type b-cpu")),
        (("--type",), ("--type",)),
        (("--rows", "0"), ("--rows", "'0'")),
        (("--rows", "1,x"), ("--rows", "'x'")),
        (("-o", "nowhere/costs.json"), ("nowhere",)),
    ],
)
def test_refusals(arguments: tuple[str, ...], words: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(run(capsys, "profile", "model.py", "--devices", "cluster.yaml", "--type", "a-cpu", *arguments), *words)


def test_which_type_this_machine_is_must_be_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "profile", "model.py", "--devices", "cluster.yaml")
    assert_refused(done, "several types", "--type a-cpu or --type b-cpu")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("torch", "1.13", ("measured with PyTorch 1.13", "-o")),
        ("threads", 64, ("threads 64",)),
        ("machine", "another machine", ("another machine",)),
        ("method", "mean", ("the method mean",)),
        ("compiled", True, ("--compile True",)),
    ],
)
def test_a_file_of_other_measurements_is_not_added_to(
    key: str, value: object, words: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(capsys, rows="1")
    doctor(lambda raw: raw["origin"].update({key: value}))
    before = Path("a-cpu.costs.json").read_text()
    assert_refused(profile(capsys), "a-cpu.costs.json", *words)
    assert Path("a-cpu.costs.json").read_text() == before


def test_a_machine_without_the_accelerator(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path("cluster.yaml").write_text("nodes:\n  - name: a\n    devices: {type: A100-80GB, count: 1}\n")
    done = run(capsys, "profile", "model.py", "--devices", "cluster.yaml")
    assert_refused(done, "A100-80GB is an accelerator", "finds none")
