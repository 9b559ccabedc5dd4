"""Graphs that branch: four paths side by side, two towers, two towers of one set of weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.batches import floats, ids, labels, seeded


class Mixed(nn.Module):
    """An Inception module: a pointwise path, two through a bottleneck, one through pooling."""

    def __init__(self, inside: int, width: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(inside, width, 1)
        self.three = nn.Sequential(nn.Conv2d(inside, width, 1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.five = nn.Sequential(nn.Conv2d(inside, width, 1), nn.ReLU(), nn.Conv2d(width, width, 5, padding=2))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(inside, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([self.point(x), self.three(x), self.five(x), self.pool(x)], 1))


class Inception(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2 * width, 3, padding=1)
        self.first, self.second = Mixed(2 * width, width), Mixed(4 * width, width)
        self.fc = nn.Linear(4 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(F.max_pool2d(self.first(F.relu(self.stem(x))), 2))
        return self.fc(x.mean((2, 3)))


def tower(inside: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inside, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 6))


class Recommender(nn.Module):
    """What a user clicked before against what is on offer: both from one table of items."""

    def __init__(self, items: int = 31, width: int = 10) -> None:
        super().__init__()
        self.items = nn.Embedding(items, width)
        self.user, self.offer = tower(width, 12), tower(width + 4, 12)

    def forward(self, history: Tensor, offered: Tensor, features: Tensor) -> Tensor:
        user = self.user(self.items(history).mean(1))
        offer = self.offer(torch.cat([self.items(offered[:, 0]), features], 1))
        return (user * offer).sum(1)


class Siamese(nn.Module):
    """One network on two inputs; a loss for each pair, so that samples do not mix."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.net = tower(6, width)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (self.net(left) - self.net(right)).square().sum(1)


def offers(batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    return ids(batch_size), ids(batch_size, 1), floats(batch_size, 4)


def taken(batch_size: int) -> Tensor:
    return labels(batch_size, 2).float()


def likenesses(batch_size: int) -> tuple[Tensor, Tensor]:
    left = floats(batch_size, 6)
    return left, left + torch.randn(batch_size, 6, generator=seeded(batch_size + 1))


def contrast(distance: Tensor, alike: Tensor) -> Tensor:
    return (alike * distance + (1 - alike) * F.relu(2.0 - distance)).mean()
