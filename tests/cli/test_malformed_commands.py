"""Command lines and cluster files that can't be used, answers that are no, outputs that can't be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import CLUSTER, MODEL, assert_refused, run

PLAN = "plan model.py --devices cluster.yaml --batch-size 24"

ARGUMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "nothing": ("", ("COMMAND",)),
    "unknown command": ("plann model.py", ("'plann'", "plan")),
    "unknown option": (f"{PLAN} --fast", ("--fast",)),
    "plan without a model": ("plan --devices cluster.yaml --batch-size 24", ("MODEL.py",)),
    "plan without a cluster": ("plan model.py --batch-size 24", ("--devices",)),
    "zero samples": ("plan model.py --devices cluster.yaml --batch-size 0", ("--batch-size", "'0'", "from 1 up")),
    "negative samples": ("plan model.py --devices cluster.yaml --batch-size -4", ("--batch-size",)),
    "half a sample": ("plan model.py --devices cluster.yaml --batch-size 2.5", ("--batch-size", "'2.5'")),
    "NaN samples": ("plan model.py --devices cluster.yaml --batch-size nan", ("--batch-size", "'nan'")),
    "too many samples": (f"plan model.py --devices cluster.yaml --batch-size {10**30}", ("--batch-size",)),
    "zero stages": (f"{PLAN} --stages 0", ("--stages", "from 1 up")),
    "negative time limit": (f"{PLAN} --time-limit -1", ("--time-limit",)),
    "time limit without an end": (f"{PLAN} --time-limit inf", ("--time-limit", "positive number")),
    "time limit with a unit": (f"{PLAN} --time-limit 5s", ("--time-limit", "'5s'")),
    "gap in percent": (f"{PLAN} --gap 1%", ("--gap", "0.01")),
    "gap above one": (f"{PLAN} --gap 5", ("--gap", "0.01")),
    "NaN gap": (f"{PLAN} --gap nan", ("--gap",)),
    "unknown optimizer": (f"{PLAN} --optimizer lion", ("--optimizer", "adamw")),
    "unknown precision": (f"{PLAN} --precision fp32", ("--precision", "float32")),
    "unknown schedule": (f"{PLAN} --schedule zigzag", ("--schedule", "1f1b")),
    "unknown format": ("show plan.json --format pdf", ("--format", "dot")),
    "tensor degree of none": (f"{PLAN} --tensor 0", ("--tensor", "from 1 up")),
    "unknown level": (f"{PLAN} --zero 4", ("--zero", "4", "3")),
    "layout without a name": (f"{PLAN} --layout S(0)", ("--layout", "'S(0)'", "fc1.weight=S(0)")),
    "unknown layout": (f"{PLAN} --layout fc*=split", ("--layout", "'fc*=split'")),
    "show without a plan": ("show", ("plan.json",)),
}

UNUSABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "plan without a batch size": ("plan model.py --devices cluster.yaml", ("--batch-size",)),
    "no such model": ("plan none.py --devices cluster.yaml --batch-size 24", ("none.py", "no such file")),
    "model that is a folder": ("plan folder --devices cluster.yaml --batch-size 24", ("folder", "is a directory")),
    "model that is no Python": ("plan weights.bin --devices cluster.yaml --batch-size 24", ("weights.bin", "Python file")),
    "model that is binary": ("plan binary.py --devices cluster.yaml --batch-size 24", ("binary.py", "syntax error")),
    "unknown factory": ("plan model.py:network --devices cluster.yaml --batch-size 24", ("model.py", "network()")),
    "empty model name": ("plan  --devices cluster.yaml --batch-size 24".replace("  ", " '' "), ("no such file",)),
    "no such cluster": ("plan model.py --devices none.yaml --batch-size 24", ("none.yaml", "no such file")),
    "cluster that is a folder": ("plan model.py --devices folder --batch-size 24", ("folder", "directory")),
    "cluster that is binary": ("plan model.py --devices weights.bin --batch-size 24", ("weights.bin", "UTF-8")),
    "model and cluster swapped": ("plan cluster.yaml --devices model.py --batch-size 24", ("model.py",)),
    "tensor degree": (f"{PLAN} --tensor 7", ("7 columns", "2 devices", "--tensor 1 or 2 or 3 or 4")),
    "zero of one replica": (f"{PLAN} --zero 1 --data 1", ("ZeRO level 1", "two replicas", "--zero")),
    "layout of nothing": (f"{PLAN} --layout nowhere*=S(0)", ("'nowhere*'", "no op, parameter or buffer")),
    "more stages than devices": (f"{PLAN} --stages 9", ("9 stages", "--stages between 1 and 3")),
    "more replicas than devices": (f"{PLAN} --data 9", ("9 replicas", "4 devices", "--data between 1 and 4")),
    "more replicas than samples": (
        "plan model.py --devices cluster.yaml --batch-size 3 --data 4",
        ("4 replicas", "3 samples", "--data between 1 and 3"),
    ),
    "replicas and stages": (f"{PLAN} --data 4 --stages 2", ("--stages 2", "--data between 1 and 2")),
    "microbatches that don't divide": (f"{PLAN} --microbatches 5", ("batch of 24", "--microbatches 4 or 6")),
    "microbatches smaller than replicas": (f"{PLAN} --microbatches 24 --data 2", ("2 replicas", "--microbatches 24")),
    "no such plan": ("show none.json", ("none.json", "No such file", "autopart plan")),
    "plan that is a folder": ("show folder", ("folder", "Is a directory")),
    "plan that is binary": ("show weights.bin", ("weights.bin", "not a text file")),
    "plan that is a model": ("show model.py", ("model.py:1", "not JSON")),
    "price of nothing": ("price none.json", ("none.json", "No such file")),
    "compile nothing": ("compile none.json", ("none.json", "No such file")),
    "plan into no folder": (f"{PLAN} -o none/plan.json", ("none/plan.json", "no directory none", "-o")),
    "plan into a folder": (f"{PLAN} -o folder", ("folder", "can't be written", "-o")),
    "plan below a file": (f"{PLAN} -o model.py/plan.json", ("model.py/plan.json", "can't be written", "-o")),
}

CLUSTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "wrong unit": ("12 GB/s", "12 Gb/s", ("cluster.yaml:11", "'Gb/s'", "GB/s")),
    "no unit": ("bandwidth: 5 GB/s", "bandwidth: 5", ("cluster.yaml:4", "without a unit")),
    "unknown type": ("type: slow-cpu", "type: slowcpu", ("cluster.yaml:7", "'slowcpu'", "slow-cpu")),
    "zero devices": ("fast-cpu, count: 2", "fast-cpu, count: 0", ("cluster.yaml:3", "at least 1")),
    "NaN devices": ("fast-cpu, count: 2", "fast-cpu, count: .nan", ("cluster.yaml:3", "whole number")),
    "huge count": ("fast-cpu, count: 2", f"fast-cpu, count: {10**40}", ("cluster.yaml:3", "1,000,000")),
    "infinite bandwidth": ("bandwidth: 5 GB/s", "bandwidth: .inf GB/s", ("cluster.yaml:4",)),
    "negative latency": ("latency: 30 us", "latency: -30 us", ("cluster.yaml:4",)),
    "missing key": (", latency: 30 us", "", ("cluster.yaml:4", "no latency")),
    "missing network": ("    network: {bandwidth: 1 Gb/s, latency: 100 us}\n  - name: slow", "  - name: slow", ("no network",)),
    "misspelt key": ("types:", "typs:", ("cluster.yaml:10", "'typs'", "types")),
    "a cycle of anchors": ("nodes:\n", "nodes: &all\n  - *all\n", ("cluster.yaml:1", "nodes[0] is a list")),
    "a type that is itself": ("  fast-cpu: {", "  loop: &loop {memory: *loop}\n  fast-cpu: {", ("cluster.yaml:11",)),
    "an alias bomb": (
        "nodes:\n",
        "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b]\nnodes:\n",
        ("cluster.yaml:1", "'a'"),
    ),
    "a Python object": ("name: fast", "name: !!python/object/apply:os.getcwd []", ("cluster.yaml:2",)),
    "two of a name": ("name: slow", "name: fast", ("cluster.yaml:6", "'fast'")),
    "cut off": ("types:", "types: {", ("cluster.yaml:",)),
    "tabs": ("    devices: {type: fast", "\tdevices: {type: fast", ("cluster.yaml:3", "tab")),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("plan.json").write_text("precious")
    Path("folder").mkdir()
    Path("weights.bin").write_bytes(bytes(range(256)))
    Path("binary.py").write_bytes(bytes(range(256)))
    return tmp_path


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, words = ARGUMENTS[case]
    done = run(capsys, *line.split())
    assert_refused(done, "usage: autopart", *words)


@pytest.mark.parametrize("case", UNUSABLE)
def test_files_and_pins(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, words = UNUSABLE[case]
    done = run(capsys, *(word.strip("'") for word in line.split()))
    assert_refused(done, *words)
    assert Path("plan.json").read_text() == "precious"


def test_a_folder_for_steps_that_can_not_be_made(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPART_DUMP", "model.py/steps")
    assert_refused(run(capsys, *PLAN.split()), "model.py/steps: AUTOPART_DUMP: can't be written", "Name a folder")


@pytest.mark.parametrize("output", ["model.py", "model.py/out"])
def test_a_package_that_can_not_be_written(output: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *PLAN.split()).status == 0
    assert_refused(run(capsys, "compile", "plan.json", "-o", output), f"{output}: can't be written", "-o")
    assert Path("model.py").read_text() == MODEL


@pytest.mark.parametrize("case", CLUSTERS)
def test_clusters(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, words = CLUSTERS[case]
    assert CLUSTER.count(old) >= 1, "the edit does not apply"
    Path("cluster.yaml").write_text(CLUSTER.replace(old, new, 1))
    done = run(capsys, *PLAN.split())
    assert_refused(done, *words)
    assert Path("plan.json").read_text() == "precious"
