"""The guide and the page about plan files do as they say: their examples run, their messages are the program's."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from autopart.planfile import load_plan
from tests.commands import run

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guide.md").read_text()
REFERENCE = (ROOT / "docs/reference/plan.md").read_text()
MODEL, CLUSTER = (re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)[0] for kind in ("python", "yaml"))
SMALL = MODEL.replace("(layer, 6,", "(layer, 1,")  # quicker to trace, wrong in the same ways
MESSAGES = [row.split("`")[1] for row in GUIDE.splitlines() if row.startswith("| `")]

PLAN = "plan model.py --devices cluster.yaml --batch-size 32"
FORWARD = "        return self.head("


def model(old: str, new: str) -> None:
    assert SMALL.count(old) == 1, "the edit does not apply"
    Path("model.py").write_text(SMALL.replace(old, new))


def cluster(replaced: dict[str, str]) -> None:
    text = CLUSTER
    for old, new in replaced.items():
        assert old in text, "the edit does not apply"
        text = text.replace(old, new)
    Path("cluster.yaml").write_text(text)


def plan_file(change: Callable[[str], str]) -> None:
    """The guide's model on four ranks, changed."""
    layers = [f"encoder.layers.{i}.{part}" for i in range(6) for part in ("self_attn", "linear1")]
    raw = {
        "format": 1,
        "model": {"path": "model.py"},
        "cluster": {"path": "cluster.yaml"},
        "batch_size": 32,
        "schedule": {"name": "1f1b", "microbatches": 4},
        "stages": [
            {
                "blocks": ["embed", *layers, "head"],
                "ranks": [0, 1, 2, 3],
                "shares": [3, 3, 1, 1],
            }
        ],
    }
    Path("plan.json").write_text(change(json.dumps(raw)))


# What a user did, and the command that says no, by the start of the message in the guide. The last two are said by runs.
MISTAKES: dict[str, tuple[Callable[[], None], str]] = {
    "no plan fits": (lambda: cluster({"8 GiB": "300 MiB", "4 GiB": "270 MiB"}), PLAN),
    "Python code": (lambda: model(FORWARD, f"        if words.sum() > 0:\n            words = words - 1\n{FORWARD}"), PLAN),
    "the code works": (lambda: model(FORWARD, f"        words = torch.stack(list(words))\n{FORWARD}"), PLAN),
    "a batch of": (lambda: None, f"{PLAN} --microbatches 5"),
    "is a number": (lambda: cluster({"1 Gb/s": "1"}), PLAN),
    "the model has no block": (lambda: plan_file(lambda text: text.replace("0.linear1", "0.liner1")), "price plan.json"),
    "sum to": (lambda: plan_file(lambda text: text.replace("[3, 3, 1, 1]", "[4, 3, 1, 1]")), "price plan.json"),
    "this plan was made": (
        lambda: plan_file(lambda text: text.replace('"model.py"', '"model.py", "digest": "0"')),
        "price plan.json",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    return tmp_path


def test_the_guides_model_is_planned_over_its_cluster(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, *PLAN.split())
    assert done.status == 0, done.err
    first = done.out.splitlines()[0]
    assert first in GUIDE
    plan = load_plan("plan.json")
    blocks = [name for stage in plan.stages for name in stage.blocks]
    shown = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])["blocks"]
    assert blocks[: len(shown) - 1] == shown[:-1], "the guide's stage begins as the model does"


@pytest.mark.parametrize("start", MISTAKES)
def test_the_guides_messages(start: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistake, command = MISTAKES[start]
    if start not in ("no plan fits", "the model has no block"):  # which speak of the whole model
        Path("model.py").write_text(SMALL)
    mistake()
    (message,) = (message for message in MESSAGES if message.startswith(start))
    assert message in run(capsys, *command.split()).err


def test_every_message_of_the_guide_is_provoked() -> None:
    assert len(MESSAGES) == len(MISTAKES) + 2


# What a person asks of a plan for eight GPUs in four machines, and what the answer has, by the start of the question.
ANSWERS = {
    "Why does GPU 7": ("Why not rank 7", "T4-16GB (rank 6", "more than"),
    "What if the link": ("What if network a-v = 100 Gb/s", "The plan as it is fits and takes"),
    "Does it fit": ("What if memory = 24 GB", "The plan as it is fits"),
    "How much do I lose": ("Why not ddp", "more than", "more reduce"),
    "Why not three stages": ("Why not stages=3,tensor=2", "The best of that kind takes"),
}


def test_a_persons_questions_are_answered_by_one_command_each(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| (.*?) \| `autopart (explain .*?)` \|$", GUIDE, re.MULTILINE)
    questions = {question: command for question, command in rows if "--op" not in command}
    assert len(questions) == len(ANSWERS)
    mixed = (ROOT / "examples/clusters/mixed.yaml").read_text()
    Path("cluster.yaml").write_text(mixed)
    Path("model.py").write_text((ROOT / "examples/models/mlp.py").read_text())
    assert run(capsys, *["plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "64"]).status == 0
    for start, words in ANSWERS.items():
        (command,) = (command for question, command in questions.items() if question.startswith(start))
        done = run(capsys, *shlex.split(command))
        assert done.status == 0, done.err
        for word in words:
            assert word in done.out, (command, done.out)


def test_the_plan_written_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "docs/reference"
    folder.mkdir(parents=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (folder / "plan.json").write_text(re.findall(r"```json\n(.*?)```", REFERENCE, re.DOTALL)[0])
    done = run(capsys, "price", folder / "plan.json")
    assert done.status == 0, done.err
    assert "left out: slow-cpu (rank 3)" in done.out


def test_every_field_is_described() -> None:
    schema = json.loads((ROOT / "docs/schema/plan.schema.json").read_text())
    described = set(re.findall(r"[\w.]+", " ".join(re.findall(r"^\| (.*?) \|", REFERENCE, re.MULTILINE))))
    top = schema["properties"]
    fields = {"format", "batch_size", "stages", "unused_ranks", "estimate", "baselines", "moves"}
    fields |= {"search", *top["search"]["properties"]}
    fields |= {f"{name}.{key}" for name in ("model", "cluster", "settings", "schedule") for key in top[name]["properties"]}
    fields |= {*top["stages"]["items"]["properties"], *top["estimate"]["properties"], *top["moves"]["properties"]}
    assert fields - described == set()
