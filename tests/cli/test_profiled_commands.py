"""`autopart plan graph.json` and `show`: what is written, what is said, what is refused and how."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.commands import MODEL, assert_refused, run

ROOT = Path(__file__).parents[2]

CLUSTER = """\
nodes:
  - name: box
    devices: {type: accelerator, count: 2}
    interconnect: {bandwidth: 10 GB/s, latency: 10 us}
    network: {bandwidth: 10 GB/s, latency: 10 us}
  - name: host
    devices: {type: cpu, count: 1}
    network: {bandwidth: 1 GB/s, latency: 20 us}
types:
  accelerator: {memory: 4 GiB, memory_bandwidth: 900 GB/s, flops: {float32: 15 TFLOP/s}}
  cpu: {memory: 64 GiB, memory_bandwidth: 50 GB/s, flops: {float32: 1 TFLOP/s}}
"""


def op(name: str, accelerator: float | None, cpu: float | None, memory: float = 1e6, output: float = 1e6, **more: Any) -> Any:
    times = {kind: seconds for kind, seconds in (("accelerator", accelerator), ("cpu", cpu)) if seconds is not None}
    return {"name": name, "time_s": times, "memory_bytes": memory, "output_bytes": output, **more}


GRAPH: dict[str, Any] = {
    "format": 1,
    "kind": "profile",
    "ops": [
        op("stem", 0.004, 0.04),
        op("left", 0.003, 0.03),
        op("right", 0.005, 0.05),
        op("join", 0.002, 0.02),
        op("head", 0.001, 0.01),
    ],
    "edges": [["stem", "left"], ["stem", "right"], ["left", "join"], ["right", "join"], ["join", "head"]],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("graph.json").write_text(json.dumps(GRAPH, indent=1))
    Path("cluster.yaml").write_text(CLUSTER)
    Path("model.py").write_text(MODEL)
    return tmp_path


PLAN = ("plan", "graph.json", "--devices", "cluster.yaml")


@pytest.mark.parametrize("objective", ["throughput", "step", "latency"])
def test_a_plan_is_written_shown_and_the_same_again(objective: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, *PLAN, "--objective", objective)
    assert done.status == 0, done.err
    text = Path("plan.json").read_text()
    plan = json.loads(text)
    schema = json.loads((ROOT / "docs/schema/profile-plan.schema.json").read_text())
    Draft202012Validator(schema).validate(plan)
    assert list(plan)[:6] == ["format", "kind", "profile", "cluster", "objective", "contiguous"]
    assert plan["objective"] == objective
    assert plan["assignment"].keys() == {each["name"] for each in GRAPH["ops"]}
    assert plan["lower_bound_s"] <= plan["value_s"]
    assert run(capsys, "show", "plan.json").out == done.out
    assert json.loads(run(capsys, "show", "plan.json", "--format", "json").out)["value_s"] == plan["value_s"]
    assert json.loads(run(capsys, *PLAN, "--objective", objective, "--json").out) == plan
    assert Path("plan.json").read_text() == text


def test_loads_by_hand(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stem and right on one accelerator, the rest on the other: 9 ms and one tensor out, 6 ms and the same tensor of the stem in
    beside that of right: 10 us + 1 MB / 10 GB/s each.
    """
    assert run(capsys, *PLAN, "--objective", "throughput", "--gap", "0").status == 0
    plan = json.loads(Path("plan.json").read_text())
    wire = 10e-6 + 1e6 / 10e9
    parts = {frozenset(name for name, rank in plan["assignment"].items() if rank == each["rank"]): each for each in plan["loads"]}
    assert parts.keys() == {frozenset({"stem", "left"}), frozenset({"right", "join", "head"})}
    first, second = parts[frozenset({"stem", "left"})], parts[frozenset({"right", "join", "head"})]
    assert first["sent_s"] == pytest.approx(2 * wire)
    assert second["received_s"] == pytest.approx(2 * wire)
    assert plan["value_s"] == pytest.approx(0.008 + 2 * wire)
    assert plan["unused_ranks"] == [2]


def test_paths_are_relative_to_the_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    assert run(capsys, *PLAN, "-o", "out/plan.json").status == 0
    assert json.loads(Path("out/plan.json").read_text())["profile"]["path"] == "../graph.json"
    assert run(capsys, "show", "out/plan.json").out.startswith("graph.json over cluster.yaml: 5 ops\n")


def test_torch_is_not_imported(here: Path) -> None:
    code = "import sys; from autopart.cli import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, *PLAN], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def edited(change: Callable[[Any], None]) -> str:
    raw = copy.deepcopy(GRAPH)
    change(raw)
    return json.dumps(raw, indent=1)


def put(*path: str | int, to: Any) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        raw[path[-1]] = to

    return change


def drop(*path: str | int) -> Callable[[Any], None]:
    def change(raw: Any) -> None:
        for part in path[:-1]:
            raw = raw[part]
        del raw[path[-1]]

    return change


