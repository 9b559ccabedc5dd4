"""What the columns of a replica compute together: each with its rows of the vocabulary, or with random numbers of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from autopart.runtime.axis import Axis
from autopart.runtime.collectives import gathered, summed
from autopart.runtime.surroundings import seeded

SEEDS = 2**62


def embedding(weight: Tensor, ids: Tensor, tensor: Axis, padding_idx: int | None = None) -> Tensor:
    """Rows of the table on this column -> partial: a column gives zeros for ids whose row it does not have. No message."""
    if tensor.group is None:
        return F.embedding(ids, weight, padding_idx)
    first, size, whole = _interval(weight.shape[0], tensor)
    local, elsewhere = _local(ids, first, size, whole)
    padding = None if padding_idx is None else padding_idx % whole - first
    found = F.embedding(local, weight, padding if padding is not None and 0 <= padding < size else None)
    return found.masked_fill(elsewhere.unsqueeze(-1), 0)


def cross_entropy(
    x: Tensor,
    target: Tensor,
    tensor: Axis,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "none",
) -> Tensor:
    """Classes of this column [n, classes, ...] and everybody's targets [n, ...] -> replicated: the loss of each ("none") or their
    "sum". ``weight`` is of this column's classes. One message of three or four numbers a target, and one of the incoming gradient
    in the backward.
    """
    assert reduction in ("none", "sum"), f"{reduction} is not a sum of terms"
    if x.dtype in (torch.bfloat16, torch.float16) and torch.is_autocast_enabled(x.device.type):
        x = x.float()
    if tensor.group is None:
        return F.cross_entropy(x, target, weight, ignore_index=ignore_index, reduction=reduction)
    result = _CrossEntropy.apply(x, target, weight, ignore_index, reduction == "sum", tensor)  # type: ignore[no-untyped-call]
    assert isinstance(result, Tensor)
    return result


def dropout(x: Tensor, p: float, training: bool, tensor: Axis) -> Tensor:
    """Of a tensor that is split over columns: no two columns drop alike."""
    with _own_numbers(x, tensor if training and p > 0 else None):
        return F.dropout(x, p, training)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    tensor: Axis,
) -> Tensor:
    """Of this column's heads: no two columns drop alike."""
    with _own_numbers(query, tensor if dropout_p > 0 else None):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )


@contextmanager
def _own_numbers(x: Tensor, tensor: Axis | None) -> Iterator[None]:
    """Random numbers of this column's own. Their seed is drawn from the generator that all columns share, which goes on alike on
    all of them; so it is drawn again when a checkpointed computation is replayed.
    """
    if tensor is None or tensor.group is None:
        yield
        return
    drawn = int(torch.randint(SEEDS, ()))  # on the CPU: nobody has to wait for a GPU
    with seeded((drawn, tensor.index), x.device):
        yield


def _interval(size: int, tensor: Axis) -> tuple[int, int, int]:
    """First row, rows here, and rows of all columns, of a dim that has ``size`` here."""
    per_unit = size // tensor.rows[tensor.index]
    return tensor.start * per_unit, size, sum(tensor.rows) * per_unit


def _local(ids: Tensor, first: int, size: int, whole: int) -> tuple[Tensor, Tensor]:
    """Ids by this column's rows, 0 for another's, and which those are. What no column has stays outside of the range: the lookup
    says so.
    """
    outside = (ids < first) | (ids >= first + size)
    elsewhere = outside & (ids >= 0) & (ids < whole)
    local = torch.where(outside, -1, ids - first)
    return local.masked_fill(elsewhere, 0), elsewhere


class _CrossEntropy(torch.autograd.Function):
    """With m, s and t a column's maximum, its sum of exp(x - m) and its logit of the target (0 where another has it):
    the loss is log(sum of s exp(m - M)) + M - sum of t, where M is the largest m. Softmax is exp(x - m) exp(m - M) over that sum.
    The class weight of the target is known to one column, as its logit is.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor, weight: Tensor | None, ignored: int, total: bool, tensor: Axis) -> Tensor:
        dim = min(1, x.dim() - 1)
        counted = target != ignored
        local, elsewhere = _local(target.where(counted, 0), *_interval(x.shape[dim], tensor))
        logit = x.gather(dim, local.unsqueeze(dim)).squeeze(dim).masked_fill(elsewhere, 0)
        largest = x.amax(dim).clamp_min(torch.finfo(x.dtype).min)
        exponent = (x - largest.unsqueeze(dim)).exp_()
        mine = [largest, exponent.sum(dim), logit]
        mine += [] if weight is None else [weight[local].to(x.dtype).masked_fill(elsewhere, 0)]
        maxima, sums, logits, *weights = gathered(torch.stack(mine)[None], 0, 1, _each(tensor)).unbind(1)
        highest = maxima.amax(0)
        sums = (sums * (maxima - highest).exp()).sum(0)
        scale = (weights[0].sum(0) if weights else torch.ones_like(sums)).masked_fill(~counted, 0)
        loss = ((sums.log() + highest - logits.sum(0)) * scale).masked_fill(~counted, 0)
        ctx.save_for_backward(exponent, (largest - highest).exp() / sums, scale, local, elsewhere)
        ctx.dim, ctx.tensor = dim, tensor
        return loss.sum() if total else loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        exponent, factor, scale, local, elsewhere = ctx.saved_tensors
        grad = summed(grads[0], ctx.tensor) * scale
        found = exponent * (grad * factor).unsqueeze(ctx.dim)
        found.scatter_add_(ctx.dim, local.unsqueeze(ctx.dim), -grad.masked_fill(elsewhere, 0).unsqueeze(ctx.dim))
        return found, None, None, None, None, None


def _each(tensor: Axis) -> Axis:
    """The axis with one row for each column."""
    return Axis(tensor.index, tensor.ranks, (1,) * len(tensor.ranks), len(tensor.ranks), tensor.group, tensor.wire)
