"""plan, show, price and compile from end to end on small models."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator

from autopart import pipeline
from autopart.planfile import load_plan
from tests.commands import BY_HAND, CLUSTER, MODEL, Done, assert_refused, run

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/schema/plan.schema.json").read_text())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small model and a cluster of four devices of two types."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    return tmp_path


def plan(capsys: pytest.CaptureFixture[str], *more: str, batch_size: int = 24) -> Done:
    done = run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", str(batch_size), *more)
    assert done.status == 0, done.err
    return done


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
    )


def test_from_model_to_package(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = plan(capsys, "--stages", "2", "--microbatches", "4")
    assert planned.err == ""
    assert "batch 24: 4 microbatches of 6 samples, 1f1b; adamw, float32" in planned.out
    raw = json.loads(Path("plan.json").read_text())
    Draft202012Validator(SCHEMA).validate(raw)

    assert run(capsys, "show", "plan.json") == planned
    assert json.loads(run(capsys, "show", "plan.json", "--format", "json").out) == raw
    drawn = run(capsys, "show", "plan.json", "--format", "dot")
    assert drawn.out.startswith("digraph plan {")
    assert drawn.out.count("subgraph cluster_") == 2
    assert "b1 -> b2" in drawn.out

    picture = run(capsys, "show", "plan.json", "--format", "svg")
    assert ElementTree.fromstring(picture.out).tag == "{http://www.w3.org/2000/svg}svg"

    priced = run(capsys, "price", "plan.json", "-o", "priced.json")
    assert priced == planned
    assert Path("priced.json").read_bytes() == Path("plan.json").read_bytes()

    compiled = run(capsys, "compile", "plan.json")
    assert compiled == Done(0, "plan/stages.py: what every rank runs\nplan/train.py: start it with torchrun\n", "")
    names = {path.name for path in Path("plan").iterdir()}
    assert names == {"__init__.py", "stages.py", "train.py", "tensors.json", "weights.pt", "constants.pt", "batch.pt"}
    for source in Path("plan").glob("*.py"):
        ast.parse(source.read_text())


@pytest.mark.parametrize(("cluster", "batch_size"), [("cpus", 16), ("mixed", 64), ("uniform", 8), ("laptop", 4)])
def test_example_clusters(cluster: str, batch_size: int, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, devices = ROOT / "examples/models/mlp.py", ROOT / f"examples/clusters/{cluster}.yaml"
    done = run(capsys, "plan", model, "--devices", devices, "--batch-size", str(batch_size), "-o", "plan.json", "--json")
    assert done.status == 0, done.err
    raw = json.loads(done.out)
    Draft202012Validator(SCHEMA).validate(raw)
    assert sum(raw["stages"][0]["shares"]) * raw["schedule"]["microbatches"] == batch_size
    assert run(capsys, "compile", "plan.json", "-o", "out").status == 0


def test_a_plan_knows_its_files_from_anywhere(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("plans").mkdir()
    plan(capsys, "-o", "plans/first.json")
    assert json.loads(Path("plans/first.json").read_text())["model"]["path"] == "../model.py"
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert run(capsys, "price", "../plans/first.json").status == 0
    assert run(capsys, "compile", "../plans/first.json", "-o", "out").status == 0


def test_json_goes_to_stdout_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(f"print('loading')\n{MODEL}".replace("return Net()", "print('building'); return Net()"))
    done = plan(capsys, "--json", "--quiet")
    assert json.loads(done.out) == json.loads(Path("plan.json").read_text())
    assert done.err == "loading\nbuilding\n"


def test_quiet_is_quiet_on_a_terminal(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert "tracing" in plan(capsys).err
    assert plan(capsys, "--quiet").err == ""


def test_output_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys, "-o", "mine.json")
    assert not Path("plan.json").exists()
    done = run(capsys, "show", "mine.json", "--format", "dot", "-o", "mine.dot")
    assert done == Done(0, "", "")
    assert Path("mine.dot").read_text() == run(capsys, "show", "mine.json", "--format", "dot").out


@pytest.mark.parametrize(
    "pins",
    [
        {"stages": 1},
        {"stages": 3},
        {"data": 2},
        {"data": 4},
        {"microbatches": 6},
        {"schedule": "gpipe", "stages": 2, "microbatches": 4},
        {"stages": 2, "data": 2, "microbatches": 3},
        {"tensor": 1, "stages": 2},
        {"data": 2, "zero": 3},
    ],
    ids=str,
)
def test_pins_hold(pins: dict[str, str | int], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys, *(text for name, value in pins.items() for text in (f"--{name}", str(value))))
    found = load_plan("plan.json")
    assert len(found.stages) == pins.get("stages", len(found.stages))
    assert all(len(stage.shares) == stage.data == pins.get("data", stage.data) for stage in found.stages)
    assert all(stage.tensor == pins.get("tensor", stage.tensor) for stage in found.stages)
    assert all(stage.zero == pins.get("zero", 0) for stage in found.stages)
    assert found.schedule.microbatches == pins.get("microbatches", found.schedule.microbatches)
    assert found.schedule.name == pins.get("schedule", "1f1b")


def test_precision_and_optimizer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Static bytes of one device: parameters, gradients and 0 or 2 tensors of state, of 4 or 8 bytes a scalar."""
    static = {}
    for precision in ("float32", "float64", "bfloat16"):
        for optimizer in ("sgd", "adamw"):
            plan(capsys, "--stages", "1", "--data", "1", "--precision", precision, "--optimizer", optimizer, batch_size=1)
            found = load_plan("plan.json")
            assert (found.settings.precision, found.settings.optimizer) == (precision, optimizer)
            assert found.estimate is not None
            static[precision, optimizer] = max(found.estimate.peak_bytes.values())
    scalars = 4 * 64 + 64 + 64 * 64 + 64 + 64 * 3 + 3
    assert static["float64", "adamw"] > static["float32", "adamw"] >= 4 * 4 * scalars
    assert static["float32", "adamw"] - static["float32", "sgd"] >= 2 * 4 * scalars
    assert static["bfloat16", "adamw"] >= 4 * 4 * scalars, "parameters and their state stay in float32"


