"""Dropout over ranks: every replica, microbatch, stage and step draws its own masks, reproducibly, as one device would draw them
in distribution.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autopart.frontend.load import loaded_from
from autopart.runtime import DistributedModule
from tests.fronts import front, front_of
from tests.parity.parity import Case, Part, on_ranks, user_batch

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
