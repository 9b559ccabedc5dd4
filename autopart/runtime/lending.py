"""ZeRO's level 3: a whole parameter exists only while something computes with it.

A row of parameters is gathered when the first of them is read, in a forward, in its recomputation, or for a backward that needs
it. Rows are new tensors, so that letting go of one is always safe: it lasts as long as an op, or a view, still has it. What
autograd saves for the backward does not count: instead of the tensor it gets a note where to find it again. Nor do the copies in
lower precision that autocast makes: they are made again.

Stages are static code, so every microbatch needs rows in the same order. The first one shows it; from then on the next row is on
its way while this one is used, and the one before is let go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from autopart.runtime.flat import Coming, Flat

LOWER = (torch.bfloat16, torch.float16)
TRANSPOSED = ("TBackward0", "TransposeBackward0")
RESHAPED = ("ViewBackward0", "UnsqueezeBackward0")


@dataclass(frozen=True, slots=True, eq=False)
class _Note:
    """A saved tensor that lies in a row, or in a copy of a span of it in another dtype."""

    flat: Flat
    span: slice
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int


class _Walk:
    """The order in which a computation needs rows."""

    def __init__(self) -> None:
        self.order: list[Flat] = []
        self.at = 0

    def step(self, flat: Flat) -> Flat | None:
        """Goes on to a row; the one after it, if that is known. Another way than before is learnt anew."""
        if self.at == len(self.order) or self.order[self.at] is not flat:
            self.order[self.at :] = [flat]
        self.at += 1
        return self.order[self.at] if self.at < len(self.order) else None


class Lender:
    """The rows of one stage. ``parts`` are what this rank keeps of them."""

    def __init__(self) -> None:
        self.parts: dict[Flat, Tensor] = {}
        self._walks = {"forward": _Walk(), "backward": _Walk()}
        self._walk = _Walk()
        self._current: Flat | None = None
        self._rows: dict[Flat, Coming] = {}
        self._storages: dict[int, tuple[StorageWeakRef, Flat]] = {}  # of all rows that still exist

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Around the forward of a microbatch."""
        with self._computing("forward"), saved_tensors_hooks(self._noted, self._found):
            yield

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Around the backward of a microbatch."""
        with self._computing("backward"):
            yield

    @contextmanager
    def _computing(self, what: str) -> Iterator[None]:
        self._walk, self._current = self._walks[what], None
        self._walk.at = 0
        try:
            yield
            self._keep(())
        finally:
            self._rows.clear()
            self._walk, self._current = _Walk(), None

    def row(self, flat: Flat) -> Tensor:
        """All parameters of a row, gathered."""
        if flat is not self._current:
            following = self._walk.step(flat)
            near = (flat,) if following is None else (flat, following)
            self._keep(near)
            for each in near:
                self._fetch(each)
            self._current = flat
        return self._rows[flat].wait()

    def lend(self, flat: Flat, name: str, leaf: Tensor) -> Tensor:
        """A whole parameter, whose gradient goes to ``leaf``."""
        whole = flat.whole(name, self.row(flat))
        if not (torch.is_grad_enabled() and leaf.requires_grad):
            return whole
        lent = _Lend.apply(leaf, whole, (flat, flat.span(name)))  # type: ignore[no-untyped-call]
        assert isinstance(lent, Tensor)
        return lent

    def _fetch(self, flat: Flat) -> None:
        if flat in self._rows:
            return
        row = flat.new_row()
        gone = [key for key, (storage, _) in self._storages.items() if storage.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            del self._storages[key]
        self._storages[_key(row)] = (StorageWeakRef(row.untyped_storage()), flat)  # type: ignore[no-untyped-call]
        self._rows[flat] = flat.gathered(self.parts[flat], row)

    def _keep(self, near: tuple[Flat, ...]) -> None:
        for flat in [flat for flat in self._rows if flat not in near]:
            self._rows.pop(flat).wait()

    def _noted(self, tensor: Tensor) -> Tensor | _Note:
        """What autograd keeps of a tensor."""
        if tensor.layout is torch.strided:
            _, flat = self._storages.get(_key(tensor), (None, None))
            place = (flat, slice(None)) if flat is not None and tensor.dtype == flat.dtype else _copied(tensor)
            if place is not None:
                return _Note(*place, tensor.dtype, tensor.size(), tensor.stride(), int(tensor.storage_offset()))
        return tensor.detach()

    def _found(self, saved: Tensor | _Note) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        return self.row(saved.flat)[saved.span].to(saved.dtype).as_strided(saved.size, saved.stride, saved.offset)


def _copied(tensor: Tensor) -> tuple[Flat, slice] | None:
    """What a tensor in lower precision is a copy of, element by element in memory: a parameter, or its transpose."""
    base = tensor._base if tensor._is_view() else tensor  # noqa: SLF001
    if tensor.dtype not in LOWER or base is None or base.grad_fn is None or base.grad_fn.name() != "ToCopyBackward0":
        return None
    node: Any = base.grad_fn.next_functions[0][0]
    if node is not None and node.name() in TRANSPOSED and base.dim() == 2:
        base, node = base.t(), node.next_functions[0][0]
    while node is not None and node.name() in RESHAPED:
        node = node.next_functions[0][0]
    return getattr(node, "place", None) if base.is_contiguous() else None


def _key(tensor: Tensor) -> int:
    """The address of a tensor's storage object, which no other gets while a weak reference to it exists."""
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


class _Lend(torch.autograd.Function):
    """The identity; its gradient goes to a leaf that has no memory of its own."""

    @staticmethod
    def forward(ctx: Any, _leaf: Tensor, whole: Tensor, place: tuple[Flat, slice]) -> Tensor:
        ctx.place = place
        ctx.set_materialize_grads(False)
        return whole

    @staticmethod
    def backward(_: Any, *grads: Tensor | None) -> Any:
        return grads[0], None, None
