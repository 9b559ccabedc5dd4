"""What is alive while one block computes, op by op: the most in its forward and in its backward.

A *storage* is a value that owns memory (a view counts as its base). The forward keeps what the block makes until the block ends,
as its code does, but for results that are written inside of the next line. The backward goes through the ops from last to first
as autograd does: an op has the gradients of its results, what it saved, the gradients that it makes, and working memory of its
own; then the first two are let go. A gradient that is passed on as it is takes no memory again; of a value with several readers
the gradients are added up, in place where nothing else has the first.

Which ops come after one another does not depend on the number of samples: all bytes are lines over it (``line``), and a walk
lists every level that memory reaches, the most of which is another one at other samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from autopart.blocks.line import NOTHING, Line, total
from autopart.blocks.work import Work
from autopart.ir.analysis import packet
from autopart.ir.graph import Op

Sizes = Callable[[str], Line]
"""Bytes of a value, by name."""

INSIDE = frozenset(
    """add sub rsub mul div neg pow exp log sqrt rsqrt square abs sin cos tanh sigmoid erf clamp sum mean dropout relu gelu
    silu""".split()  # noqa: SIM905
)
IN_A_LINE = 4  # results that go into one another; one of so many gets a name, and stays


@dataclass(frozen=True)
class Forward:
    """A block's ops, what each makes that owns memory, in bytes, of that what is kept for the backward, and what each needs
    while it runs.
    """

    ops: Sequence[Op]
    made: Sequence[Line]
    kept: Sequence[Line]
    making: Sequence[Line]
    readers: Callable[[str], Sequence[Op]]
    outputs: Collection[str]

    def levels(self) -> list[Line]:
        """Bytes, with those that are kept."""
        held, loose, chain, found = NOTHING, NOTHING, 0, [NOTHING]
        for index in range(len(self.ops)):
            found.append(held + loose + self.made[index] + self.making[index])
            inside = self._inside(index) and chain < IN_A_LINE - 1
            held = held + (self.kept[index] if inside else self.made[index])
            loose = self.made[index] - self.kept[index] if inside else NOTHING
            chain = chain + 1 if inside else 0
        return found

    def _inside(self, index: int) -> bool:
        """Whether the result is only written inside of the next op."""
        op, following = self.ops[index], self.ops[index + 1 : index + 2]
        if not following or len(op.outputs) != 1 or op.outputs[0].name in self.outputs:
            return False
        alone = [reader.name for reader in self.readers(op.outputs[0].name)] == [following[0].name]
        return alone and packet(op) in INSIDE and packet(following[0]) in INSIDE


@dataclass(frozen=True, slots=True)
class Most:
    """Bytes beside what the block's forward leaves behind. ``first``: in a backward in which its parameters get their gradients;
    ``later``: in one that adds to them.
    """

    first: float
    later: float


@dataclass(frozen=True)
class Backward:
    """A block's ops with their works, and what is alive when its backward starts: the saved bytes that the block made, less
    ``released`` by later ones, and gradients of ``incoming`` values, or none of them where somebody else holds and counts them
    (``given``). ``held`` are storages that the block itself lets go.
    """

    ops: Sequence[Op]
    works: Sequence[Work]
    size: Sizes
    beside: Sequence[Line]  # saved beside values by each op
    working: Sequence[Line]
    parameters: Collection[str]
    incoming: Sequence[str]
    held: Collection[str]
    released: Line
    given: bool = False

    def levels(self, *, keeps: bool) -> list[Line]:
        """``keeps``: gradients of parameters stay, or are added to those that are there."""
        grads = _Gradients(self.size)
        for name in self.incoming:
            grads.arrive(name, grads.make(name, empty=self.given))
        savers = Counter(name for work in self.works for name in work.saved if name in self.held)
        released, kept, found = self.released, NOTHING, [grads.nbytes - self.released]
        for index in reversed(range(len(self.ops))):
            op, work = self.ops[index], self.works[index]
            taken = [grads.take(value.name) for value in op.outputs]
            if work.wanted and any(buffer is not None for buffer in taken):
                weights = total(self.size(name) for name in work.wanted if name in self.parameters)
                values = [name for name in work.wanted if name not in self.parameters]
                passed = next((buffer for buffer in taken if buffer is not None), None)
                made = [(name, grads.alias(passed) if name in work.passed else grads.make(name)) for name in values]
                found.append(grads.nbytes + weights + kept + self.working[index] - released)
                kept = kept + weights if keeps else kept
            else:
                made = []
            for buffer in taken:
                grads.drop(buffer)
            released = released + self.beside[index]
            for name in work.saved:
                savers[name] -= 1
                released = released + self.size(name) if savers[name] == 0 and name in self.held else released
            for name, buffer in made:
                found.append(grads.arrive(name, buffer) + kept - released)
        return found


class _Gradients:
    """Gradients that exist, by value; several values may share one. ``nbytes`` is of all."""

    def __init__(self, size: Sizes) -> None:
        self.nbytes = NOTHING
        self._size = size
        self._of: dict[str, int] = {}
        self._uses: dict[int, int] = {}
        self._bytes: dict[int, Line] = {}

    def make(self, name: str, *, empty: bool = False) -> int:
        buffer = len(self._bytes)
        self._bytes[buffer], self._uses[buffer] = NOTHING if empty else self._size(name), 2 if empty else 1
        self.nbytes = self.nbytes + self._bytes[buffer]
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
            self.nbytes = self.nbytes - self._bytes[buffer]

    def arrive(self, name: str, buffer: int) -> Line:
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
