"""Plan files with one mistake each, of another model or cluster, and hand-written ones that do not add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands import BY_HAND, CLUSTER, MODEL, assert_refused, run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, a cluster and a file that must survive."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    Path("old.json").write_text("precious")
    return tmp_path


def put(*path: str | int, to: Any) -> Callable[[Any], None]:
    """An edit that sets the value at a place; a path that ends in ``+`` appends to a list."""

    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        if path[-1] == "+":
            raw.append(to)
        else:
            raw[path[-1]] = to

    return change


def drop(*path: str | int) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        del raw[path[-1]]

    return change


UNREADABLE: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "empty": (lambda text: "", ("plan.json:1", "ends in the middle")),
    "cut off": (lambda text: text[: len(text) // 2], ("plan.json:", "ends in the middle")),
    "a comma too many": (lambda text: text.replace('"format": 1,', '"format": 1,,'), ("plan.json:2", "not JSON")),
    "NaN": (lambda text: text.replace(": 24", ": NaN"), ("NaN is not a number",)),
    "an infinite number": (lambda text: text.replace(": 24", ": 1e999"), ("batch_size",)),
    "a list": (lambda text: f"[{text}]", ("plan.json:1", "not of type 'object'")),
    "YAML": (lambda text: CLUSTER, ("plan.json:1", "not JSON")),
    "a word": (lambda text: "plan", ("plan.json:1", "not JSON")),
}

MISPLACED: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "a later format": (put("format", to=2), ("plan.json:2", "format", "1 was expected")),
    "no format": (drop("format"), ("'format' is a required",)),
    "no model": (drop("model"), ("'model' is a required",)),
    "model by name": (put("model", to="model.py"), ("plan.json:3", "model", "not of type 'object'")),
    "no cluster path": (drop("cluster", "path"), ("cluster", "'path' is a required")),
    "zero samples": (put("batch_size", to=0), ("batch_size", "minimum of 1")),
    "half a sample": (put("batch_size", to=0.5), ("batch_size", "integer")),
    "batch in words": (put("batch_size", to="24 samples"), ("batch_size", "integer")),
    "no stage": (put("stages", to=[]), ("stages",)),
    "stages by name": (put("stages", to={"first": {}}), ("stages", "not of type 'array'")),
    "unknown key": (put("stage", to=[]), ("'stage' was unexpected", "Did you mean stages?")),
    "misspelt key of a stage": (
        put("stages", 0, "share", to=[1]),
        ("stages[0]", "'share' was unexpected", "Did you mean shares?"),
    ),
    "unknown schedule": (put("schedule", "name", to="pipedream"), ("schedule.name", "'pipedream'", "1f1b")),
    "negative rank": (put("stages", 0, "ranks", to=[0, -1]), ("stages[0].ranks[1]",)),
    "rank as text": (put("stages", 0, "ranks", to=["0", 2]), ("stages[0].ranks[0]",)),
    "tensor degree": (put("stages", 0, "tensor", to=0), ("stages[0].tensor", "Tensor degree")),
    "zero level": (put("stages", 0, "zero", to=4), ("stages[0].zero", "1 optimizer state")),
    "unknown optimizer": (put("settings", to={"optimizer": "adan"}), ("settings.optimizer", "adamw")),
    "path as a number": (put("model", "path", to=3), ("model.path", "string")),
}

UNFITTING: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "unknown block": (
        put("stages", 0, "blocks", to=["encoder", "midle"]),
        ("stage 0", "no block 'midle'", "Did you mean 'middle'?"),
    ),
    "block of another model": (put("stages", 1, "blocks", to=["transformer.h.0"]), ("stage 1", "no block 'transformer.h.0'")),
    "blocks out of order": (put("stages", 0, "blocks", to=["middle", "encoder"]), ("stage 0", "before 'encoder'", "after")),
    "stages out of order": (lambda raw: raw["stages"].reverse(), ("stage 0", "'head' comes before 'middle', whose")),
    "block twice": (put("stages", 1, "blocks", to=["middle", "head"]), ("stage 1", "'middle' comes a second time")),
    "block left out": (put("stages", 0, "blocks", to=["encoder"]), ("stage 1", "'middle' is missing")),
    "last block left out": (drop("stages", 1), ("'head'",)),
    "rank in two stages": (put("stages", 1, "ranks", to=[2]), ("stage 0, stage 1", "rank 2 is named 2 times")),
    "rank twice in a stage": (put("stages", 0, "ranks", to=[0, 0]), ("stage 0", "rank 0 is named 2 times")),
    "rank used and unused": (put("unused_ranks", to=[1, 3]), ("rank 1 is named 2 times", "unused_ranks")),
    "rank beyond the cluster": (put("stages", 1, "ranks", to=[4]), ("no rank 4 in cluster.yaml", "ranks 0 to 3")),
    "huge rank": (put("stages", 1, "ranks", to=[10**30]), ("no rank 1000", "ranks 0 to 3")),
    "shares below the microbatch": (put("stages", 0, "shares", to=[8, 3]), ("stage 0", "sum to 11", "12", "24 / 2")),
    "shares above the microbatch": (put("stages", 1, "shares", to=[24]), ("stage 1", "sum to 24", "12")),
    "share without a rank": (put("stages", 1, "shares", to=[6, 6]), ("stage 1", "1 ranks and 2 shares")),
    "data that ranks deny": (put("stages", 0, "data", to=3), ("stage 0", "data=3")),
    "index that position denies": (put("stages", 0, "index", to=1), ("plan.json: stage 1", "index 1 at position 0")),
    "batch not divisible": (put("batch_size", to=25), ("batch of 25", "2 equal microbatches", "1 or 5")),
    "more microbatches than samples": (put("schedule", "microbatches", to=48), ("batch of 24", "48", "24")),
    "a huge batch": (put("batch_size", to=10**18), ("plan.json:9", "batch_size", "maximum")),
    "layouts of one column": (put("stages", 0, "layouts", to={"encoder": "S(0)"}), ("stage 0", "layouts", "tensor=1")),
    "columns without ranks": (put("stages", 0, "tensor", to=2), ("stage 0", "data=2, tensor=2 with 2 ranks", "List 2 ranks")),
    "tensor shares of one column": (put("stages", 1, "tensor_shares", to=[1, 1]), ("stage 1", "2 tensor_shares for tensor=1")),
    "zero of one replica": (put("stages", 1, "zero", to=1), ("stage 1", "zero=1", "more replicas")),
    "model file that is gone": (put("model", "path", to="gone.py"), ("gone.py", "no such file")),
    "unknown factory": (put("model", "factory", to="network"), ("model.py", "network()")),
    "cluster file that is gone": (put("cluster", "path", to="gone.yaml"), ("gone.yaml", "no such file")),
    "model made in Python": (put("model", "path", to=""), ("model in Python", "autopart.compile")),
    "a model that is the cluster": (put("model", "path", to="cluster.yaml"), ("cluster.yaml", "Python file")),
    "a cluster that is the model": (put("cluster", "path", to="model.py"), ("model.py:",)),
    "another cluster's digest": (put("cluster", "digest", to="0" * 16), ("another cluster than cluster.yaml", "Plan again")),
    "another model's digest": (put("model", "digest", to="0" * 64), ("another model than model.py", "Plan again")),
}


def write(change: Callable[[Any], None]) -> None:
    raw = json.loads(json.dumps(BY_HAND))
    change(raw)
    Path("plan.json").write_text(json.dumps(raw, indent=1))


@pytest.mark.parametrize("case", UNREADABLE)
@pytest.mark.parametrize("command", ["show", "price", "compile"])
def test_no_plan_at_all(command: str, case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = UNREADABLE[case]
    Path("plan.json").write_text(change(json.dumps(BY_HAND, indent=1)))
    assert_refused(run(capsys, command, "plan.json"), *words)


@pytest.mark.parametrize("case", MISPLACED)
def test_against_the_schema(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = MISPLACED[case]
    write(change)
    done = run(capsys, "show", "plan.json")
    assert_refused(done, *words)


@pytest.mark.parametrize("case", UNFITTING)
def test_a_plan_that_does_not_fit(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = UNFITTING[case]
    write(change)
    done = run(capsys, "price", "plan.json", "-o", "old.json")
    assert_refused(done, *words)
    assert Path("old.json").read_text() == "precious"


@pytest.mark.parametrize("case", ["unknown block", "rank in two stages", "another model's digest"])
def test_nothing_is_compiled_then(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = UNFITTING[case]
    write(change)
    Path("out").mkdir()
    Path("out/train.py").write_text("precious")
    assert_refused(run(capsys, "compile", "plan.json", "-o", "out"), *words)
    assert [path.name for path in Path("out").iterdir()] == ["train.py"]
    assert Path("out/train.py").read_text() == "precious"


def test_a_plan_of_what_the_model_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24").status == 0
    Path("model.py").write_text(MODEL.replace("64", "32"))
    assert_refused(run(capsys, "price", "plan.json"), "another model than model.py", "Plan again")
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER.replace("8 GiB", "6 GiB"))
    assert_refused(run(capsys, "price", "plan.json"), "another cluster than cluster.yaml", "Plan again")
    Path("cluster.yaml").write_text(f"# a comment changes nothing\n{CLUSTER}")
    assert run(capsys, "price", "plan.json").status == 0


@pytest.mark.parametrize("case", ["rank beyond the cluster", "rank in two stages", "another cluster's digest"])
def test_what_can_not_be_shown(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = UNFITTING[case]
    write(change)
    assert_refused(run(capsys, "show", "plan.json"), *words)


def test_a_plan_that_does_not_fit_in_memory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(lambda raw: None)
    Path("cluster.yaml").write_text(CLUSTER.replace("8 GiB", "2 MB"))
    assert_refused(run(capsys, "price", "plan.json"), "rank 0 needs", "recompute", status=1)
