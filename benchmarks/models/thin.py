"""Small linear layers: nearly no compute, so that what is measured is whatever runs them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.chain import Chain

LAYERS, WIDTH = 8, 64


def model() -> nn.Module:
    return Chain([nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(LAYERS)])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, WIDTH),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, WIDTH),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target)
