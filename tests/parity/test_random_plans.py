"""Every model of the zoo under plans drawn at random: cut between any two blocks, any shares, any order of ranks."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import (
    SMALLEST_GRADIENT,
    STEPS,
    Case,
    Part,
    Trained,
    compare,
    compiled,
    train_module,
    train_whole,
    user_batch,
)
from tests.parity.test_zoo import RANDOM
from tests.ranks import run_ranks
from tests.zoo import ZOO

BATCH, RANKS, PLANS = 12, 4, 8


def drawn(name: str, plan: int) -> Case:
    """A plan for four processes."""
    draw, entry, blocks = random.Random(f"{name} {plan}"), ZOO[name], len(front(name).blocks.blocks)
    microbatches = 1 if entry.mixes_samples or entry.batchless else draw.choice([1, 2, 3])
    stages = draw.randint(1, min(blocks, RANKS))
    cuts = [0, *sorted(draw.sample(range(1, blocks), stages - 1)), blocks]
    replicas = [1] * stages
    for _ in range(0 if entry.batchless else draw.randint(0, RANKS - stages)):
        replicas[draw.randrange(stages)] += 1
    parts = tuple(
        Part(shares(draw, BATCH // microbatches, count), stop - start, draw.random() < 0.5)
        for count, start, stop in zip(replicas, cuts, cuts[1:], strict=False)
    )
    order = tuple(draw.sample(range(RANKS), sum(replicas)))
    return Case(parts, microbatches, draw.choice(["gpipe", "1f1b"]), RANKS - sum(replicas), order)


def shares(draw: random.Random, rows: int, replicas: int) -> tuple[int, ...]:
    """A number of rows for each, one at least."""
    cuts = [0, *sorted(draw.sample(range(1, rows), replicas - 1)), rows]
    return tuple(stop - start for start, stop in pairwise(cuts))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


def train_all(_: int, folders: list[Path], state: Mapping[str, Tensor], batch: Any) -> list[Trained]:
    """Under every plan in turn, by the same processes."""
    return [train_module(DistributedModule(folder, timeout_s=20.0), state, batch, sgd, STEPS) for folder in folders]


@pytest.mark.parametrize("name", [name for name in ZOO if name not in RANDOM])
def test_any_plan_trains_as_one_device(name: str) -> None:
    source = front(name)
    cases = [drawn(name, plan) for plan in range(PLANS)]
    wanted = train_whole(source.loaded, BATCH, sgd, STEPS)
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(plan) for plan in range(PLANS)]
        for folder, case in zip(folders, cases, strict=True):
            folder.mkdir()
            compiled(source, case, folder)
        found = run_ranks(RANKS, train_all, folders, source.loaded.module.state_dict(), user_batch(source.loaded, BATCH))
    for case, trained in zip(cases, found[0], strict=True):
        compare(f"{case}: gradient of ", trained.gradients, wanted.gradients, smallest=SMALLEST_GRADIENT)
        compare(f"{case}: loss ", dict(enumerate(trained.losses)), dict(enumerate(wanted.losses)))
        compare(f"{case}: state ", trained.state, wanted.state)
