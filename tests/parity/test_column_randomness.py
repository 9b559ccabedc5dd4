"""Dropout over columns: where a value is whole on every column the masks are those of one device; where it is split a forward
that is run again replays those of its column (that columns draw different ones is in ``test_columns.py``).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import TOLERANCE, Case, Part, compare, on_ranks, user_batch
from tests.parity.test_randomness import steps

WHOLE = (("*:dropout", "R"), ("*:scaled_dot_product_attention", "R"), ("*.mlp.c_proj:addmm", "P S(1) S(0) -> P"))
SPLIT = (("*:dropout", "S(2)"), ("*:scaled_dot_product_attention", "S(1)"))


@pytest.mark.parametrize("recompute", [False, True])
def test_whole_values_are_masked_as_on_one_device(recompute: bool) -> None:
    """The same seed, the same draws: losses and gradients are those of a plan without columns."""
    source = front("gpt2_dropout")
    batch = user_batch(source.loaded, 4)
    alone = on_ranks(source, Case((Part((2,)),), microbatches=2), steps, batch, [3])[0][0]
    columns = Case((Part((2,), tensor=2, layouts=WHOLE, recompute=recompute),), microbatches=2)
    losses, gradients = on_ranks(source, columns, steps, batch, [3])[0][0]
    compare("loss of step ", by_step(losses), by_step(alone[0]))
    compare("gradient of ", gradients, alone[1], TOLERANCE)


def by_step(losses: list[Tensor]) -> dict[str, Tensor]:
    return {str(step): loss for step, loss in enumerate(losses)}


def test_a_forward_that_is_run_again_replays_the_masks_of_its_column() -> None:
    source = front("gpt2_dropout")
    batch = user_batch(source.loaded, 4)
    cases = [Case((Part((2,), tensor=2, layouts=SPLIT, recompute=again),), microbatches=2) for again in (False, True)]
    (once, gradients), (again, others) = (on_ranks(source, case, steps, batch, [3])[0][0] for case in cases)
    assert once == again
    assert all(torch.equal(gradient, others[name]) for name, gradient in gradients.items())


def test_evaluation_drops_nothing() -> None:
    source = front("gpt2_dropout")
    batch = user_batch(source.loaded, 4)
    cases = (Case((Part((2,)),), microbatches=2), Case((Part((2,), tensor=2, layouts=SPLIT),), microbatches=2))
    alone, columns = (on_ranks(source, case, evaluated, batch)[0] for case in cases)
    compare("loss ", {"loss": columns}, {"loss": alone})


def evaluated(module: DistributedModule, batch: Any) -> Tensor:
    return module.eval_loss(batch)
