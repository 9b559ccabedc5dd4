"""A rank that dies, hangs or fails: the others say so within the timeout, and end."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import torch

from autopart.errors import InputError, RunError
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import Case, Part, on_ranks, user_batch

CASE = Case((Part((2, 1)), Part((3,))), microbatches=2, unused=1)
PATIENCE_S = 4.0  # of a rank that waits for one that hangs
AT_ONCE_S = 8.0  # far below the default timeout, on a busy machine


def until_it_fails(module: DistributedModule, batch: Any, victim: int, how: str) -> tuple[float, str]:
    """One good step, then one in which the victim is lost; how long that took, and what was said. An idle rank is
    waited for by those who tell it the loss, a step later, and what they say is missed by others in the step after that.
    """
    module.train_step(batch)
    if module.rank == victim:
        lose(how)
    started = time.monotonic()
    with pytest.raises(RunError) as caught:
        train(module, batch, steps=1 if victim in module.package.program.actions else 4)
    return time.monotonic() - started, str(caught.value)


def train(module: DistributedModule, batch: Any, steps: int) -> None:
    for _ in range(steps):
        module.train_step(batch)


def lose(how: str) -> None:
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1e6)


@pytest.mark.parametrize("victim", [0, 1, 2, 3])
def test_a_killed_rank_stops_the_others_at_once(victim: int) -> None:
    source = front("mlp")
    found = on_ranks(source, CASE, until_it_fails, user_batch(source.loaded, CASE.batch), victim, "killed", dying=[victim])
    for rank, outcome in enumerate(found):
        if rank != victim:
            elapsed, said = outcome
            assert elapsed < AT_ONCE_S
            assert "stopped while " in said
            assert "Another rank died" in said


def test_a_hung_rank_stops_the_others_after_the_timeout() -> None:
    source = front("mlp")
    victim = 2
    found = on_ranks(
        source, CASE, until_it_fails, user_batch(source.loaded, CASE.batch), victim, "hangs", dying=[victim], timeout_s=PATIENCE_S
    )
    for rank, outcome in enumerate(found):
        if rank != victim:
            elapsed, said = outcome
            assert elapsed < 2 * PATIENCE_S
            assert "stopped while " in said


def wrong_batch(module: DistributedModule, batches: list[Any]) -> list[str]:
    said = []
    for batch in batches:
        with pytest.raises(InputError) as caught:
            module.train_step(batch)
        said.append(str(caught.value))
    return said


def test_a_batch_that_does_not_fit_is_refused_before_any_message() -> None:
    source = front("mlp")
    (x,), (y,) = user_batch(source.loaded, 6)
    bad = [((x[:5],), (y[:5],)), ((x[:, :1],), (y,)), (x,), "no batch"]
    for said in on_ranks(source, CASE, wrong_batch, bad):
        assert all("the batch" in text for text in said)


def after_an_error(module: DistributedModule, batch: Any, poison: Any) -> tuple[float, float]:
    """The model's own code fails on all ranks of the only stage; the next step is sound."""
    first = module.train_step(batch)
    module.zero_grad()
    with pytest.raises(RuntimeError, match="found idx to be 99"):
        module.train_step(poison)
    return first.item(), module.train_step(batch).item()


def test_an_error_of_the_model_says_where_and_leaves_no_trace() -> None:
    source = front("dlrm")
    case = Case((Part((2, 1)),), microbatches=2)
    batch = user_batch(source.loaded, case.batch)
    (dense, bags), targets = batch
    found = on_ranks(source, case, after_an_error, batch, ((dense, torch.full_like(bags, 99)), targets))
    assert all(before == after for before, after in found)


def a_step(module: DistributedModule, batch: Any) -> float:
    """An idle rank comes late, when the others have ended."""
    if module.rank not in module.package.program.actions:
        time.sleep(1.0)
    return module.train_step(batch).item()


def test_an_idle_rank_that_is_late_knows_the_loss_of_the_last_step() -> None:
    source = front("mlp")
    found = on_ranks(source, CASE, a_step, user_batch(source.loaded, CASE.batch))
    assert len(set(found)) == 1
    assert len(found) > CASE.ranks - CASE.unused
