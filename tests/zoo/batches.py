"""Reproducible example tensors: the same for the same number of samples."""

from __future__ import annotations

import torch
from torch import Tensor

SEQUENCE, VOCABULARY = 8, 31


def seeded(batch_size: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + batch_size)


def ids(batch_size: int, length: int = SEQUENCE, high: int = VOCABULARY) -> Tensor:
    return torch.randint(3, high, (batch_size, length), generator=seeded(batch_size))


def floats(batch_size: int, *sizes: int) -> Tensor:
    return torch.randn(batch_size, *sizes, generator=seeded(batch_size))


def labels(batch_size: int, classes: int) -> Tensor:
    return torch.randint(0, classes, (batch_size,), generator=seeded(batch_size))
