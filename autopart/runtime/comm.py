"""The ops that sharding inserts, over the replicas of a stage or the columns of a replica; ``autopart.sharding.comm`` says what
each means.

The gradient of a shard is a shard, that of a replicated value is partial, that of a partial value is replicated.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autopart.runtime.axis import Axis
from autopart.runtime.collectives import exchanged, gathered, scattered, summed
from autopart.runtime.columns import cross_entropy, dropout, embedding, scaled_dot_product_attention
from autopart.runtime.rows import part
from autopart.sharding.placement import Shard

__all__ = [
    "Axis",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "batch_norm",
    "cross_entropy",
    "dropout",
    "embedding",
    "reduce_scatter",
    "scaled_dot_product_attention",
    "shard",
    "to_partial",
]


def all_reduce(x: Tensor, axis: Axis) -> Tensor:
    """Partial -> replicated: the sum over the ranks. Backward: the same once more."""
    return x if axis.group is None else _apply(_AllReduce, x, axis)


def all_gather(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Rows of this rank -> rows of all ranks, in their order. Backward: reduce_scatter."""
    return x if axis.group is None else _apply(_AllGather, x, dim % x.dim(), outer, axis)


def reduce_scatter(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Partial -> this rank's rows of the sum over the ranks. Backward: all_gather."""
    return x if axis.group is None else _apply(_ReduceScatter, x, dim % x.dim(), outer, axis)


def all_to_all(x: Tensor, dim: int, outer: int, to_dim: int, to_outer: int, axis: Axis, to: Axis | None = None) -> Tensor:
    """Rows of ``dim`` -> rows of ``to_dim``, with ``to`` the same axis where its rows are others. Backward: the reverse."""
    if axis.group is None:
        return x
    return _apply(_AllToAll, x, dim % x.dim(), outer, to_dim % x.dim(), to_outer, axis, to or axis)


def shard(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Rows of all ranks -> this rank's rows. No message either way."""
    return x if axis.group is None else part(x, Shard(dim, outer), sum(axis.rows), axis.start, axis.rows[axis.index])


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
    wide = x if x.dtype == torch.float64 else x.float()
    y, mean, var = _BatchNorm.apply(wide, weight, bias, eps, axis)  # type: ignore[no-untyped-call]
    _track(running_mean, running_var, mean, var, _numbers(x, axis), momentum)
    return y.to(x.dtype)  # type: ignore[no-any-return]


def _numbers(x: Tensor, axis: Axis) -> int:
    """How many there are of each channel, over all replicas."""
    return x.numel() // x.shape[1] // axis.rows[axis.index] * sum(axis.rows)


def _track(
    running_mean: Tensor | None, running_var: Tensor | None, mean: Tensor, var: Tensor, count: int, momentum: float
) -> None:
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((var * (count / max(count - 1, 1))).to(running_var.dtype), momentum)


class _BatchNorm(torch.autograd.Function):
    """Keeps the input and two numbers of every channel, as on one device. With c = x - mean, r = 1 / sqrt(var + eps) and E the
    mean over all replicas, the gradient is r w (dy - E[dy] - c r^2 E[dy c]). The variance is found in a second pass, for
    accuracy.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, axis: Axis) -> Any:
        dims, count = [dim for dim in range(x.dim()) if dim != 1], _numbers(x, axis)
        mean = summed(x.sum(dims), axis) / count
        own_var, own_mean = torch.var_mean(x, dims, correction=0)
        spread = (own_var + (own_mean - mean).square()) * (x.numel() // x.shape[1])
        var = summed(spread, axis) / count
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.axis = axis
        ctx.mark_non_differentiable(mean, var)
        return torch.nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps), mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        dy, dims, shape = grads[0], [dim for dim in range(x.dim()) if dim != 1], [1, -1] + [1] * (x.dim() - 2)
        dx = x - mean.view(shape)
        sums = torch.stack([dy.sum(dims), (dy * dx).sum(dims)])
        grad_weight = sums[1] * scale if ctx.needs_input_grad[1] else None
        grad_bias = sums[0].clone() if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_weight, grad_bias, None, None
        means = summed(sums, ctx.axis) / _numbers(x, ctx.axis)
        dx.mul_((-scale.square() * means[1]).view(shape)).add_(dy).sub_(means[0].view(shape))
        dx.mul_((scale if weight is None else scale * weight).view(shape))
        return dx, grad_weight, grad_bias, None, None


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: Axis) -> Tensor:
        ctx.axis = axis
        return summed(x, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return summed(grads[0], ctx.axis), None


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
        ctx.place = (dim, outer, axis)
        return gathered(x, dim, outer, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return scattered(grads[0], *ctx.place), None, None, None


class _ReduceScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
        ctx.place = (dim, outer, axis)
        return scattered(x, dim, outer, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return gathered(grads[0], *ctx.place), None, None, None


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, outer: int, to_dim: int, to_outer: int, axis: Axis, to: Axis) -> Tensor:
        ctx.back = (to_dim, to_outer, dim, outer, to, axis)
        return exchanged(x, dim, outer, to_dim, to_outer, axis, to)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return exchanged(grads[0], *ctx.back), None, None, None, None, None, None


def _apply(function: type[torch.autograd.Function], *args: object) -> Tensor:
    result = function.apply(*args)  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result
