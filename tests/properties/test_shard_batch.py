"""Small functions, each with one thing that a batch dim can run into: split, they give loss and gradients of one device."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopart.errors import TraceError
from autopart.frontend.interpret import run as run_whole
from autopart.frontend.load import examples, loaded_from
from autopart.frontend.trace import trace
from autopart.ir.verify import verify
from autopart.sharding import comm
from autopart.sharding.batch import ShardedGraph, describe, shard_batch
from tests import lockstep

ROWS = 12
RUNS = (((12,), 1), ((5, 7), 1), ((1, 8, 3), 1), ((1, 3), 3))


class Model(nn.Module):
    """A weight and a bias, and a function of them, of floats [b, 4, 5] and of classes [b, 4]."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(5, 5) / 2)
        self.bias = nn.Parameter(torch.randn(5))
        self.register_buffer("classes", torch.tensor([0.5, 1.0, 2.0, 0.25, 1.5]))
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.function(self, x, labels)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight + self.bias)


def inputs(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    labels = torch.randint(0, 5, (n, 4), generator=generator)
    labels[torch.rand(n, 4, generator=generator) < 0.3] = -100
    return torch.randn(n, 4, 5, generator=generator), labels


@dataclass(frozen=True)
class Case:
    function: Callable[..., Tensor]
    mixes: bool = False
    statistics: int = 0


def safe(labels: Tensor) -> Tensor:
    return labels.clamp(min=0)


CASES: dict[str, Case] = {
    # means
    "mean": Case(lambda m, x, y: m.hidden(x).mean()),
    "mean of means": Case(lambda m, x, y: m.hidden(x).mean(1).mean()),
    "mean over batch, then a product": Case(lambda m, x, y: (m.hidden(x).mean(0) * 2).sum()),
    "sum over size": Case(lambda m, x, y: m.hidden(x).sum() / x.shape[0]),
    "sum over numel": Case(lambda m, x, y: m.hidden(x).sum() / x.numel()),
    "keepdim": Case(lambda m, x, y: m.hidden(x).mean((0, 1), keepdim=True).sum()),
    # losses
    "cross entropy": Case(lambda m, x, y: F.cross_entropy(m.hidden(x).transpose(1, 2), y), statistics=1),
    "cross entropy, flat": Case(lambda m, x, y: F.cross_entropy(m.hidden(x).view(-1, 5), y.view(-1)), statistics=1),
    "cross entropy, weights": Case(lambda m, x, y: F.cross_entropy(m.hidden(x).view(-1, 5), y.view(-1), m.classes), statistics=1),
    "cross entropy, smoothing": Case(
        lambda m, x, y: F.cross_entropy(m.hidden(x).view(-1, 5), y.view(-1), m.classes, label_smoothing=0.1), statistics=1
    ),
    "cross entropy, other index": Case(
        lambda m, x, y: F.cross_entropy(m.hidden(x).view(-1, 5), safe(y).view(-1), ignore_index=0), statistics=1
    ),
    "cross entropy, probabilities": Case(lambda m, x, y: F.cross_entropy(m.hidden(x)[:, 0], x[:, 0].softmax(-1), m.classes)),
    "cross entropy, probabilities and positions": Case(
        lambda m, x, y: F.cross_entropy(m.hidden(x).transpose(1, 2), x.softmax(-1).transpose(1, 2), label_smoothing=0.2)
    ),
    "cross entropy, sum": Case(lambda m, x, y: F.cross_entropy(m.hidden(x).view(-1, 5), y.view(-1), reduction="sum")),
    "nll": Case(lambda m, x, y: F.nll_loss(m.hidden(x).log_softmax(-1).transpose(1, 2), y, m.classes), statistics=1),
    "nll of a shifted sequence": Case(
        lambda m, x, y: F.cross_entropy(m.hidden(x)[:, :-1].reshape(-1, 5), y[:, 1:].reshape(-1)), statistics=1
    ),
    "mse": Case(lambda m, x, y: F.mse_loss(m.hidden(x), x)),
    "l1": Case(lambda m, x, y: F.l1_loss(m.hidden(x), x)),
    "smooth l1": Case(lambda m, x, y: F.smooth_l1_loss(m.hidden(x), x, beta=0.3)),
    "huber": Case(lambda m, x, y: F.huber_loss(m.hidden(x), x, delta=0.3)),
    "bce": Case(lambda m, x, y: F.binary_cross_entropy(m.hidden(x).sigmoid(), x.sigmoid(), weight=m.classes)),
    "bce, logits": Case(lambda m, x, y: F.binary_cross_entropy_with_logits(m.hidden(x), x.sigmoid(), pos_weight=m.classes)),
    "kl, mean": Case(lambda m, x, y: F.kl_div(m.hidden(x).log_softmax(-1), x.softmax(-1), reduction="mean")),
    "kl, batchmean": Case(lambda m, x, y: F.kl_div(m.hidden(x).log_softmax(-1), x.softmax(-1), reduction="batchmean")),
    "poisson": Case(lambda m, x, y: F.poisson_nll_loss(m.hidden(x), x.abs())),
    "hinge": Case(lambda m, x, y: F.hinge_embedding_loss(m.hidden(x), x.sign())),
    "margin": Case(lambda m, x, y: F.margin_ranking_loss(m.hidden(x), x, x.sign(), margin=0.1)),
    "cosine": Case(lambda m, x, y: F.cosine_embedding_loss(m.hidden(x)[:, 0], x[:, 1], x[:, 0, 0].sign())),
    "triplet": Case(lambda m, x, y: F.triplet_margin_loss(m.hidden(x)[:, 0], x[:, 1], x[:, 2])),
    "multi margin": Case(lambda m, x, y: F.multi_margin_loss(m.hidden(x)[:, 0], safe(y)[:, 0])),
    "soft margin": Case(lambda m, x, y: F.soft_margin_loss(m.hidden(x), x.sign())),
    # statistics
    "masked mean": Case(lambda m, x, y: (m.hidden(x).sum(-1) * (y >= 0)).sum() / (y >= 0).sum(), statistics=1),
    "masked mean, clamped": Case(
        lambda m, x, y: (m.hidden(x).sum(-1) * (y >= 0)).sum() / (y >= 0).sum().clamp(min=1), statistics=1
    ),
    "weights normalised over the batch": Case(
        lambda m, x, y: (m.hidden(x).sum(-1) * (x[..., 0] ** 2 / (x[..., 0] ** 2).sum())).sum(), statistics=1
    ),
    "centred inputs": Case(lambda m, x, y: m.hidden(x - x.mean(0)).square().mean(), statistics=1),
    "two counts": Case(
        lambda m, x, y: (
            F.cross_entropy(m.hidden(x).view(-1, 5), y.view(-1)) + (m.hidden(x).sum(-1) * (y > 2)).sum() / (y > 2).sum()
        ),
        statistics=2,
    ),
    "statistic of a statistic": Case(lambda m, x, y: (m.hidden(x) * ((x - x.mean()) ** 2).mean().rsqrt()).mean(), statistics=2),
    # terms without samples
    "weight decay": Case(lambda m, x, y: m.hidden(x).mean() + 0.1 * m.weight.square().sum() + m.bias.abs().sum()),
    "one minus": Case(lambda m, x, y: 1 - m.hidden(x).mean()),
    "plus a constant": Case(lambda m, x, y: 2 * (m.hidden(x).mean() + 0.5) - 3),
    "parameters alone": Case(lambda m, x, y: m.weight.square().sum()),
    # row numbers
    "own rows": Case(lambda m, x, y: m.hidden(x)[torch.arange(x.size(0)), safe(y).argmax(1)].sum(1).mean()),
    "own rows, broadcast": Case(lambda m, x, y: m.hidden(x)[torch.arange(x.size(0))[:, None], torch.arange(2)[None, :]].mean()),
    "row numbers as numbers": Case(lambda m, x, y: (m.hidden(x).sum((1, 2)) * torch.arange(x.size(0))).mean(), mixes=True),
    # shapes
    "sequence first": Case(lambda m, x, y: m.hidden(x.transpose(0, 1)).reshape(-1, 5).square().mean()),
    "two views of a sample": Case(lambda m, x, y: torch.stack(m.hidden(torch.cat([x, 2 * x])).chunk(2)).prod(0).mean()),
    "repeated": Case(lambda m, x, y: m.hidden(x.repeat_interleave(3, 0)).view(x.size(0), 3, 4, 5).amax(1).mean()),
    "expanded bias": Case(lambda m, x, y: (m.bias.expand(x.size(0), 1, 5) * x).mean()),
    "zeros of the batch": Case(
        lambda m, x, y: torch.cat([torch.zeros(x.size(0), 1, 5, dtype=x.dtype), m.hidden(x)], 1).cumsum(1).mean()
    ),
    # mixing
    "standard deviation": Case(lambda m, x, y: m.hidden(x).std(), mixes=True),
    "squared mean": Case(lambda m, x, y: m.hidden(x).mean(0).square().sum(), mixes=True),
    "softmax over the batch": Case(lambda m, x, y: (m.hidden(x).softmax(0) * x).sum(), mixes=True),
    "sorted": Case(lambda m, x, y: (m.hidden(x).sort(0).values * x).mean(), mixes=True),
    "running sum": Case(lambda m, x, y: (m.hidden(x).cumsum(0) * x).mean(), mixes=True),
    "reversed batch": Case(lambda m, x, y: (m.hidden(x) * m.hidden(x).flip(0)).mean(), mixes=True),
    "largest": Case(lambda m, x, y: m.hidden(x).amax(0).sum(), mixes=True),
    "gram matrix": Case(lambda m, x, y: (m.hidden(x).flatten(1) @ m.hidden(x).flatten(1).T).exp().mean(), mixes=True),
    "all pairs, flattened": Case(lambda m, x, y: (m.hidden(x).flatten(1) @ x.flatten(1).T).flatten().square().mean(), mixes=True),
    "feature covariance": Case(lambda m, x, y: (m.hidden(x)[:, 0].T @ m.hidden(x)[:, 0] / x.size(0)).square().sum(), mixes=True),
    "pairwise differences": Case(lambda m, x, y: (m.hidden(x)[:, None] - x[None]).square().mean(), mixes=True),
    "determinant": Case(lambda m, x, y: torch.linalg.det(m.hidden(x)[:, 0].T @ x[:, 0]), mixes=True),
    "batch norm": Case(lambda m, x, y: (m.norm(m.hidden(x).transpose(1, 2)) * x.transpose(1, 2)).mean(), mixes=True),
}


def sharded(
    function: Callable[..., Tensor], batch_norm: str = "global"
) -> tuple[ShardedGraph, dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The rewritten graph, a batch and a state by name, and the loss on one device with gradients in that state."""
    torch.manual_seed(0)
    loaded = loaded_from(Model(function), inputs, precision="float64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = trace(loaded)
    by_path = {example.path: example.tensor for example in examples(loaded, ROWS)}
    batch = {each.value.name: by_path[each.path] for each in found.graph.inputs}
    state = {name: tensor.detach().clone() for name, tensor in found.tensors.items()}
    for parameter in found.graph.parameters:
        state[parameter.value.name].requires_grad_()
    before = {name: tensor.detach().clone().requires_grad_(tensor.requires_grad) for name, tensor in state.items()}
    loss = run_whole(found.graph, {**batch, **state})[found.graph.loss]
    loss.backward()
    before["expected"] = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in state.values() if p.requires_grad]
    )
    result = shard_batch(found.graph, batch_norm)
    verify(result.graph)
    return result, batch, before, loss.detach()


@pytest.mark.parametrize("name", CASES)
def test_as_on_one_device(name: str) -> None:
    case = CASES[name]
    graph, batch, state, loss = sharded(case.function)
    assert bool(graph.mixing) == case.mixes, describe(graph.mixing)
    assert len(graph.statistics) == case.statistics
    expected = state.pop("expected")
    for shares, microbatches in RUNS:
        if microbatches > 1 and case.mixes:
            continue
        fresh = {name: tensor.detach().clone().requires_grad_(tensor.requires_grad) for name, tensor in state.items()}
        outcome = lockstep.run(graph, batch, fresh, shares, microbatches)
        torch.testing.assert_close(outcome.loss.detach(), loss, rtol=1e-9, atol=1e-9)
        outcome.loss.backward()
        got = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in fresh.values() if p.requires_grad]
        )
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_local_batch_norm_does_not_mix() -> None:
    """Each rank normalises its own rows: no exchange, any number of microbatches, equal to one device on one rank alone."""
    graph, batch, state, loss = sharded(CASES["batch norm"].function, "local")
    assert not graph.mixing
    assert not any(op.kind in comm.COMM for op in graph.graph.ops)
    state.pop("expected")
    torch.testing.assert_close(lockstep.run(graph, batch, state, (ROWS,)).loss.detach(), loss)
    assert not torch.allclose(lockstep.run(graph, batch, state, (5, 7)).loss.detach(), loss)


class Counting(Model):
    """Counts its forward passes."""

    def __init__(self) -> None:
        super().__init__(lambda m, x, y: m.hidden(x).mean())
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x, labels)


def test_a_buffer_is_written_once_a_step() -> None:
    """A second microbatch would count again."""
    found = trace(loaded_from(Counting(), inputs, precision="float64"))
    (found_mixing,) = shard_batch(found.graph).mixing
    assert "passes" in found_mixing.reason


def test_mixing_is_explained() -> None:
    """Module, line, reason and price in one sentence."""
    graph, *_ = sharded(CASES["determinant"].function)
    (sentence,) = describe(graph.mixing)
    assert "test_shard_batch.py:" in sentence
    assert "sum over all samples" in sentence
    assert "microbatches" in sentence


def test_an_op_without_a_rule_is_gathered_for() -> None:
    graph, *_ = sharded(lambda m, x, y: torch.trapezoid(m.hidden(x), dim=0).sum())
    gathered = [found for found in graph.mixing if "no rule for" in found.reason]
    kinds = {op.kind for op in graph.graph.ops}
    assert gathered or comm.ALL_GATHER in kinds


def test_a_draw_for_all_samples_at_once_is_refused() -> None:
    with pytest.raises(TraceError, match="all samples together"):
        sharded(lambda m, x, y: m.hidden(x)[torch.randperm(x.size(0))].mean())