def test_compile_keeps_an_edited_train_script(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys)
    run(capsys, "compile", "plan.json", "-o", "out")
    Path("out/train.py").write_text("print('mine')\n")
    assert run(capsys, "compile", "plan.json", "-o", "out").status == 0
    assert Path("out/train.py").read_text() == "print('mine')\n"
    assert "DistributedModule" in Path("out/train.new.py").read_text()


def test_an_edit_is_priced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every block on one slow device: all but the path, batch and stages follows."""
    steps = []
    for rank in (0, 3):
        stages = [{"blocks": ["encoder", "middle", "head"], "ranks": [rank], "shares": [12]}]
        Path("edited.json").write_text(json.dumps({**BY_HAND, "stages": stages}))
        assert "not priced yet" in run(capsys, "show", "edited.json").out
        assert run(capsys, "price", "edited.json", "-o", "priced.json").status == 0
        priced = load_plan("priced.json")
        assert priced.model.parameters == 4675
        assert priced.unused_ranks == tuple(other for other in range(4) if other != rank)
        assert priced.estimate is not None
        steps.append(priced.estimate.step_time_s)
        assert math.isnan(priced.estimate.gap), "nobody looked for a better one"
        assert "gap" not in run(capsys, "show", "priced.json").out
    assert steps[0] < steps[1], "rank 3 is a slow device"
    assert run(capsys, "compile", "priced.json", "-o", "out").status == 0
    assert "by simulation.\n" in Path("out/stages.py").read_text()


def test_the_same_input_gives_the_same_bytes(here: Path) -> None:
    arguments = "'plan model.py --devices cluster.yaml --batch-size 24 --stages 2 -o {0}.json', 'compile {0}.json'"
    for seed in ("1", "2"):
        script = f"from autopart.cli import main\nfor line in {arguments.format(seed)}: assert main(line.split()) == 0"
        done = python("-c", script, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
    assert Path("1.json").read_bytes() == Path("2.json").read_bytes()
    for name in ("stages.py", "train.py", "tensors.json"):
        assert Path("1", name).read_bytes() == Path("2", name).read_bytes()


def test_infeasible_says_what_is_missing_and_what_helps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model.py").write_text(MODEL.replace("64", "2048"))
    small = CLUSTER.replace("8 GiB", "340 MiB").replace("4 GiB", "300 MiB")
    Path("cluster.yaml").write_text(small)
    Path("plan.json").write_text("precious")
    asked = ("plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24", "--zero", "0")
    done = run(capsys, *asked, "--tensor", "1")
    assert_refused(done, "no plan fits", "block middle alone needs", "What would help", status=1)
    assert Path("plan.json").read_text() == "precious"
    assert "leave out --tensor 1" in done.err
    assert "the optimizer momentum" in done.err
    leaner = run(capsys, *asked, "--tensor", "1", "--optimizer", "momentum")
    assert leaner.status == 0, "what is said to help does help"
    assert run(capsys, *asked).status == 0, "and so does that"
    assert any(stage.tensor > 1 for stage in load_plan("plan.json").stages)


def test_interrupted(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "decide", interrupt)
    Path("plan.json").write_text("precious")
    done = run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "24")
    assert done == Done(130, "", "autopart: interrupted\n")
    assert Path("plan.json").read_text() == "precious"


def test_devices_lists_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "devices").out
    for name in ("V100-16GB", "T4-16GB", "A100-80GB", "H200-141GB", "MI300X-192GB", "cpu-core"):
        assert name in listed


def test_help_needs_neither_torch_nor_solver() -> None:
    script = (
        "import sys; from autopart.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'ortools', 'numpy', 'networkx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    for command in ("plan", "show", "price", "explain", "diff", "compile", "run", "devices", "completion"):
        assert re.search(rf"\n    {command}\s", done.stdout)


def test_show_needs_no_torch(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan(capsys)
    script = (
        "import sys; from autopart.cli import main\n"
        "for kind in ('text', 'json'): main(['show', 'plan.json', '--format', kind])\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away() -> None:
    """As `autopart devices | true`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autopart", "devices"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0