WRONG: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "no kind": (drop("kind"), ("graph.json:1", "kind")),
    "another kind": (put("kind", to="plan"), ("kind", "profile")),
    "another format": (put("format", to=2), ("format", "1")),
    "no ops": (put("ops", to=[]), ("ops",)),
    "no time": (drop("ops", 2, "time_s"), ("graph.json", "ops[2] (right)", "time_s")),
    "no memory": (drop("ops", 2, "memory_bytes"), ("ops[2] (right)", "memory_bytes")),
    "no output": (drop("ops", 2, "output_bytes"), ("ops[2] (right)", "output_bytes")),
    "no name": (drop("ops", 2, "name"), ("ops[2]", "name")),
    "negative time": (put("ops", 2, "time_s", "cpu", to=-1.0), ("ops[2] (right).time_s.cpu", "-1.0")),
    "negative memory": (put("ops", 2, "memory_bytes", to=-1), ("ops[2] (right).memory_bytes", "-1")),
    "a word for a time": (put("ops", 2, "time_s", "cpu", to="fast"), ("ops[2] (right).time_s.cpu", "fast")),
    "infinite time": (put("ops", 2, "time_s", "cpu", to=float("inf")), ("graph.json", "Infinity")),
    "no number": (put("ops", 2, "time_s", "cpu", to=float("nan")), ("graph.json", "NaN")),
    "unknown key": (put("ops", 2, "colocated", to="a"), ("ops[2] (right)", "Did you mean colocate?")),
    "same name": (put("ops", 2, "name", to="stem"), ("ops[2].name", "'stem'", "ops[0]")),
    "unknown end": (put("edges", 1, to=["stem", "write"]), ("edges[1]", "no op 'write'")),
    "three ends": (put("edges", 1, to=["stem", "left", "right"]), ("edges[1]",)),
    "circle": (put("edges", 1, to=["head", "stem"]), ("edges", "stem", "head", "is a circle")),
    "itself": (put("edges", 1, to=["stem", "stem"]), ("stem -> stem is a circle",)),
    "a layer among ops": (put("ops", 2, "table", to=[]), ("graph.json:", "ops[2] (right)", "table, other than the ops before")),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = WRONG[case]
    Path("graph.json").write_text(edited(change))
    assert_refused(run(capsys, *PLAN), *words)
    assert not Path("plan.json").exists()


def test_a_line_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = edited(put("ops", 2, "memory_bytes", to=-7))
    Path("graph.json").write_text(text)
    line = 1 + next(number for number, row in enumerate(text.splitlines()) if "-7" in row)
    assert_refused(run(capsys, *PLAN), f"graph.json:{line}: ops[2] (right).memory_bytes")


@pytest.mark.parametrize(
    ("text", "words"), [("", "not JSON"), ('{"format": 1', "ends in the middle"), ("[]", "object"), ("nope", "not JSON")]
)
def test_no_profile_at_all(text: str, words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("graph.json").write_text(text)
    assert_refused(run(capsys, *PLAN), "graph.json", words)
    Path("graph.json").unlink()
    assert_refused(run(capsys, *PLAN), "graph.json", "can't be read")


NO: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "no type": (put("ops", 2, "time_s", to={"tpu": 0.1}), ("no device type", "right")),
    "no type in common": (
        lambda raw: raw["ops"].__setitem__(slice(0, 2), [op("stem", 1, None, colocate="a"), op("left", None, 1, colocate="a")]),
        ("stem, left", "no device type can run all of them"),
    ),
    "large op": (put("ops", 2, "memory_bytes", to=8e10), ("right", "74.5 GiB", "60.5 GiB")),
    "large op, small type": (
        lambda raw: raw["ops"].__setitem__(2, op("right", 0.1, None, memory=5e9)),
        ("right", "4.66 GiB", "2.55 GiB"),
    ),
    "all too large": (
        lambda raw: [each.update(memory_bytes=1.5e10) for each in raw["ops"]],
        ("69.8 GiB", "65.6 GiB"),
    ),
    "no split": (
        lambda raw: raw.update(ops=[op(each["name"], 0.1, None, memory=1.4e9) for each in raw["ops"]]),
        ("no split in convex parts fits", "6.52 GiB"),
    ),
}


@pytest.mark.parametrize("case", NO)
def test_the_answer_no(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = NO[case]
    Path("graph.json").write_text(edited(change))
    assert_refused(run(capsys, *PLAN, "--objective", "throughput"), "graph.json", *words, status=1)
    assert not Path("plan.json").exists()


def test_what_models_and_profiles_do_not_share(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ("plan", "model.py", "--devices", "cluster.yaml")
    assert_refused(run(capsys, *model), "model.py", "--batch-size")
    assert_refused(run(capsys, *model, "--batch-size", "4", "--objective", "latency"), "not planned for latency")
    assert_refused(run(capsys, *PLAN, "--stages", "2"), "--stages is for models")
    assert_refused(run(capsys, *model, "--batch-size", "4", "--no-contiguous"), "for profiled graphs")
    run(capsys, *PLAN)
    assert_refused(run(capsys, "show", "plan.json", "--format", "svg"), "no svg", "--format text")
    for command in ("compile", "price", "run"):
        assert_refused(run(capsys, command, "plan.json"), "plan.json", "plan of a profiled graph")


def test_another_cluster(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *PLAN)
    Path("cluster.yaml").write_text(CLUSTER.replace("count: 2", "count: 3"))
    assert_refused(run(capsys, "show", "plan.json"), "plan.json", "another cluster")


def test_a_broken_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *PLAN)
    raw = json.loads(Path("plan.json").read_text())
    raw["assignment"]["stem"] = -1
    Path("plan.json").write_text(json.dumps(raw))
    assert_refused(run(capsys, "show", "plan.json"), "plan.json", "assignment.stem")
