"""One op with everything that its row of the op table may ask: sizes at a batch, gradients, memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from autopart.blocks.layout import Layout, layouts
from autopart.ir.analysis import argument, differentiable, inputs_only, once, packet
from autopart.ir.graph import DTYPE_BYTES, Argument, GlobalSize, Graph, Op, Ref, Size, Value


@dataclass(frozen=True)
class Facts:
    """What is found once per graph. ``last_use``: the op that reads a value last, whose backward runs first."""

    graph: Graph
    differentiable: frozenset[str]
    layouts: Mapping[str, Layout]
    last_use: Mapping[str, str]
    inputs_only: frozenset[str]


@once
def facts(graph: Graph) -> Facts:
    last_use = {name: op.name for op in graph.ops for name in op.inputs}
    return Facts(graph, differentiable(graph), layouts(graph), last_use, inputs_only(graph))


@dataclass(frozen=True, eq=False)
class Call:
    """``fused``: kernels as on an accelerator (flash attention, one-byte dropout masks), else as on a CPU. ``whole``: rows of
    what was gathered from all ranks; those of the batch if nothing is said.
    """

    op: Op
    facts: Facts
    batch: int
    fused: bool = True
    whole: int | None = None

    @cached_property
    def packet(self) -> str:
        return packet(self.op)

    @cached_property
    def tensors(self) -> tuple[Value, ...]:
        """Inputs of a known shape, each once; a statistic (a step constant) has none."""
        values = self.facts.graph.values
        return tuple(values[name] for name in self.op.inputs if name in values)

    @property
    def outputs(self) -> tuple[Value, ...]:
        return self.op.outputs

    @cached_property
    def wanted(self) -> tuple[Value, ...]:
        """Inputs that get a gradient through this op."""
        live = any(self.has_gradient(value) for value in self.outputs)
        return tuple(value for value in self.tensors if self.has_gradient(value)) if live else ()

    def has_gradient(self, value: Value) -> bool:
        return value.name in self.facts.differentiable

    def at(self, position: int, name: str = "") -> Value | None:
        """The tensor passed at a position (or under a name); None where there is none."""
        arg = argument(self.op, position, name)
        return self.facts.graph.values.get(arg.name) if isinstance(arg, Ref) else None

    def literal(self, position: int, name: str, default: Argument = None) -> Argument:
        return argument(self.op, position, name, default)

    def ints(self, position: int, name: str) -> tuple[int, ...]:
        """A list of sizes, evaluated at the batch."""
        arg = argument(self.op, position, name)
        items = arg if isinstance(arg, tuple) else (arg,)
        sizes = [item for item in items if isinstance(item, int | Size | GlobalSize)]
        return tuple(size if isinstance(size, int) else size.at(self.batch) for size in sizes)

    def shape(self, value: Value) -> tuple[int, ...]:
        return value.shape_at(self.batch, self.whole)

    def count(self, value: Value) -> int:
        return prod(self.shape(value))

    def nbytes(self, *values: Value) -> int:
        return sum(self.count(value) * DTYPE_BYTES[value.dtype] for value in values)

    def copies(self, value: Value) -> bool:
        """Whether a result has memory of its own, where the op may be a view."""
        return self.facts.layouts[value.name].storage == value.name
