"""Gradient sums in many small buckets, sent while the backward runs."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.frontend.load import batch_of
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import Case, Part, compare, compiled, gradients_of, loss_of, user_batch
from tests.ranks import run_ranks

STEPS = 3


def _train(_: int, folder: Path, state: dict[str, Tensor], batch: Any) -> tuple[dict[str, Tensor], list[list[int]]]:
    """Gradients accumulated over some steps, and how many buckets had left when each last backward ended."""
    module = DistributedModule(folder, timeout_s=20.0, bucket_bytes=512)
    module.load_state_dict(state)
    assert module._executor is not None
    early: list[list[int]] = []
    for summer in module._executor.summers:
        early.append([])
        start = summer.start

        def spy(summer: Any = summer, start: Any = start, seen: list[int] = early[-1]) -> None:
            seen.append(summer._outbox.left)
            start()

        summer.start = spy  # type: ignore[method-assign]
    for _ in range(STEPS):
        module.train_step(batch)
    return module.full_gradients(), early


@pytest.mark.parametrize("name", ["gpt2", "resnet"])
def test_buckets_leave_during_the_backward(name: str) -> None:
    source = front(name)
    case = Case((Part((2, 1)), Part((1, 2), recompute=True)), microbatches=1 if name == "resnet" else 2)
    state, batch = source.loaded.module.state_dict(), user_batch(source.loaded, case.batch)
    with tempfile.TemporaryDirectory() as folder:
        compiled(source, case, Path(folder))
        ranks = run_ranks(case.ranks, _train, Path(folder), state, batch)
    compare("gradient of ", ranks[0][0], _whole(name, case.batch), smallest=1e-5)
    for _, early in ranks:
        own = early[0] if len(early) == 1 else max(early, key=max)
        assert own[0] == 0  # which parameters have a gradient is agreed in the first step
        assert all(count > 1 for count in own[1:])


def _whole(name: str, batch: int) -> dict[str, Tensor]:
    """The unsplit model's gradients after as many backwards."""
    loaded = front(name).loaded
    module = copy.deepcopy(loaded.module)
    for _ in range(STEPS):
        torch.autograd.backward(loss_of(loaded, module, batch_of(loaded, batch)))
    return gradients_of(module)
