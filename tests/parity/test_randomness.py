"""Dropout over ranks: every replica, microbatch, stage and step draws its own masks, reproducibly, as one device would draw them
in distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopart.frontend.load import loaded_from
from autopart.ir.analysis import ALWAYS_RANDOM, RATES
from autopart.runtime import DistributedModule
from tests.fronts import front, front_of
from tests.parity.parity import Case, Part, on_ranks, user_batch
from tests.zoo.batches import floats

CASE = Case((Part((3, 1)), Part((4,))), microbatches=3)
State = dict[str, Tensor]


def steps(module: DistributedModule, batch: Any, seeds: list[int]) -> list[tuple[list[Tensor], State]]:
    """By seed: the losses of two steps of the same weights, and the sum of their gradients."""
    found = []
    for module.seed in seeds:
        module.step = 0
        module.zero_grad()
        losses = [module.train_step(batch) for _ in range(2)]
        found.append((losses, module.full_gradients()))
    return found


@pytest.mark.parametrize("name", ["gpt2_dropout", "bert_dropout", "dict_output"])
def test_masks_follow_from_the_seed_and_the_step(name: str) -> None:
    source = front(name)
    batch = user_batch(source.loaded, CASE.batch)
    first, again, other = on_ranks(source, CASE, steps, batch, [3, 3, 4])[0]
    assert first[0] == again[0]
    assert all(torch.equal(gradient, again[1][key]) for key, gradient in first[1].items())
    assert len({*first[0], *other[0]}) == 4


@pytest.mark.parametrize("name", ["gpt2_dropout", "bert_dropout", "dict_output"])
def test_recomputation_replays_the_masks(name: str) -> None:
    source = front(name)
    batch = user_batch(source.loaded, CASE.batch)
    again = replace(CASE, parts=tuple(replace(part, recompute=True) for part in CASE.parts), schedule="gpipe")
    (((losses, gradients),), *_), (((replayed, others),), *_) = (
        on_ranks(source, case, steps, batch, [3]) for case in (CASE, again)
    )
    assert losses == replayed
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradient, others[key]) for key, gradient in gradients.items())


class Kept(nn.Module):
    """Of ones, what dropout keeps; scaled up, so that the mean is one in expectation."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.drop = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x * self.scale).mean()


def many_losses(module: DistributedModule, batch: Any, count: int) -> Tensor:
    return torch.stack([module.train_step(batch) for _ in range(count)])


@pytest.mark.parametrize("shares", [(3, 1), (2, 2), (4,)])
def test_as_many_are_dropped_as_on_one_device(shares: tuple[int, ...]) -> None:
    """The mean of n kept ones has mean 1 and variance p / (1 - p) / n, if all masks are independent: masks that repeat between
    two replicas or three microbatches would give twice or three times that.
    """
    rate, features, count = 0.3, 40, 300
    source = front_of(loaded_from(Kept(rate), lambda n: (torch.ones(n, features),), precision="float64"))
    case = Case((Part(shares),), microbatches=3)
    losses = on_ranks(source, case, many_losses, user_batch(source.loaded, case.batch), count)[0]
    variance = rate / (1 - rate) / (case.batch * features)
    assert abs(losses.mean().item() - 1) < 4 * (variance / count) ** 0.5
    assert losses.var().item() / variance == pytest.approx(1, abs=4 * (2 / count) ** 0.5)


def own_numbers(module: DistributedModule, batch: Any) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    module.train_step(batch)
    return undisturbed, torch.rand(3)


def test_the_users_random_numbers_go_on_undisturbed() -> None:
    source = front("dict_output")
    for before, after in on_ranks(source, CASE, own_numbers, user_batch(source.loaded, CASE.batch)):
        assert torch.equal(before, after)


class Noisy(nn.Module):
    """Layers around one random operation."""

    def __init__(self, draw: Callable[[Tensor], Tensor] | None, **modules: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.draw = nn.Linear(6, 8), nn.Linear(8, 1), draw
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.second(torch.tanh(self.draw(h) if self.draw else self.layer(h))).square().mean()


class Layer(nn.Module):
    """A module that takes sequences, on samples of two steps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(1, (2, 4))
        found = self.layer(x, x, x, need_weights=False) if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
        return (found[0] if isinstance(found, tuple) else found).flatten(1)


NOISY = {
    "gaussian": lambda: Noisy(lambda h: h + torch.randn_like(h) * 0.3),
    "uniform": lambda: Noisy(lambda h: h * torch.rand(h.shape)),
    "bernoulli": lambda: Noisy(lambda h: h * torch.bernoulli(torch.full_like(h, 0.5))),
    "gumbel": lambda: Noisy(lambda h: F.gumbel_softmax(h, tau=0.7)),
    "shuffled_features": lambda: Noisy(lambda h: h[:, torch.randperm(8)]),
    "leaky": lambda: Noisy(lambda h: F.rrelu(h, training=True)),
    "alpha": lambda: Noisy(lambda h: F.alpha_dropout(h, 0.4, training=True)),
    "attention": lambda: Noisy(None, layer=Layer(nn.MultiheadAttention(4, 1, dropout=0.4, batch_first=True))),
    "lstm": lambda: Noisy(None, layer=Layer(nn.LSTM(4, 4, 2, dropout=0.4, batch_first=True))),
}


@pytest.mark.parametrize("name", NOISY)
def test_every_random_operation_follows_from_the_seed(name: str) -> None:
    source = front_of(loaded_from(NOISY[name](), lambda n: (floats(n, 6),), precision="float64"))
    batch = user_batch(source.loaded, CASE.batch)
    again = replace(CASE, parts=tuple(replace(part, recompute=True) for part in CASE.parts))
    first, same, other = on_ranks(source, CASE, steps, batch, [3, 3, 4])[0]
    replayed = on_ranks(source, again, steps, batch, [3])[0][0]
    assert first[0] == same[0] == replayed[0]
    assert len({*first[0], *other[0]}) == 4
    for key, gradient in first[1].items():
        assert torch.equal(gradient, same[1][key])
        assert torch.equal(gradient, replayed[1][key])


def test_every_operation_that_torch_calls_random_is_known() -> None:
    """Of the public ones: names with an underscore, and one more, are kernels, which no trace has."""
    names = [name.removeprefix("aten::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    random = set()
    for name, _, overload in (name.partition(".") for name in names if not name.startswith("_")):
        if torch.Tag.nondeterministic_seeded in getattr(getattr(torch.ops.aten, name), overload or "default").tags:
            random.add(name)
    assert len(random) > 40
    assert random - ALWAYS_RANDOM - set(RATES) == {"miopen_rnn"}
