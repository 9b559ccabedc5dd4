"""Rows of a sharded tensor: its dim is [outer, rows, inner] flattened."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autopart.sharding.placement import Shard


def part(tensor: Tensor, placement: Shard, rows: int, start: int, count: int) -> Tensor:
    """Rows [start, start + count) of a tensor that has ``rows``."""
    if count == rows:
        return tensor
    dim = placement.dim % tensor.dim()
    split = opened(tensor, dim, placement.outer)
    inner = split.shape[dim + 1] // rows
    return split.narrow(dim + 1, start * inner, count * inner).flatten(dim, dim + 1)


def opened(tensor: Tensor, dim: int, outer: int) -> Tensor:
    """``dim`` as [outer, rows and inner]."""
    return tensor.reshape(*tensor.shape[:dim], outer, -1, *tensor.shape[dim + 1 :])


def joined(parts: Sequence[Tensor], placement: Shard) -> Tensor:
    """The parts' rows one after the other."""
    if len(parts) == 1:
        return parts[0]
    dim = placement.dim % parts[0].dim()
    return torch.cat([opened(part, dim, placement.outer) for part in parts], dim + 1).flatten(dim, dim + 1)
