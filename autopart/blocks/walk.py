"""What is alive while one block computes, op by op: the most in its forward and in its backward.

A *storage* is a value that owns memory (a view counts as its base). The forward keeps whatever the block makes until the block
ends, as its code does. The backward goes through the ops from last to first as autograd does: an op has the gradients of its
results, what it saved, the gradients that it makes, and working memory of its own; then the first two are let go. A gradient
that is passed on as it is takes no memory again; of a value with several readers the gradients are added up, in place where
nothing else has the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from autopart.blocks.work import Work
from autopart.ir.graph import Op

Sizes = Callable[[str], float]
"""Bytes of a value, by name."""


@dataclass(frozen=True, slots=True)
class Most:
    """Bytes beside what the block's forward leaves behind. ``first``: in a backward in which its parameters get their gradients;
    ``later``: in one that adds to them.
    """

    first: float
    later: float


@dataclass(frozen=True)
class Backward:
    """A block's ops with their works, and what is alive when its backward starts: the saved bytes that the block made, and
    gradients of ``incoming`` values. ``owner`` names the storage of a value, ``held`` are storages that the block itself lets go.
    """

    ops: Sequence[Op]
    works: Sequence[Work]
    size: Sizes
    beside: Callable[[int], float]  # saved beside values by the op of an index
    working: Callable[[int], float]
    parameters: Collection[str]
    incoming: Sequence[str]
    held: Collection[str]

    def most(self) -> Most:
        first, later = (self._most(keeps=keeps) for keeps in (True, False))
        return Most(first, later)

    def _most(self, *, keeps: bool) -> float:
        """``keeps``: gradients of parameters stay, or are added to those that are there."""
        grads = _Gradients(self.size)
        for name in self.incoming:
            grads.arrive(name, grads.make(name))
        savers = Counter(name for work in self.works for name in work.saved if name in self.held)
        released, kept, most = 0.0, 0.0, grads.nbytes
        for index in reversed(range(len(self.ops))):
            op, work = self.ops[index], self.works[index]
            taken = [grads.take(value.name) for value in op.outputs]
            if work.wanted and any(buffer is not None for buffer in taken):
                weights = sum(self.size(name) for name in work.wanted if name in self.parameters)
                values = [name for name in work.wanted if name not in self.parameters]
                passed = next((buffer for buffer in taken if buffer is not None), None)
                made = [(name, grads.alias(passed) if name in work.passed else grads.make(name)) for name in values]
                most = max(most, grads.nbytes + weights + kept + self.working(index) - released)
                kept += weights if keeps else 0.0
            else:
                made = []
            for buffer in taken:
                grads.drop(buffer)
            released += self.beside(index)
            for name in work.saved:
                savers[name] -= 1
                released += self.size(name) if savers[name] == 0 and name in self.held else 0.0
            for name, buffer in made:
                most = max(most, grads.arrive(name, buffer) + kept - released)
        return most


class _Gradients:
    """Gradients that exist, by value; several values may share one. ``nbytes`` is of all."""

    def __init__(self, size: Sizes) -> None:
        self.nbytes = 0.0
        self._size = size
        self._of: dict[str, int] = {}
        self._uses: dict[int, int] = {}
        self._bytes: dict[int, float] = {}

    def make(self, name: str) -> int:
        buffer = len(self._bytes)
        self._bytes[buffer], self._uses[buffer] = self._size(name), 1
        self.nbytes += self._bytes[buffer]
        return buffer

    def alias(self, buffer: int | None) -> int:
        assert buffer is not None, "a gradient is passed on that is not there"
        self._uses[buffer] += 1
        return buffer

    def take(self, name: str) -> int | None:
        """Of a result: whoever takes it drops it."""
        return self._of.pop(name, None)

    def drop(self, buffer: int | None) -> None:
        if buffer is None:
            return
        self._uses[buffer] -= 1
        if not self._uses[buffer]:
            self.nbytes -= self._bytes[buffer]

    def arrive(self, name: str, buffer: int) -> float:
        """A term of a value's gradient; the most that there is of all gradients meanwhile."""
        before = self._of.get(name)
        if before is None:
            self._of[name] = buffer
            return self.nbytes
        most = self.nbytes
        if self._uses[before] > 1:
            self._of[name] = self.make(name)
            most = self.nbytes
            self.drop(before)
        self.drop(buffer)
        return most
