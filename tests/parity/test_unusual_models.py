"""Small models with a trait each that splitting could get wrong: losses that are no means, terms without samples, values of every
placement and dtype between stages, buffers that change, shared modules and inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from autopart.frontend.load import loaded_from
from tests.fronts import front_of
from tests.parity.drawn import assert_parity_under_drawn_plans
from tests.zoo.batches import floats, ids, labels

Forward = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Body(nn.Module):
    """Three layers; what comes of their output is the trait."""

    def __init__(self, trait: Forward, **modules: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.trait = trait
        for name, module in modules.items():
            self.add_module(name, module)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.second(torch.tanh(self.first(x))))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.trait(self, x, y)


def logits(model: Any, x: Tensor) -> Tensor:
    return model.third(model.hidden(x))


def sum_of_squares(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return (logits(model, x) ** 2).sum()


def regularised(model: Any, x: Tensor, y: Tensor) -> Tensor:
    penalty = sum((p**2).sum() for p in model.parameters())
    return F.cross_entropy(logits(model, x), y) + 0.01 * penalty


def weighted_smoothed(model: Any, x: Tensor, y: Tensor) -> Tensor:
    weight = torch.arange(1.0, 6.0)
    return F.cross_entropy(logits(model, x), y, weight=weight, label_smoothing=0.1)


def root_mean_square(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return ((logits(model, x) ** 2).mean() + 1e-3).sqrt()


def balanced(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """A mixture of experts' balancing term: a product of two means over samples."""
    scores = logits(model, x)
    gates = scores.softmax(-1)
    chosen = F.one_hot(gates.argmax(-1), 5).to(gates.dtype)
    return F.cross_entropy(scores, y) + 5 * (gates.mean(0) * chosen.mean(0)).sum()


def supervised_contrast(model: Any, x: Tensor, y: Tensor) -> Tensor:
    features = F.normalize(logits(model, x), dim=-1)
    alike = y[:, None] == y[None, :]
    scores = (features @ features.T / 0.5).log_softmax(-1)
    return -(scores * alike).sum(-1).div(alike.sum(-1)).mean()


