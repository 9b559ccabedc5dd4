"""ZeRO computes what one device does, whatever stands around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autopart.frontend.load import batch_of
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import (
    BRIEF,
    FULL,
    SMALLEST_GRADIENT,
    Case,
    Part,
    compare,
    compare_trained,
    expected,
    gradients_of,
    loss_of,
    on_ranks,
    train_by_each,
    train_module,
    train_whole,
    user_batch,
)
from tests.parity.test_failures import until_it_fails
from tests.parity.test_training_loop import clipped, evaluated, frozen_later, joined, reordered, spare, whole
from tests.parity.test_weights import there_and_back

LEVELS = (1, 2, 3)
ROW_BYTES = 600  # so that even small models have many rows
State = dict[str, Tensor]


def case_at(level: int, *, tensor: int = 1, microbatches: int = 2, recompute: bool = False) -> Case:
    """Two stages of two and three replicas: the tied embedding of GPT-2 is in both, and is not shared out."""
    first, second = Part((2, 1), tensor=tensor, zero=level), Part((1, 1, 1), zero=level, recompute=recompute)
    return Case((first,) if tensor > 1 else (first, second), microbatches=microbatches)


def alone(level: int) -> Case:
    """One stage."""
    return Case((Part((2, 1, 1), zero=level),), microbatches=2)


def in_rows(module: DistributedModule, function: Callable[..., Any], *args: Any) -> Any:
    """``function(module, *args)`` with many rows."""
    small = DistributedModule(module.package, bucket_bytes=ROW_BYTES)
    held = module.full_state_dict()
    everywhere = [held]
    torch.distributed.broadcast_object_list(everywhere)
    small.load_state_dict(everywhere[0])
    return function(small, *args)


# Parity


@pytest.mark.parametrize(("level", "recompute"), [(1, False), (2, True), (3, False), (3, True)])
def test_trains_as_one_device_does(level: int, recompute: bool) -> None:
    assert_alike("gpt2", case_at(level, recompute=recompute), BRIEF)


@pytest.mark.parametrize("level", LEVELS)
def test_one_stage(level: int) -> None:
    assert_alike("gpt2", alone(level), FULL if level == LEVELS[-1] else BRIEF)


@pytest.mark.parametrize("level", [1, 3])
def test_with_columns(level: int) -> None:
    """What columns hold whole is shared out by all ranks of the stage, a shard by those of its column."""
    assert_alike("gpt2", case_at(level, tensor=2), BRIEF)


@pytest.mark.parametrize(("name", "level"), [("resnet", 1), ("resnet", 3), ("lstm", 3), ("dlrm", 2), ("unet", 3), ("t5", 3)])
def test_other_models(name: str, level: int) -> None:
    """Batch norm, kernels that read many parameters at once, a table with sparse gradients, reads out of order."""
    case = case_at(level)
    assert_alike(name, case.in_one_microbatch() if front(name).blocks.sharded.mixing else case, BRIEF)


def assert_alike(name: str, case: Case, training: Mapping[str, int]) -> None:
    source = front(name)
    job = (train_by_each, source.loaded.module.state_dict(), user_batch(source.loaded, case.batch), training)
    ranks = on_ranks(source, case, in_rows, *job)
    for optimizer, steps in training.items():
        compare_trained(optimizer, [rank[optimizer] for rank in ranks], expected(name, case.batch, optimizer, steps))


ELEMENTWISE = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.05),
    "fused": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, fused=True),
}


def by_optimizer(module: DistributedModule, state: State, batch: Any) -> dict[str, Any]:
    return {name: train_module(module, state, batch, optimizer, FULL["adamw"]) for name, optimizer in ELEMENTWISE.items()}


def test_other_optimizers() -> None:
    source, case = front("mlp"), alone(3)
    state, batch = source.loaded.module.state_dict(), user_batch(source.loaded, case.batch)
    ranks = on_ranks(source, case, in_rows, by_optimizer, state, batch)
    for name, optimizer in ELEMENTWISE.items():
        wanted = train_whole(source.loaded, case.batch, optimizer, FULL["adamw"])
        compare_trained(name, [rank[name] for rank in ranks], wanted)


# What a user writes


def without_decay(named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    named = list(named)
    decayed = [parameter for name, parameter in named if name.endswith("weight")]
    others = [parameter for name, parameter in named if not name.endswith("weight")]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": 0.5}, {"params": others, "weight_decay": 0.0}], lr=0.01)


def decayed_by_name(module: DistributedModule, batch: Any) -> State:
    optimizer = without_decay(module.named_parameters())
    for _ in range(3):
        optimizer.zero_grad()
        module.train_step(batch)
        optimizer.step()
    return module.full_state_dict()


@pytest.mark.parametrize("level", [1, 3])
def test_parameters_keep_their_names(level: int) -> None:
    source, case = front("mlp"), alone(level)
    found = on_ranks(source, case, in_rows, decayed_by_name, user_batch(source.loaded, case.batch))[0]
    module = whole(source)
    optimizer = without_decay(module.named_parameters())
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).backward()
        optimizer.step()
    compare("after 3 steps ", found, module.state_dict())


def parts_of(module: DistributedModule) -> dict[str, tuple[int, bool]]:
    """Elements that this rank updates, and whether a read outside of a step gives the same."""
    found = dict(module.named_parameters())
    return {name: (part.numel(), module.get_parameter(name) is part) for name, part in found.items()}


@pytest.mark.parametrize("level", LEVELS)
def test_every_element_is_updated_by_one_rank(level: int) -> None:
    source = front("gpt2")
    ranks = on_ranks(source, alone(level), in_rows, parts_of)
    for name, parameter in source.loaded.module.named_parameters():
        assert sum(rank[name][0] for rank in ranks) == parameter.numel()
        assert all(rank[name][1] for rank in ranks)
    held = [sum(count for count, _ in rank.values()) for rank in ranks]
    assert max(held) < 1.05 * min(held)


@pytest.mark.parametrize(("level", "limit", "kind"), [(1, 0.1, 2.0), (3, 0.01, float("inf"))])
def test_clips_every_element_once(level: int, limit: float, kind: float) -> None:
    source, case = front("gpt2"), case_at(level)
    ranks = on_ranks(source, case, in_rows, clipped, user_batch(source.loaded, case.batch), limit, kind)
    module = whole(source)
    loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).backward()
    wanted = nn.utils.clip_grad_norm_(module.parameters(), limit, kind)
    compare("", {f"norm on {i}": norm for i, (norm, _) in enumerate(ranks)}, {f"norm on {i}": wanted for i in range(len(ranks))})
    compare("gradient of ", ranks[0][1], gradients_of(module), smallest=SMALLEST_GRADIENT)


def accumulated(module: DistributedModule, batches: list[Any]) -> State:
    """Over three steps; the last does not replace what the others left."""
    for batch in batches:
        module.train_step(batch, scale=1 / len(batches))
    return module.full_gradients()


@pytest.mark.parametrize("level", LEVELS)
def test_gradients_accumulate_over_steps(level: int) -> None:
    source, case = front("gpt2"), case_at(level)
    batches = [reordered(source, case.batch, shift) for shift in range(3)]
    found = on_ranks(source, case, in_rows, accumulated, [joined(*batch) for batch in batches])[0]
    module = whole(source)
    for batch in batches:
        (loss_of(source.loaded, module, batch) / 3).backward()
    compare("gradient of ", found, gradients_of(module), smallest=SMALLEST_GRADIENT)


@pytest.mark.parametrize("level", [1, 3])
def test_frozen_unused_and_frozen_later(level: int) -> None:
    source, case = spare(), alone(level)
    without, again = on_ranks(source, case, in_rows, frozen_later, user_batch(source.loaded, case.batch))[0]
    module = whole(source)
    loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).backward()
    wanted = gradients_of(module)
    compare("gradient of ", again, wanted, smallest=SMALLEST_GRADIENT)
    kept = {name: gradient for name, gradient in wanted.items() if not name.startswith("first")}
    compare("gradient of ", without, kept, smallest=SMALLEST_GRADIENT)


def thawed(module: DistributedModule, batch: Any) -> State:
    module.train_step(batch)
    module.zero_grad()
    for name, parameter in module.named_parameters():
        if name.startswith("frozen"):
            parameter.requires_grad_(True)
    module.train_step(batch)
    return module.full_gradients()


@pytest.mark.parametrize("level", [1, 3])
def test_what_was_frozen_may_thaw(level: int) -> None:
    source, case = spare(), alone(level)
    found = on_ranks(source, case, in_rows, thawed, user_batch(source.loaded, case.batch))[0]
    module = whole(source)
    for name, parameter in module.named_parameters():
        if name.startswith("frozen"):
            parameter.requires_grad_(True)
    loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).backward()
    compare("gradient of ", found, gradients_of(module), smallest=SMALLEST_GRADIENT)


@pytest.mark.parametrize("level", [1, 3])
def test_state_goes_out_and_back(level: int) -> None:
    source, case = front("gpt2"), replace(case_at(level), unused=1)
    state, loss, again, same = on_ranks(source, case, in_rows, there_and_back, user_batch(source.loaded, case.batch))[0]
    module = whole(source)
    module.load_state_dict(state)
    module.eval()
    compare("", {"loss": loss}, {"loss": loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).detach()})
    assert loss == same
    assert all(torch.equal(again[key], tensor) for key, tensor in state.items())


@pytest.mark.parametrize("level", [1, 3])
def test_evaluation_changes_nothing(level: int) -> None:
    source, case = front("gpt2"), case_at(level)
    ranks = on_ranks(source, case, in_rows, evaluated, user_batch(source.loaded, case.batch))
    module = whole(source)
    module.load_state_dict(ranks[0][1])
    module.eval()
    wanted = loss_of(source.loaded, module, batch_of(source.loaded, case.batch)).detach()
    for loss, _, untouched in ranks:
        compare("", {"loss": loss}, {"loss": wanted})
        assert untouched


def test_a_killed_rank_stops_the_others() -> None:
    source, case, victim = front("mlp"), alone(3), 1
    job = (until_it_fails, user_batch(source.loaded, case.batch), victim, "killed")
    for rank, outcome in enumerate(on_ranks(source, case, *job, dying=[victim])):
        assert rank == victim or "stopped while" in outcome[1]
