"""The ops that sharding inserts, over the replicas of a stage; ``autopart.sharding.comm`` says what each means.

The gradient of a shard is a shard, that of a replicated value is partial, that of a partial value is replicated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.runtime.rows import opened
from autopart.runtime.world import failing_as


@dataclass(frozen=True, eq=False)
class Axis:
    """A stage's replicas: this rank's place among them, and how many rows each has of a microbatch (of a step, in the prologue).

    ``ranks`` are the replicas in the order of their rows, ``batch`` counts the rows of the global batch. ``group`` is None for a
    replica alone; it goes by rank numbers.
    """

    index: int
    ranks: tuple[int, ...]
    rows: tuple[int, ...]
    batch: int
    group: dist.ProcessGroup | None = None
    wire: torch.device | None = None

    @property
    def start(self) -> int:
        """First of this rank's rows among all replicas' rows."""
        return sum(self.rows[: self.index])


def all_reduce(x: Tensor, axis: Axis) -> Tensor:
    """Partial -> replicated: the sum over the replicas. Backward: the same once more."""
    return x if axis.group is None else _apply(_AllReduce, x, axis)


def all_gather(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Rows of this rank -> rows of all replicas, in rank order. Backward: the sum over the replicas, cut to this rank's rows."""
    return x if axis.group is None else _apply(_AllGather, x, dim % x.dim(), outer, axis)


def shard(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Rows of all replicas -> this rank's rows. No message either way."""
    return x if axis.group is None else _rows(x, dim % x.dim(), outer, axis)


def to_partial(x: Tensor, axis: Axis) -> Tensor:
    """Replicated -> partial: this rank's part of a term that every rank and microbatch computes alike. No message either way."""
    return x * (axis.rows[axis.index] / axis.batch)


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    axis: Axis,
) -> Tensor:
    """BatchNorm over the rows of all replicas; running statistics are updated alike on all of them."""
    if axis.group is None or not training:
        return torch.nn.functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    shape = [1, -1] + [1] * (x.dim() - 2)
    wide = x if x.dtype == torch.float64 else x.float()
    mean, var, count = _moments(wide, axis)
    _track(running_mean, running_var, mean.detach(), var.detach(), count, momentum)
    y = (wide - mean.view(shape)) * torch.rsqrt(var + eps).view(shape)
    y = y if weight is None else y * weight.view(shape)
    return (y if bias is None else y + bias.view(shape)).to(x.dtype)


def _moments(x: Tensor, axis: Axis) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of every channel over all replicas, and over how many numbers; in two passes, for accuracy."""
    dims = [dim for dim in range(x.dim()) if dim != 1]
    count = x.numel() // x.shape[1] // axis.rows[axis.index] * sum(axis.rows)
    mean = all_reduce(x.sum(dims), axis) / count
    centred = x - mean.view([1, -1] + [1] * (x.dim() - 2))
    return mean, all_reduce((centred * centred).sum(dims), axis) / count, count


def _track(
    running_mean: Tensor | None, running_var: Tensor | None, mean: Tensor, var: Tensor, count: int, momentum: float
) -> None:
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((var * (count / max(count - 1, 1))).to(running_var.dtype), momentum)


def sum_over(x: Tensor, group: dist.ProcessGroup, wire: torch.device | None, doing: str) -> Tensor:
    """The sum over a group's ranks: a new tensor on x's device."""
    moved = x.detach().to(wire or x.device, copy=True, memory_format=torch.contiguous_format)
    with failing_as(doing):
        dist.all_reduce(moved, group=group)
    return moved.to(x.device)


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return _sum(x, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _sum(grads[0], ctx.axis), None


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
        ctx.dim, ctx.outer, ctx.axis = dim, outer, axis
        return _gather(x, dim, outer, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _rows(_sum(grads[0], ctx.axis), ctx.dim, ctx.outer, ctx.axis), None, None, None


def _apply(function: type[torch.autograd.Function], *args: object) -> Tensor:
    result = function.apply(*args)  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result


def _sum(x: Tensor, axis: Axis) -> Tensor:
    assert axis.group is not None
    return sum_over(x, axis.group, axis.wire, "summing over the replicas of its stage")


def _gather(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Pads to the largest share, gathers, cuts: uneven all_gather is not to be had everywhere."""
    assert axis.group is not None
    parts = opened(x.detach(), dim, outer).movedim(dim + 1, 0)
    per_row = parts.shape[0] // axis.rows[axis.index]
    padded = parts.new_zeros((max(axis.rows) * per_row, *parts.shape[1:]), device=axis.wire or x.device)
    padded[: parts.shape[0]] = parts
    found = [torch.empty_like(padded) for _ in axis.rows]
    with failing_as("gathering rows over the replicas of its stage"):
        dist.all_gather(found, padded, group=axis.group)
    by_rank = dict(zip(sorted(axis.ranks), found, strict=True))
    whole = torch.cat([by_rank[rank][: rows * per_row] for rank, rows in zip(axis.ranks, axis.rows, strict=True)])
    return whole.to(x.device).movedim(0, dim + 1).flatten(dim, dim + 1)


def _rows(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """The rows of this rank of a tensor that has those of all replicas."""
    parts = opened(x, dim, outer)
    per_row = parts.shape[dim + 1] // sum(axis.rows)
    mine = parts.narrow(dim + 1, axis.start * per_row, axis.rows[axis.index] * per_row)
    return mine.flatten(dim, dim + 1)
