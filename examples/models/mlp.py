"""The smallest example: a 2-4-4-2 perceptron with a loss of its own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, 2),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(2, (batch_size,)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)
