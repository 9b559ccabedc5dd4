"""What a user writes around train_step: clipping, accumulation, schedulers, samplers, freezing, evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from autopart.frontend.load import batch_of, loaded_from
from autopart.pipeline import Front
from autopart.runtime import DistributedModule, ShardSampler, pick
from tests.fronts import front, front_of
from tests.parity.parity import (
    OPTIMIZERS,
    SMALLEST_GRADIENT,
    Case,
    Part,
    assert_front_parity,
    close,
    compare,
    gradients_of,
    loss_of,
    on_ranks,
    user_batch,
)
from tests.zoo.batches import floats

CASE = Case((Part((2, 1)), Part((3,))), microbatches=2, unused=1)
ROUNDING = 1e-14  # in float64: a part of a larger tensor may be aligned otherwise, and so be added up in another order
State = dict[str, Tensor]


def whole(source: Front) -> nn.Module:
    return copy.deepcopy(source.loaded.module)


def compare_gradients(found: State, module: nn.Module) -> None:
    compare("gradient of ", found, gradients_of(module), smallest=SMALLEST_GRADIENT)


# Clipping


def clipped(module: DistributedModule, batch: Any, limit: float, kind: float) -> tuple[Tensor, State]:
    module.train_step(batch)
    return module.clip_grad_norm_(limit, kind), module.full_gradients()


@pytest.mark.parametrize(("limit", "kind"), [(0.1, 2.0), (0.01, float("inf")), (0.5, 1.0), (1e3, 2.0)])
def test_clips_as_torch_does(limit: float, kind: float) -> None:
    source = front("gpt2")
    ranks = on_ranks(source, CASE, clipped, user_batch(source.loaded, CASE.batch), limit, kind)
    module = whole(source)
    loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).backward()
    wanted = nn.utils.clip_grad_norm_(module.parameters(), limit, kind)
    for norm, _ in ranks:
        close("norm", norm, wanted)
    compare_gradients(ranks[0][1], module)


# Accumulation and schedulers


def accumulated(module: DistributedModule, batches: list[Any]) -> tuple[list[Tensor], State]:
    losses = [module.train_step(batch, scale=1 / len(batches)) for batch in batches]
    return losses, module.full_gradients()


@pytest.mark.parametrize("name", ["gpt2", "dlrm", "masked_mean"])
def test_gradients_accumulate_over_steps(name: str) -> None:
    source = front(name)
    batches = [reordered(source, CASE.batch, shift) for shift in range(3)]
    losses, gradients = on_ranks(source, CASE, accumulated, [joined(*batch) for batch in batches])[0]
    module = whole(source)
    for batch, found in zip(batches, losses, strict=True):
        loss = loss_of(source.loaded, module, batch)
        (loss / 3).backward()
        close("loss", found, loss.detach())
    assert len(set(losses)) == 3
    compare_gradients(gradients, module)


def reordered(source: Front, size: int, shift: int) -> tuple[Any, tuple[Any, ...]]:
    """Another batch: the next samples of twice as many."""
    inputs, targets = batch_of(source.loaded, 2 * size)
    rows = slice(shift, shift + size)
    chosen = {key: value[rows] for key, value in inputs.items()} if isinstance(inputs, dict) else tuple(x[rows] for x in inputs)
    return chosen, tuple(target[rows] for target in targets)


def joined(inputs: Any, targets: tuple[Any, ...]) -> Any:
    return (inputs, targets) if targets else inputs


def cosine(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=1e-3)


def trained_with_scheduler(parameters: Any, step: Callable[[], None]) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=0.05)
    scheduler = cosine(optimizer)
    for _ in range(6):
        optimizer.zero_grad()
        step()
        optimizer.step()
        scheduler.step()


def scheduled(module: DistributedModule, batch: Any) -> tuple[State, State]:
    trained_with_scheduler(module.parameters(), lambda: module.train_step(batch))
    return module.full_state_dict(), {name: p.detach().clone() for name, p in module.named_parameters()}


def test_a_scheduler_in_the_loop_and_tied_weights() -> None:
    """The tied embedding of GPT-2 is on three ranks of two stages, and stays the same bit by bit."""
    source = front("gpt2")
    ranks = on_ranks(source, CASE, scheduled, user_batch(source.loaded, CASE.batch))
    module, data = whole(source), batch_of(source.loaded, CASE.batch)
    trained_with_scheduler(module.parameters(), lambda: loss_of(source.loaded, module, data).backward())
    compare("after 6 steps ", ranks[0][0], module.state_dict())
    tied = [held["transformer.wte.weight"] for _, held in ranks if held]
    assert len(tied) == 3
    assert all(torch.equal(tied[0], other) for other in tied)
    assert torch.equal(ranks[0][0]["lm_head.weight"], tied[0])


def in_small_buckets(module: DistributedModule, batch: Any, state: State) -> tuple[list[State], int]:
    """Gradients of three steps; from the second on buckets leave while the last backward still runs."""
    small = DistributedModule(module.package, bucket_bytes=200)
    small.load_state_dict(state)
    found = []
    for _ in range(3):
        small.zero_grad()
        small.train_step(batch)
        found.append(small.full_gradients())
    return found, sum(len(summer._buckets) for summer in small._executor.summers) if small._executor else 0


@pytest.mark.parametrize("name", ["gpt2", "dlrm"])
def test_gradients_are_summed_in_buckets(name: str) -> None:
    source = front(name)
    state = source.loaded.module.state_dict()
    ranks = on_ranks(source, CASE, in_small_buckets, user_batch(source.loaded, CASE.batch), state)
    module = whole(source)
    loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).backward()
    for gradients in ranks[0][0]:
        compare_gradients(gradients, module)
    assert all(buckets > 5 for _, buckets in ranks[1:3])


# Data


def sampled(module: DistributedModule, data: Any, samples: int) -> list[tuple[Tensor, Tensor, State, State]]:
    """Each batch by the rank's own rows, then whole."""
    own = ShardSampler(module, samples, seed=7)
    everybody = ShardSampler(module, samples, seed=7)
    everybody.share = type(own.share)(own.share.batch, own.share.microbatches, 0, own.share.microbatch)
    found = []
    for epoch in range(2):
        own.set_epoch(epoch)
        everybody.set_epoch(epoch)
        for rows, all_rows in zip(own, everybody, strict=True):
            results = []
            for batch, local in ((pick(module, data, rows), True), (pick(module, data, all_rows), False)):
                module.zero_grad()
                module.step = 0
                results.append((module.train_step(batch, local=local), module.full_gradients()))
            found.append((results[0][0], results[1][0], results[0][1], results[1][1]))
    return found


