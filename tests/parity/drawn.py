"""Plans drawn at random: cut between any two blocks, any shares, any order of ranks."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autopart.pipeline import Front
from autopart.runtime import DistributedModule
from tests.parity.parity import (
    SMALLEST_GRADIENT,
    Case,
    Part,
    Trained,
    compare,
    compiled,
    train_module,
    train_whole,
    user_batch,
)
from tests.ranks import run_ranks

BATCH, RANKS, PLANS, STEPS = 12, 4, 3, 2


def drawn(source: Front, seed: str) -> Case:
    """A plan for four processes, a microbatch of at least four samples."""
    draw, sharded, blocks = random.Random(seed), source.blocks.sharded, len(source.blocks.blocks)
    batchless = all(each.batch_dim is None for each in sharded.graph.inputs)
    microbatches = 1 if sharded.mixing else draw.choice([1, 2, 3])
    stages = draw.randint(1, min(blocks, RANKS))
    cuts = [0, *sorted(draw.sample(range(1, blocks), stages - 1)), blocks]
    replicas = [1] * stages
    for _ in range(0 if batchless else draw.randint(0, RANKS - stages)):
        replicas[draw.randrange(stages)] += 1
    parts = tuple(
        Part(_shares(draw, BATCH // microbatches, count), stop - start, draw.random() < 0.5)
        for count, (start, stop) in zip(replicas, pairwise(cuts), strict=True)
    )
    order = tuple(draw.sample(range(RANKS), sum(replicas)))
    return Case(parts, microbatches, draw.choice(["gpipe", "1f1b"]), RANKS - sum(replicas), order)


def _shares(draw: random.Random, rows: int, replicas: int) -> tuple[int, ...]:
    """Some rows for each."""
    cuts = [0, *sorted(draw.sample(range(1, rows), replicas - 1)), rows]
    return tuple(stop - start for start, stop in pairwise(cuts))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


def _train_all(_: int, folders: list[Path], state: Mapping[str, Tensor], batch: Any) -> list[Trained]:
    """Under every plan in turn, by the same processes."""
    return [train_module(DistributedModule(folder, timeout_s=20.0), state, batch, sgd, STEPS) for folder in folders]


def assert_parity_under_drawn_plans(source: Front, seed: str, plans: int = PLANS) -> None:
    cases = [drawn(source, f"{seed} {plan}") for plan in range(plans)]
    wanted = train_whole(source.loaded, BATCH, sgd, STEPS)
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(plan) for plan in range(plans)]
        for folder, case in zip(folders, cases, strict=True):
            folder.mkdir()
            compiled(source, case, folder)
        found = run_ranks(RANKS, _train_all, folders, source.loaded.module.state_dict(), user_batch(source.loaded, BATCH))
    for case, trained in zip(cases, found[0], strict=True):
        compare(f"{case}: gradient of ", trained.gradients, wanted.gradients, smallest=SMALLEST_GRADIENT)
        losses = ({f"{i}": loss for i, loss in enumerate(each.losses)} for each in (trained, wanted))
        compare(f"{case}: loss ", *losses)
        compare(f"{case}: state ", trained.state, wanted.state)
