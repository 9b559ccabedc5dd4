"""A ResNet: unlike layers, activations that shrink and weights that grow with depth. Group norm, so that every split computes
the same: batch norm's statistics differ between contenders.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.chain import Chain

WIDTHS, DEPTH, PIXELS, CLASSES = (32, 64, 128, 256), 2, 32, 100


class Residual(nn.Module):
    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(given, made, 3, stride, 1, bias=False),
            nn.GroupNorm(8, made),
            nn.ReLU(),
            nn.Conv2d(made, made, 3, 1, 1, bias=False),
            nn.GroupNorm(8, made),
        )
        self.short = nn.Conv2d(given, made, 1, stride, bias=False) if stride > 1 or given != made else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def model() -> nn.Module:
    blocks: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.GroupNorm(8, WIDTHS[0]), nn.ReLU())]
    given = WIDTHS[0]
    for made in WIDTHS:
        for i in range(DEPTH):
            blocks.append(Residual(given, made, 2 if i == 0 and made != WIDTHS[0] else 1))
            given = made
    return Chain([*blocks, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(given, CLASSES))])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, 3, PIXELS, PIXELS),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(CLASSES, (batch_size,)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)