@pytest.mark.parametrize("name", ["gpt2", "dlrm", "lstm"])
def test_own_rows_are_the_whole_batch(name: str) -> None:
    source = front(name)
    ranks = on_ranks(source, CASE, sampled, user_batch(source.loaded, 20), 20)
    for rank in ranks:
        assert len(rank) == 2 * (20 // CASE.batch)
        for own, whole_batch, *_ in rank:
            close("loss", own, whole_batch, ROUNDING)
    for _, _, own_gradients, gradients in ranks[0]:
        compare("gradient of ", own_gradients, gradients, ROUNDING)
    assert len({own.item() for own, *_ in ranks[0]}) == len(ranks[0])


def sums_of_a_step(module: DistributedModule, data: Any) -> list[tuple[int, int]]:
    """How many a rank waits for where it starts them, and all, by a whole batch and by the rank's own rows."""
    module.train_step(data)  # which parameters have a gradient is agreed once
    found = []
    for batch, local in ((data, False), (pick(module, data, list(module.share.rows())), True)):
        with patch.object(dist, "all_reduce", wraps=dist.all_reduce) as sums:
            module.train_step(batch, local=local)
        found.append((sum(not call.kwargs.get("async_op") for call in sums.call_args_list), sums.call_count))
    return found


def test_a_whole_batch_is_counted_without_a_message() -> None:
    """Own rows take one more sum, which a rank waits for; those of the loss and of gradients run beside its backward."""
    source, case = front("gpt2"), Case((Part((2, 1, 1)),), microbatches=2)
    for rank in on_ranks(source, case, sums_of_a_step, user_batch(source.loaded, case.batch)):
        assert rank == [(0, 2), (1, 3)]


def loaded_rows(module: DistributedModule, dataset: Any) -> list[Tensor]:
    loader = DataLoader(dataset, batch_sampler=ShardSampler(module, len(dataset), shuffle=False))
    return [module.train_step(((dense, bags), (clicked,)), local=True) for dense, bags, clicked in loader]


def test_a_data_loader_takes_the_sampler_on_every_rank() -> None:
    source = front("dlrm")
    inputs, targets = batch_of(source.loaded, 18)
    ranks = on_ranks(source, CASE, loaded_rows, TensorDataset(*inputs, *targets))
    for rank in ranks:
        assert len(rank) == 3
        for i, loss in enumerate(rank):
            rows = slice(i * CASE.batch, (i + 1) * CASE.batch)
            batch = (tuple(each[rows] for each in inputs), tuple(each[rows] for each in targets))
            close("loss", loss, loss_of(source.loaded, whole(source), batch).detach())


# Parameters that are not trained


class Spare(nn.Module):
    """One layer frozen, one that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(4, 6)
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.unused = nn.Linear(3, 3)
        self.last = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.frozen(torch.tanh(self.first(x))))).square().mean()


def spare() -> Front:
    return front_of(loaded_from(Spare(), lambda n: (floats(n, 4),), precision="float64"))


def grads_by_rank(module: DistributedModule, batch: Any) -> dict[str, bool]:
    module.train_step(batch)
    return {name: parameter.grad is None for name, parameter in module.named_parameters()}


def test_frozen_and_unused_parameters_have_no_gradient() -> None:
    source = spare()
    assert_front_parity(source, CASE)
    for rank in on_ranks(source, CASE, grads_by_rank, user_batch(source.loaded, CASE.batch)):
        assert {name: name.startswith(("frozen", "unused")) for name in rank} == rank


def frozen_later(module: DistributedModule, batch: Any) -> tuple[State, State]:
    """One step, then without the first layer, then with it again."""
    mine = [p for name, p in module.named_parameters() if name.startswith("first")]
    module.train_step(batch)
    module.zero_grad()
    for parameter in mine:
        parameter.requires_grad_(False)
    module.train_step(batch)
    without = module.full_gradients()
    for parameter in mine:
        parameter.requires_grad_(True)
    module.zero_grad()
    module.train_step(batch)
    return without, module.full_gradients()


def test_freezing_and_thawing_between_steps() -> None:
    source = spare()
    without, again = on_ranks(source, CASE, frozen_later, user_batch(source.loaded, CASE.batch))[0]
    module = whole(source)
    loss_of(source.loaded, module, batch_of(source.loaded, CASE.batch)).backward()
    compare_gradients(again, module)
    wanted = {name: gradient for name, gradient in gradients_of(module).items() if not name.startswith("first")}
    compare("gradient of ", without, wanted, smallest=SMALLEST_GRADIENT)


# Evaluation


def evaluated(module: DistributedModule, batch: Any) -> tuple[Tensor, State, bool]:
    optimizer = OPTIMIZERS["adamw"](module.parameters())
    module.train_step(batch)
    optimizer.step()
    before = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    loss = module.eval_loss(batch)
    after = [p.grad for p in module.parameters()]
    untouched = all(a is b is None or torch.equal(a, b) for a, b in zip(before, after, strict=True))
    return loss, module.full_state_dict(), untouched and module.training and module.step == 1


@pytest.mark.parametrize("name", ["gpt2_dropout", "dict_output", "resnet"])
def test_evaluation_is_that_of_the_unsplit_model(name: str) -> None:
    source = front(name)
    case = CASE.in_one_microbatch() if source.blocks.sharded.mixing else CASE
    ranks = on_ranks(source, case, evaluated, user_batch(source.loaded, case.batch))
    module = whole(source)
    module.load_state_dict(ranks[0][1])
    module.eval()
    wanted = loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).detach()
    for loss, _, untouched in ranks:
        close("loss", loss, wanted)
        assert untouched
