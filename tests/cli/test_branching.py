"""Graphs that branch, and how finely a graph is cut, from the command line: planned, priced, edited, compiled, run."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from autopart import pipeline
from autopart.planfile import load_plan
from autopart.program.program import Kind
from tests.commands import CLUSTER, MODEL, Done, assert_refused, run

TOWERS = """\
import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.text = nn.Sequential(*(nn.Sequential(nn.Linear(512, 512), nn.ReLU()) for _ in range(6)))
        self.scale = nn.Linear(512, 16)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, image, words):
        x = self.image(image)
        return self.head(x * self.scale(self.text(words))[:, :, None, None])


def model():
    return Net()


def example_inputs(batch_size):
    return torch.randn(batch_size, 3, 32, 32), torch.randn(batch_size, 512)


def example_targets(batch_size):
    return (torch.rand(batch_size, 1, 32, 32),)


loss = F.mse_loss
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of two towers, a small chain, and four devices of two types."""
    monkeypatch.chdir(tmp_path)
    Path("towers.py").write_text(TOWERS)
    Path("model.py").write_text(MODEL)
    Path("cluster.yaml").write_text(CLUSTER)
    return tmp_path


def plan(capsys: pytest.CaptureFixture[str], model: str, *more: str) -> Done:
    return run(capsys, "plan", model, "--devices", "cluster.yaml", "--batch-size", "24", *more)


def blocks_of(raw: Any) -> list[list[str]]:
    return [stage["blocks"] for stage in raw["stages"]]


def names_of(raw: Any) -> list[str]:
    return list(chain.from_iterable(blocks_of(raw)))


def test_a_tower_of_a_large_result_waits_for_the_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As traced the image comes first, and crosses wherever the text is cut; the network is slow."""
    assert plan(capsys, "towers.py", "--stages", "2", "--data", "1", "--tensor", "1").status == 0
    raw = json.loads(Path("plan.json").read_text())
    first, last = blocks_of(raw)
    assert all(name.startswith("text") for name in first)
    assert any(name.startswith("image") for name in last)

    priced = run(capsys, "price", "plan.json", "--json")
    assert priced.status == 0, priced.err
    again = json.loads(priced.out)
    assert blocks_of(again) == [first, last]
    for name in ("step_time_s", "formula_s", "lower_bound_s"):
        assert again["estimate"][name] == pytest.approx(raw["estimate"][name], rel=1e-12)
    assert run(capsys, "compile", "plan.json").status == 0


def test_towers_by_hand_run_at_the_same_time(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three stages, two of which read inputs alone: the second does not wait for the first, though the formula adds all up."""
    plan(capsys, "towers.py", "--stages", "1", "--data", "1", "--microbatches", "1", "--tensor", "1")
    raw = json.loads(Path("plan.json").read_text())
    text, image, rest = (
        [name for name in names_of(raw) if name.startswith(word)] for word in ("text", "image", ("scale", "head", "loss"))
    )
    raw["stages"] = [{"blocks": own, "ranks": [rank], "shares": [24]} for rank, own in enumerate((text, image, rest))]
    raw["unused_ranks"] = [3]
    Path("hand.json").write_text(json.dumps(raw))
    assert run(capsys, "price", "hand.json").status == 0
    built = pipeline.build(load_plan("hand.json"))
    assert {(each.source, each.target) for each in built.program.transfers} == {(0, 2), (1, 2)}
    events = pipeline.simulated(built).timeline.events
    starts = {event.rank: event.start_s for event in events if event.action.kind is Kind.FORWARD}
    assert starts[0] == starts[1] == 0.0 < starts[2]

    raw["stages"].reverse()
    Path("wrong.json").write_text(json.dumps(raw))
    assert_refused(run(capsys, "price", "wrong.json"), "whose results it reads", "after all blocks")


@pytest.mark.parametrize(("granularity", "least", "most"), [("op", 6, 8), ("layer", 3, 3)])
def test_granularity(here: Path, capsys: pytest.CaptureFixture[str], granularity: str, least: int, most: int) -> None:
    done = plan(capsys, "model.py", "--granularity", granularity, "--stages", "2")
    assert done.status == 0, done.err
    raw = json.loads(Path("plan.json").read_text())
    assert raw["settings"]["granularity"] == granularity
    assert least <= len(names_of(raw)) <= most
    assert run(capsys, "price", "plan.json").out.splitlines()[:6] == done.out.splitlines()[:6]
    assert run(capsys, "compile", "plan.json").status == 0


def test_a_large_graph_is_not_cut_at_every_op(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deep.py").write_text(MODEL.replace("self.middle(x))", "self.middle(x))\n        for _ in range(320): x = x.tanh()"))
    refused = plan(capsys, "deep.py", "--granularity", "op")
    assert_refused(refused, "which can be cut into", "300 parts at most", "--granularity block")
