"""Messages between the ranks of an axis, without gradients. Every result is a new tensor on its input's device.

All but the sum over more than two ranks go as one exchange: it takes uneven parts as they are, sends nothing that its receiver
has, and fills both directions of a link at once, which gloo's all_gather, all_to_all and reduce_scatter do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.runtime.axis import Axis
from autopart.runtime.exchange import exchange
from autopart.runtime.rows import opened
from autopart.runtime.world import failing_as

Sizes = tuple[int, ...]


def summed(x: Tensor, axis: Axis) -> Tensor:
    """The sum over the ranks of the axis, on all of them."""
    if len(axis.ranks) == 2:
        (theirs,) = _swapped([x], [tuple(x.shape)], axis, "summing")
        return theirs.add_(x)
    moved = x.detach().to(axis.wire or x.device, copy=True, memory_format=torch.contiguous_format)
    with failing_as(f"summing over {_whom(axis)}"):
        dist.all_reduce(moved, group=axis.group)
    return moved.to(x.device)


def gathered(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """The rows of all ranks, in their order."""
    others = _others(axis)
    shapes = [_with_rows(x, dim, axis.rows[place], axis) for place in others]
    parts = _swapped([x] * len(others), shapes, axis, "gathering rows")
    return _together(parts, x, dim, outer, axis)


def scattered(x: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """Rows of this rank, of the sum over the ranks of the axis."""
    parts = _cut(x, dim, outer, axis)
    own = parts[axis.index]
    found = _swapped([parts[place] for place in _others(axis)], [tuple(own.shape)] * (len(parts) - 1), axis, "summing rows")
    total = found[0].add_(own) if len(found) == 1 else found[0] + own  # a view would keep what all others sent
    for other in found[1:]:
        total += other
    return total.flatten(dim, dim + 1)


def exchanged(x: Tensor, dim: int, outer: int, to_dim: int, to_outer: int, axis: Axis, to: Axis) -> Tensor:
    """What is split along one dim split along another; ``to`` has the rows of the other."""
    parts, others = _cut(x, to_dim, to_outer, to), _others(axis)
    own = parts[axis.index].flatten(to_dim, to_dim + 1)
    shapes = [_with_rows(own, dim, axis.rows[place], axis) for place in others]
    found = _swapped([parts[place] for place in others], shapes, axis, "exchanging rows")
    return _together(found, own, dim, outer, axis)


def _cut(x: Tensor, dim: int, outer: int, axis: Axis) -> Sequence[Tensor]:
    """Every rank's rows of a tensor that has them all; ``dim`` as [outer, rows]."""
    parts = opened(x, dim, outer)
    inner = parts.shape[dim + 1] // sum(axis.rows)
    return torch.split_with_sizes(parts, [rows * inner for rows in axis.rows], dim + 1)


def _others(axis: Axis) -> list[int]:
    """The other places on the axis, as its group has them."""
    return [place for place in axis.order if place != axis.index]


def _with_rows(x: Tensor, dim: int, rows: int, axis: Axis) -> Sizes:
    """The sizes of x at another rank's number of rows."""
    return (*x.shape[:dim], x.shape[dim] // axis.rows[axis.index] * rows, *x.shape[dim + 1 :])


def _together(parts: Sequence[Tensor], own: Tensor, dim: int, outer: int, axis: Axis) -> Tensor:
    """The rows of all ranks in one tensor."""
    by_place = {**dict(zip(_others(axis), parts, strict=True)), axis.index: own.detach()}
    rows = [opened(by_place[place], dim, outer) for place in range(len(axis.ranks))]
    return torch.cat(rows, dim + 1).flatten(dim, dim + 1)


def _swapped(parts: Sequence[Tensor], shapes: Sequence[Sizes], axis: Axis, doing: str) -> list[Tensor]:
    """Sends a tensor to every other rank and receives one of the given sizes from each, in their group's order."""
    device, wire = parts[0].device, axis.wire or parts[0].device
    assert axis.group is not None, "a rank alone has nobody to swap with"
    place = axis.order.index(axis.index)
    sent = [part.detach().to(wire).contiguous() for part in parts]
    received = [torch.empty(sizes, dtype=part.dtype, device=wire) for part, sizes in zip(sent, shapes, strict=True)]
    own = torch.empty(0, dtype=sent[0].dtype, device=wire)
    with failing_as(f"{doing} over {_whom(axis)}"):
        works = exchange(_with_own(sent, own, place), _with_own(received, own, place), place, axis.group)
        for work in works:
            work.wait()
    return [each.to(device) for each in received]


def _with_own(others: Sequence[Tensor], own: Tensor, place: int) -> list[Tensor]:
    """One for each rank of the group."""
    return [*others[:place], own, *others[place:]]


def _whom(axis: Axis) -> str:
    return f"ranks {', '.join(map(str, axis.ranks))} of its stage"