def active_pairs(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Gathers a mask that follows from parameters."""
    features = model.hidden(x)
    active = features > 0
    shared = (active[:, None, :] & active[None, :, :]).sum(-1)
    return ((features @ features.T).square() * shared).mean()


def spread(model: Any, x: Tensor, y: Tensor) -> Tensor:
    features = model.hidden(x)
    return F.relu(1 - features.std(0)).mean() + features.mean()


def neighbours(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Samples side by side in the batch."""
    features = logits(model, x)
    return F.mse_loss(features, features.flip(0)) + F.mse_loss(features.roll(1, 0), features)


def hardest(model: Any, x: Tensor, y: Tensor) -> Tensor:
    losses = F.cross_entropy(logits(model, x), y, reduction="none")
    return losses.max() + losses.logsumexp(0) + losses.mean()


def routed(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """An index and a mask, made of parameters in an early layer, are read in the last."""
    early = torch.tanh(model.first(x))
    index, mask = early.argmax(-1), early > 0.1
    late = torch.tanh(model.second(torch.tanh(model.second(early))))
    return F.cross_entropy(model.third(late * mask) + model.table(index), y)


def complex_signal(model: Any, x: Tensor, y: Tensor) -> Tensor:
    signal = torch.fft.fft(torch.tanh(model.first(x)))
    return F.cross_entropy(model.third(torch.fft.ifft(signal * torch.exp(1j * signal.abs())).real), y)


def twice(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """One layer, and its BatchNorm, at two depths."""
    h = model.norm(torch.tanh(model.first(x)))
    h = model.norm(torch.tanh(model.second(h)))
    return F.cross_entropy(model.third(h), y)


def counted(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """A buffer that is written first and read last."""
    model.count.steps += 1
    return F.cross_entropy(logits(model, x) / model.count.steps, y)


def averaged(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """A running mean of features, read in the same step."""
    features = model.hidden(x)
    with torch.no_grad():
        model.count.mean.mul_(0.9).add_(features.mean(0), alpha=0.1)
    return F.cross_entropy(model.third(features - model.count.mean), y)


def normed_weights(model: Any, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model.third(torch.tanh(model.normed(torch.tanh(model.first(x))))), y)


def detached(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """A teacher without gradient, and a branch that is cut."""
    early = torch.tanh(model.first(x))
    with torch.no_grad():
        teacher = torch.tanh(model.second(early))
    return F.mse_loss(torch.tanh(model.second(early.detach())), teacher + 1) + F.cross_entropy(model.third(early), y)


def parameters_alone(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """What comes first depends on no sample: a table of positions, mixed."""
    positions = model.second(torch.tanh(model.second(model.table(torch.arange(8)))))
    positions = torch.tanh(positions * torch.linspace(0, 1, 8))
    return F.cross_entropy(model.third(torch.tanh(model.first(x)) @ positions), y)


def squeezed(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """A squeeze that would take the batch dim where a rank has one row."""
    h = torch.tanh(model.first(x)).unsqueeze(1)
    return F.cross_entropy(model.third(torch.tanh(model.second(h)).squeeze()), y)


def two_views(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Two batches behind each other, as in contrastive learning, but compared sample by sample."""
    both = torch.cat([x, x.flip(1)])
    one, other = model.third(model.hidden(both)).chunk(2)
    return F.mse_loss(one, other.detach()) + F.cross_entropy(other, y)


def interleaved(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """Every sample three times in a row, then averaged."""
    h = torch.tanh(model.first(x.repeat_interleave(3, 0) * torch.arange(1, 4).repeat(x.size(0))[:, None]))
    h = torch.tanh(model.second(h))
    return F.cross_entropy(model.third(h).unflatten(0, (-1, 3)).mean(1), y)


class Counters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(8))


MODELS: dict[str, Callable[[], nn.Module]] = {
    each.__name__: lambda each=each: Body(each)  # type: ignore[misc]
    for each in (
        sum_of_squares, regularised, weighted_smoothed, root_mean_square, balanced, supervised_contrast, active_pairs, spread,
        neighbours, hardest, complex_signal, detached, squeezed, two_views, interleaved,
    )
}  # fmt: skip
MODELS |= {
    "routed": lambda: Body(routed, table=nn.Embedding(8, 5)),
    "parameters_alone": lambda: Body(parameters_alone, table=nn.Embedding(8, 8)),
    "twice": lambda: Body(twice, norm=nn.BatchNorm1d(8)),
    "counted": lambda: Body(counted, count=Counters()),
    "averaged": lambda: Body(averaged, count=Counters()),
    "weight_norm": lambda: Body(normed_weights, normed=weight_norm(nn.Linear(8, 8))),
    "spectral_norm": lambda: Body(normed_weights, normed=spectral_norm(nn.Linear(8, 8))),
}


@pytest.mark.parametrize("name", MODELS)
def test_any_plan_trains_as_one_device(name: str) -> None:
    torch.manual_seed(0)
    loaded = loaded_from(MODELS[name](), lambda n: (floats(n, 6), labels(n, 5)), precision="float64")
    assert_parity_under_drawn_plans(front_of(loaded), name)


class Attends(nn.Module):
    """Inputs in a nest; a bias that all samples share."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Embedding(31, 8), nn.Linear(8, 31)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, batch: dict[str, Any], bias: Tensor) -> Tensor:
        x = self.embed(batch["tokens"])
        x = x + self.attention(x, x, x, attn_mask=bias, need_weights=False)[0]
        return self.out(x) + batch["extra"][0][:, None, :]


def nested(count: int) -> tuple[dict[str, Any], Tensor]:
    bias = torch.randn(8, 8, generator=torch.Generator().manual_seed(3))
    return {"tokens": ids(count), "extra": [floats(count, 31)]}, bias


def test_nested_and_shared_inputs() -> None:
    loaded = loaded_from(
        Attends(),
        nested,
        loss=lambda scores, wanted: F.cross_entropy(scores.flatten(0, 1), wanted.flatten()),
        example_targets=lambda count: (ids(count),),
        batch_dims={"bias": None},
        precision="float64",
    )
    assert_parity_under_drawn_plans(front_of(loaded), "nested")
