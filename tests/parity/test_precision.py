"""float32 and bfloat16: close to the unsplit model in the same precision, as close as its rounding allows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.frontend.load import batch_of
from autopart.pipeline import Front
from autopart.plans import Settings
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import Case, Part, compare, gradients_of, loss_of, on_ranks, user_batch
from tests.zoo import ZOO

CASE = Case((Part((2, 1)), Part((3,), recompute=True)), microbatches=2)
HALF = torch.finfo(torch.bfloat16).eps / 2
State = dict[str, Tensor]


def one_step(module: DistributedModule, batch: Any) -> tuple[Tensor, State, list[torch.dtype]]:
    loss = module.train_step(batch)
    return loss, module.full_gradients(), [parameter.dtype for parameter in module.parameters()]


def whole(source: Front, batch: int) -> tuple[Tensor, State]:
    module = copy.deepcopy(source.loaded.module)
    loss = loss_of(source.loaded, module, batch_of(source.loaded, batch))
    loss.backward()
    return loss.detach().double(), gradients_of(module)


def case_of(name: str) -> Case:
    return CASE.in_one_microbatch() if ZOO[name].mixes_samples else CASE


@pytest.mark.parametrize("name", ["gpt2", "resnet", "dlrm", "fno", "lstm"])
def test_float32(name: str) -> None:
    source = front(name, precision="float32")
    (loss, gradients, dtypes), *others = on_ranks(source, case_of(name), one_step, user_batch(source.loaded, CASE.batch))
    wanted, wanted_gradients = whole(source, CASE.batch)
    compare("", {"loss": loss}, {"loss": wanted}, 1e-6)
    compare("gradient of ", gradients, wanted_gradients, 1e-4, smallest=1e-2)
    assert set(dtypes) == {torch.float32}
    assert all(torch.equal(other[0], loss) for other in others)


@pytest.mark.parametrize("name", ["gpt2", "bert", "resnet", "mlp", "masked_mean", "two_towers"])
def test_bfloat16_autocast(name: str) -> None:
    """The loss is that of the unsplit model under autocast; gradients are as near to those of float32 as that model's are.
    Neither equals float32, or autocast did nothing.
    """
    source = front(name, precision="bfloat16")
    settings = Settings(precision="bfloat16")
    (loss, gradients, dtypes), *_ = on_ranks(
        source, case_of(name), one_step, user_batch(source.loaded, CASE.batch), settings=settings
    )
    with torch.autocast("cpu", torch.bfloat16):
        wanted, rounded = whole(source, CASE.batch)
    exact_loss, exact = whole(source, CASE.batch)
    assert abs(loss - wanted) <= HALF * wanted
    assert abs(loss - exact_loss) > 1e-6 * exact_loss
    assert set(dtypes) == {torch.float32}
    assert gradients.keys() == exact.keys()
    assert 0 < distance(gradients, exact) <= 1.5 * distance(rounded, exact)


def distance(found: State, exact: State) -> float:
    """Of two models' gradients."""
    return torch.linalg.vector_norm(torch.cat([(found[name] - tensor).flatten() for name, tensor in exact.items()])).item()
