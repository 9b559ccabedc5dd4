"""ResNet of basic blocks on small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS, BLOCKS, SIZE, CLASSES = (24, 48, 96), 2, 32, 10


class Block(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1, self.norm1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.short = nn.Identity() if before == width else nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.short(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1)
        steps = zip((WIDTHS[0], *WIDTHS), WIDTHS, strict=False)
        self.blocks = nn.Sequential(*(Block(a if i == 0 else b, b) for a, b in steps for i in range(BLOCKS)))
        self.head = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        features = self.blocks(F.relu(self.stem(images))).mean((2, 3))
        return F.cross_entropy(self.head(features), labels)


def model() -> nn.Module:
    return ResNet()


def example_inputs(batch_size: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch_size, 3, SIZE, SIZE), torch.randint(CLASSES, (batch_size,))
