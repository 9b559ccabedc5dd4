"""Sums gradients over the ranks that hold a parameter, in buckets, while the last backward still runs.

The order of buckets is fixed (parameters from last to first, as a backward reaches them), so that all ranks agree on it
without a word. Which parameters get a gradient at all is agreed once, in the first step: one that gets none anywhere keeps
``.grad`` None, as on one device; where only some ranks have one the others add zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autopart.program.reductions import BUCKET_BYTES, UNDER_WAY
from autopart.runtime.world import failing_as

T = TypeVar("T")


class Outbox:
    """Buckets of parameters that leave in a fixed order, each when a backward has reached all of it; ``launch(i)`` sends one."""

    def __init__(self, buckets: Sequence[Sequence[nn.Parameter]], launch: Callable[[int], None]) -> None:
        self.buckets, self.launch = buckets, launch
        self.left = len(buckets)  # those that are due have left
        self._missing: list[int] = []
        self._hooks: list[RemovableHandle] = []

    def open(self, *, hooked: bool) -> None:
        """All are due: when the running backward reaches them if ``hooked``, at the latest with ``rest``."""
        self.left = 0
        self._missing = [len(bucket) for bucket in self.buckets]
        for i, bucket in enumerate(self.buckets if hooked else ()):
            for parameter in bucket:
                hook = parameter.register_post_accumulate_grad_hook(self._arrived(i))  # type: ignore[no-untyped-call]
                self._hooks.append(hook)

    def rest(self) -> None:
        """Sends what is due and has not left."""
        self._unhook()
        while self.left < len(self.buckets):
            self._launch_next()

    def close(self) -> None:
        """Nothing is due any more."""
        self._unhook()
        self.left = len(self.buckets)

    def _arrived(self, bucket: int) -> Callable[[Tensor], None]:
        def hook(_: Tensor) -> None:
            self._missing[bucket] -= 1
            while self.left < len(self.buckets) and not self._missing[self.left]:
                self._launch_next()

        return hook

    def _launch_next(self) -> None:
        self.left += 1
        self.launch(self.left - 1)

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


@dataclass(eq=False)
class _Bucket:
    """Parameters whose gradients travel together."""

    parameters: list[nn.Parameter]
    flat: Tensor | None = None
    work: dist.Work | None = None


class GradientSummer:
    """Sums the gradients of ``parameters`` over ``group``. One for each set of ranks that share parameters.

    Without ``overlap`` nothing leaves before the backward ends: stages that share a parameter end theirs at unlike times, and
    NCCL kernels that wait for each other on several devices must not stand in the way of messages.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        group: dist.ProcessGroup,
        wire: torch.device,
        *,
        overlap: bool = True,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        self.parameters = tuple(reversed(parameters))
        self.group, self.wire, self.overlap, self.bucket_bytes = group, wire, overlap, bucket_bytes
        self._trainable: tuple[bool, ...] = ()
        self._buckets: list[_Bucket] = []
        self._outbox = Outbox((), self._launch)

    def watch(self, *, last: bool) -> None:
        """Before a backward: from the last one on a bucket leaves as soon as its gradients are final."""
        if last and self.overlap and self._flags() == self._trainable:  # or which parameters get a gradient is not agreed yet
            self._outbox.open(hooked=True)

    def start(self) -> None:
        """After the last backward: sends what has not left yet."""
        if self._flags() != self._trainable:
            self._agree()
        self._outbox.rest()

    def finish(self) -> None:
        """Waits until the sums are in ``.grad``."""
        for bucket in self._buckets:
            if bucket.work is not None:
                _take(bucket)
        self._outbox.open(hooked=False)

    def abandon(self) -> None:
        """After an error: nothing may fire later."""
        self._outbox.close()
        for bucket in self._buckets:
            bucket.flat = bucket.work = None
        self._outbox.open(hooked=False)

    def _flags(self) -> tuple[bool, ...]:
        return tuple(parameter.requires_grad for parameter in self.parameters)

    def _agree(self) -> None:
        """Which parameters have a gradient on any rank, and the buckets that follow."""
        active = agreed(self.parameters, [p.grad is not None for p in self.parameters], self.group, self.wire)
        self._buckets = [_Bucket(parameters) for parameters in _packed(active, self.bucket_bytes)]
        self._trainable = self._flags()
        self._outbox = Outbox([bucket.parameters for bucket in self._buckets], self._launch)
        self._outbox.open(hooked=False)

    def _launch(self, index: int) -> None:
        """Sends a bucket, and takes in those that have arrived: ``UNDER_WAY`` copies of gradients exist at a time."""
        for earlier in self._buckets[: max(0, index + 1 - UNDER_WAY)]:
            if earlier.work is not None:
                _take(earlier)
        bucket = self._buckets[index]
        bucket.flat = torch.cat([_flat(p) for p in bucket.parameters]).to(self.wire)
        with failing_as("summing gradients over the ranks that hold a parameter"):
            bucket.work = dist.all_reduce(bucket.flat, group=self.group, async_op=True)
        for earlier in self._buckets[:index]:
            if earlier.work is not None and earlier.work.is_completed():
                _take(earlier)


def agreed(names: Sequence[T], mine: Sequence[bool], group: dist.ProcessGroup, wire: torch.device) -> list[T]:
    """Those that have a gradient on any rank of the group."""
    mask = torch.tensor(mine, dtype=torch.int32, device=wire)
    with failing_as("agreeing which parameters have a gradient"):
        dist.all_reduce(mask, dist.ReduceOp.MAX, group=group)
    return [name for name, has in zip(names, mask.tolist(), strict=True) if has]


def _take(bucket: _Bucket) -> None:
    """Waits for a bucket's sum, which is in ``.grad`` from then on."""
    assert bucket.work is not None, "a bucket never left"
    assert bucket.flat is not None, "a bucket has no gradients"
    with failing_as("summing gradients over the ranks that hold a parameter"):
        bucket.work.wait()
    _unpack(bucket.parameters, bucket.flat)
    bucket.flat = bucket.work = None


def _packed(parameters: Sequence[nn.Parameter], limit: int) -> Iterator[list[nn.Parameter]]:
    """Consecutive parameters of one dtype, up to ``limit`` bytes."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        nbytes = parameter.numel() * parameter.element_size()
        if bucket and (size + nbytes > limit or parameter.dtype != bucket[-1].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += nbytes
    if bucket:
        yield bucket


def _flat(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient in one row; zeros where this rank has none. A sparse one becomes dense."""
    grad = parameter.grad
    if grad is None:
        return torch.zeros_like(parameter, memory_format=torch.contiguous_format).flatten()
    return (grad.to_dense() if grad.is_sparse else grad).flatten()


def _unpack(parameters: Sequence[nn.Parameter], flat: Tensor) -> None:
    """Gradients become views of the bucket where it lies on their device: nothing is copied back."""
    start = 0
    for parameter in parameters:
        part = flat[start : start + parameter.numel()].view(parameter.shape)
        start += parameter.numel()
        parameter.grad = part.to(parameter.device)
