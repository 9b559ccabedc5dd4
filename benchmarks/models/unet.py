"""A U-Net (Ronneberger et al., arXiv:1505.04597): skips from the way down to the way up, so that cuts send several values."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.chain import Chain, Values

WIDTHS, PIXELS, CLASSES = (16, 32, 64, 128), 64, 4


def convolutions(given: int, made: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before in (given, made):
        layers += [nn.Conv2d(before, made, 3, 1, 1, bias=False), nn.GroupNorm(8, made), nn.ReLU()]
    return nn.Sequential(*layers)


class Down(nn.Module):
    def __init__(self, given: int, made: int, *, pool: bool) -> None:
        super().__init__()
        self.layers, self.pool = convolutions(given, made), pool

    def forward(self, x: Tensor, *skips: Tensor) -> Values:
        """The newest first."""
        return (self.layers(F.max_pool2d(x, 2) if self.pool else x), *([x] if self.pool else []), *skips)


class Up(nn.Module):
    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.up, self.layers = nn.ConvTranspose2d(given, made, 2, 2), convolutions(2 * made, made)

    def forward(self, x: Tensor, skip: Tensor, *skips: Tensor) -> Values:
        return (self.layers(torch.cat([self.up(x), skip], dim=1)), *skips)


def model() -> nn.Module:
    downs = [Down(3 if i == 0 else WIDTHS[i - 1], width, pool=i > 0) for i, width in enumerate(WIDTHS)]
    ups = [Up(WIDTHS[i + 1], WIDTHS[i]) for i in reversed(range(len(WIDTHS) - 1))]
    return Chain([*downs, *ups, nn.Conv2d(WIDTHS[0], CLASSES, 1)])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, 3, PIXELS, PIXELS),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(CLASSES, (batch_size, PIXELS, PIXELS)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target)
