"""What each op allows over one mesh axis: rows of (placements of the inputs, placements of the outputs).

A rule is a function from a ``Call`` to rows; most are one line over *labels*, as in einsum: the same label on dims of inputs
and outputs says that they are split together. A label that no output has may be split where the op sums over
it (the outputs are partial). The row where everything is replicated is always legal and never written down.

Rules know nothing of batches: ``unit`` is the size of whatever is split (samples, heads, features), and a dim of size
``outer * unit * inner`` is ``Shard(dim, outer)``. A rule is registered for an op's name without overload; ``add`` stands for
``add.Tensor``, ``add.Scalar``, ``add_.Tensor``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from autopart.ir.graph import Argument, Op, Ref
from autopart.sharding.placement import Partial, Placement, Replicate, Shard

Shape = tuple[int, ...]
Labels = Sequence[Hashable | None]  # one per dim; None: never split


@dataclass(frozen=True, slots=True)
class RowNumbers:
    """Numbers of the rank's own rows times ``step``, counted from its first one: ``arange(b)``, as a rank computes it by itself.

    Right only as an index into what is sharded alike. ``origin`` is the op that made them.
    """

    dim: int
    step: int = 1
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Unread:
    """An input of which only dtype and device matter: any placement will do. As an output: bookkeeping that nobody may read."""


Place = Placement | RowNumbers | Unread


@dataclass(frozen=True, slots=True)
class Row:
    """One legal way to run an op: a place for every tensor use (in order of appearance) and for every output."""

    inputs: tuple[Place, ...]
    outputs: tuple[Place, ...]


@dataclass(frozen=True)
class Call:
    """An op with concrete sizes. ``shapes`` has an entry per tensor use; ``outers``: values of ``Shard.outer`` to look at."""

    op: Op
    shapes: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    unit: int
    outers: tuple[int, ...] = (1,)

    def arg(self, position: int, name: str, default: Argument) -> Argument:
        """An argument by position or keyword."""
        return argument(self.op, position, name, default)

    def use(self, position: int) -> int | None:
        """Index among the tensor uses of positional argument ``position``; None where it is no tensor."""
        if position >= len(self.op.args) or not isinstance(self.op.args[position], Ref):
            return None
        return sum(len(list(refs(earlier))) for earlier in self.op.args[:position])

    def integer(self, position: int, name: str, default: int) -> int:
        value = self.arg(position, name, default)
        return value if isinstance(value, int) else default

    def dims(self, position: int, name: str, rank: int, default: Iterable[int]) -> tuple[int, ...]:
        """An argument that names one dim or several, counted from the front."""
        value = self.arg(position, name, None)
        if value is None or value == () or isinstance(value, bool):  # std(x, unbiased) has no dim
            value = tuple(default)
        chosen = value if isinstance(value, tuple) else (value,)
        return tuple(int(dim) % max(rank, 1) for dim in chosen if isinstance(dim, int))

    def splits(self, size: int) -> Iterator[int]:
        """The ``outer``s with which a dim of that size can be split."""
        return (outer for outer in self.outers if size and size % (outer * self.unit) == 0)

    @property
    def base(self) -> str:
        return base_name(self.op.kind)


Rule = Callable[[Call], Iterable[Row]]
REGISTRY: dict[str, Rule] = {}


def rule(names: str) -> Callable[[Rule], Rule]:
    """Registers a function for the aten ops named, separated by blanks."""

    def register(function: Rule) -> Rule:
        for name in names.split():
            assert f"aten.{name}" not in REGISTRY, f"two rules for {name}"
            REGISTRY[f"aten.{name}"] = function
        return function

    return register


def base_name(kind: str) -> str:
    """``aten.add`` of ``aten.add.Tensor`` and of ``aten.add_.Tensor``."""
    base = kind.rsplit(".", 1)[0]
    return base[:-1] if base.endswith("_") and not base.endswith("__") else base


def rows(call: Call) -> tuple[Row, ...] | None:
    """All legal rows, the replicated one last; None where no rule knows the op."""
    found = REGISTRY.get(call.base)
    if found is None:
        return None
    return (*dict.fromkeys(found(call)), replicated(call))


def replicated(call: Call) -> Row:
    return Row((Replicate(),) * len(call.shapes), (Replicate(),) * len(call.outputs))


def refs(argument: Argument) -> Iterator[str]:
    """Every use of a value in an argument, repeats included."""
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from refs(item)


def uses(op: Op) -> tuple[str, ...]:
    """The tensor uses of an op, in order of appearance, repeats included."""
    return tuple(name for value in (*op.args, *(value for _, value in op.kwargs)) for name in refs(value))


def argument(op: Op, position: int, name: str, default: Argument) -> Argument:
    if position < len(op.args):
        return op.args[position]
    return dict(op.kwargs).get(name, default)


def by_labels(
    call: Call,
    inputs: Sequence[Labels],
    outputs: Sequence[Labels],
    *,
    sums: Iterable[Hashable] = (),
    linear: Iterable[Iterable[int]] = (),
) -> Iterator[Row]:
    """One row per label and ``outer``; ``sums`` are labels that the op adds up, so that splitting them leaves partial outputs.

    ``linear``: groups of tensor uses in which the op is jointly linear: all of a group partial, the others replicated,
    makes the outputs partial.
    """
    summed = set(sums)
    for label in dict.fromkeys(label for dims in (*outputs, *inputs) for label in dims if label is not None):
        sizes = [shape[d] for dims, shape in zip((*inputs, *outputs), (*call.shapes, *call.outputs), strict=True)
                 for d, other in enumerate(dims) if other == label]  # fmt: skip
        once = all(list(dims).count(label) < 2 for dims in (*inputs, *outputs))
        if not once or len(set(sizes)) != 1 or not (label in summed or all(label in dims for dims in outputs)):
            continue
        for outer in call.splits(sizes[0]):
            yield Row(
                tuple(_place(dims, label, outer, Replicate()) for dims in inputs),
                tuple(_place(dims, label, outer, Partial()) for dims in outputs),
            )
    yield from partial_rows(call, linear)


def _place(dims: Labels, label: Hashable, outer: int, otherwise: Placement) -> Placement:
    return Shard(list(dims).index(label), outer) if label in dims else otherwise


def partial_rows(call: Call, linear: Iterable[Iterable[int]]) -> Iterator[Row]:
    """One row per group of tensor uses in which the op is linear."""
    for group in linear:
        chosen = set(group)
        inputs = tuple(Partial() if use in chosen else Replicate() for use in range(len(call.shapes)))
        yield Row(inputs, (Partial(),) * len(call.outputs))


def broadcast(shape: Shape, to: Shape) -> list[int | None]:
    """Labels of a tensor that broadcasts to a shape: the dims' numbers there, None where it has size 1."""
    offset = len(to) - len(shape)
    return [d + offset if size == to[d + offset] != 1 else None for d, size in enumerate(shape)]


def numbered(shape: Shape, never: Iterable[int] = ()) -> list[int | None]:
    """Labels 0, 1, 2, … but for dims that can't be split."""
    return [None if d in set(never) else d for d in range(len(shape))]


def product(sizes: Iterable[int]) -> int:
    return math.prod(sizes)
