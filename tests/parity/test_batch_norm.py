"""BatchNorm in its two meanings.

"global": statistics of the whole batch, as on one device. "local": every rank normalises its own rows of a microbatch, as
DistributedDataParallel does; the running statistics of a state dict are then those of a stage's first rank.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from autopart.errors import PlanError
from autopart.frontend.load import batch_of, loaded_from
from autopart.pipeline import Front
from autopart.plans import Settings
from autopart.runtime import DistributedModule
from tests.fronts import front_of
from tests.parity.parity import (
    OPTIMIZERS,
    Case,
    Part,
    assert_front_parity,
    close,
    compare,
    loss_of,
    on_ranks,
    train_whole,
    user_batch,
)
from tests.zoo.batches import floats, labels

LOCAL = Settings(precision="float64", batch_norm="local")
State = dict[str, Tensor]


def network(**options: Any) -> nn.Sequential:
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, **options), nn.ReLU())
    second = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8, momentum=0.3, eps=1e-3), nn.Tanh())
    return nn.Sequential(first, second, nn.Linear(8, 5))


def source(model: nn.Module, batch_norm: str = "global") -> Front:
    loaded = loaded_from(
        model, lambda n: (floats(n, 6),), loss=F.cross_entropy, example_targets=lambda n: (labels(n, 5),), precision="float64"
    )
    return front_of(loaded, batch_norm)


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"track_running_stats": False}])
def test_global_statistics_with_one_row_on_a_rank(options: dict[str, Any]) -> None:
    assert_front_parity(source(network(**options)), Case((Part((1, 1, 2)), Part((4,)))))


def buffers_after(module: DistributedModule, batch: Any, steps: int) -> State:
    for _ in range(steps):
        module.train_step(batch)
    return dict(module.named_buffers())


def test_running_statistics_are_alike_on_all_replicas() -> None:
    made = source(network())
    ranks = on_ranks(made, Case((Part((3, 1, 2)),)), buffers_after, user_batch(made.loaded, 6), 3)
    still = train_whole(made.loaded, 6, lambda parameters: torch.optim.SGD(parameters, lr=0.0), 3)
    for rank in ranks:
        compare("buffer ", rank, {name: still.state[name] for name in rank})
        assert rank["0.1.num_batches_tracked"] == 3


def eval_after_training(module: DistributedModule, batch: Any) -> tuple[Tensor, State, State]:
    optimizer = OPTIMIZERS["sgd"](module.parameters())
    module.train_step(batch)
    optimizer.step()
    before = module.full_state_dict()
    return module.eval_loss(batch), before, module.full_state_dict()


def test_evaluation_uses_running_statistics() -> None:
    made = source(network())
    ranks = on_ranks(made, Case((Part((3, 1)), Part((2, 2)))), eval_after_training, user_batch(made.loaded, 4))
    trained = copy.deepcopy(made.loaded.module)
    trained.load_state_dict(ranks[0][1])
    trained.eval()
    for loss, before, after in ranks:
        close("loss", loss, loss_of(made.loaded, trained, batch_of(made.loaded, 4)))
        assert all(torch.equal(after[name], before[name]) for name in before)


def test_frozen_statistics_need_no_other_rank() -> None:
    model = network()
    for norm in (model[0][1], model[1][1]):
        norm.eval()
        norm.running_mean.uniform_(-1, 1)
    made = source(model)
    assert not made.blocks.sharded.mixing
    assert_front_parity(made, Case((Part((2, 1)), Part((3,))), microbatches=2))


def test_global_statistics_need_one_microbatch() -> None:
    with pytest.raises(PlanError, match="2 microbatches, but the model mixes samples"):
        on_ranks(source(network()), Case((Part((2, 1)),), microbatches=2), buffers_after, None, 1)


def stages_by_hand(
    model: nn.Sequential, x: Tensor, y: Tensor, shares: list[tuple[int, ...]], cuts: list[int]
) -> list[list[State]]:
    """Forward and backward of 2 microbatches, every replica of a stage by itself; buffers by stage and replica."""
    stages = [model[a:b] for a, b in pairwise(cuts)]
    buffers = [[{n: b.clone() for n, b in s.named_buffers()} for _ in each] for s, each in zip(stages, shares, strict=True)]
    for rows, wanted in zip(x.chunk(2), y.chunk(2), strict=True):
        for stage, each, own in zip(stages, shares, buffers, strict=True):
            parts = rows.split(each)
            rows = torch.cat([functional_call(stage, state, (part,)) for state, part in zip(own, parts, strict=True)])
        (F.cross_entropy(rows, wanted, reduction="sum") / len(y)).backward()
    return buffers


def one_step(module: DistributedModule, batch: Any) -> tuple[State, State, State]:
    module.train_step(batch)
    return module.full_gradients(), module.full_state_dict(), {name: b.clone() for name, b in module.named_buffers()}


def test_local_statistics_by_hand() -> None:
    made = source(network(), "local")
    assert not made.blocks.sharded.mixing
    case = Case((Part((4, 2)), Part((6,), 2.0, recompute=True)), microbatches=2)
    assert list(made.blocks.index) == ["0", "1", "2"]
    ranks = on_ranks(made, case, one_step, user_batch(made.loaded, 12), settings=LOCAL)
    model = copy.deepcopy(made.loaded.module)
    (x,), (y,) = batch_of(made.loaded, 12)
    (one, two), (last,) = stages_by_hand(model, x, y, [(4, 2), (6,)], [0, 1, 3])
    gradients, state, _ = ranks[0]
    compare("gradient of ", gradients, {name: p.grad for name, p in model.named_parameters()}, smallest=1e-5)
    for (_, _, found), wanted in zip(ranks, (one, two, last), strict=True):
        compare("buffer ", found, wanted)
    compare("gathered ", {name: state[name] for name in one}, one)
    assert not torch.allclose(one["0.1.running_mean"], two["0.1.running_mean"])


def beside_ddp(module: DistributedModule, model: nn.Module, batch: Any) -> tuple[State, State, State, State]:
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.1)]
    replica = DistributedDataParallel(copy.deepcopy(model))
    optimizers.append(torch.optim.SGD(replica.parameters(), lr=0.1))
    ((x,), (y,)), share = batch, module.share
    mine = torch.tensor(list(share.rows()))
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        module.train_step(batch)
        F.cross_entropy(replica(x[mine]), y[mine]).backward()
        for optimizer in optimizers:
            optimizer.step()
    gradients = {name: parameter.grad for name, parameter in replica.module.named_parameters()}
    return module.full_gradients(), gradients, module.full_state_dict(), replica.module.state_dict()


def test_local_statistics_are_those_of_ddp() -> None:
    made = source(network(), "local")
    case = Case((Part((4, 4)),))
    ours, theirs, state, wanted = on_ranks(
        made, case, beside_ddp, made.loaded.module, user_batch(made.loaded, 8), settings=LOCAL
    )[0]
    compare("gradient of ", ours, theirs, smallest=1e-5)
    compare("after 3 steps ", state, wanted)
