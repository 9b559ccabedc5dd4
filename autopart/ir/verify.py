"""What must hold of every graph; a breach is a mistake of autopart's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopart.ir.graph import DTYPE_BYTES, Graph, Op, Size, Value
from autopart.ir.text import format_op

EXCERPT = 5


def verify(graph: Graph, known: Iterable[str] = ()) -> None:
    """Asserts that names are unique, every value is defined before it is used or written, the loss is a scalar.

    ``known`` are values from outside the graph, such as step statistics.
    """
    checker = _Checker(graph, set(known))
    checker.leaves()
    for index, op in enumerate(graph.ops):
        checker.op(index, op)
    checker.loss()


@dataclass
class _Checker:
    graph: Graph
    defined: set[str]

    def leaves(self) -> None:
        names = [parameter.name for parameter in self.graph.parameters]
        names += [tied for parameter in self.graph.parameters for tied in parameter.tied]
        names += [buffer.name for buffer in self.graph.buffers]
        assert len(set(names)) == len(names), f"a parameter or buffer is listed twice: {_repeated(names)}"
        graph = self.graph
        for value in (leaf.value for leaves in (graph.inputs, graph.parameters, graph.buffers) for leaf in leaves):
            self.define(value, -1)
        for source in self.graph.inputs:
            sizes, dim = source.value.shape, source.batch_dim
            ok = dim is None or (0 <= dim < len(sizes) and isinstance(sizes[dim], Size))
            assert ok, f"input {source.value.name} has no samples in dim {dim}: {sizes}"

    def define(self, value: Value, index: int) -> None:
        assert value.name not in self.defined, self.at(index, f"value {value.name} is defined twice")
        assert value.dtype in DTYPE_BYTES, self.at(index, f"value {value.name} has the unknown dtype {value.dtype}")
        self.defined.add(value.name)

    def op(self, index: int, op: Op) -> None:
        for name in (*op.inputs, *op.mutates):
            assert name in self.defined, self.at(index, f"{op.name} uses {name} before it is defined")
        assert op.outputs or op.mutates, self.at(index, f"{op.name} has neither results nor effects")
        assert op.kind.count(".") >= 1, self.at(index, f"{op.name} is of the kind {op.kind}, which names no namespace")
        for value in op.outputs:
            self.define(value, index)

    def loss(self) -> None:
        graph = self.graph
        names = [op.name for op in graph.ops]
        assert len(set(names)) == len(names), f"two ops share a name: {_repeated(names)}"
        assert graph.loss in self.defined, f"the loss {graph.loss} is never defined"
        shape = graph.values[graph.loss].shape
        assert shape == (), f"the loss {graph.loss} has the sizes {shape}, expected a scalar"

    def at(self, index: int, message: str) -> str:
        """The message with the ops around the fault."""
        first = max(0, index - EXCERPT)
        window = self.graph.ops[first : max(index, 0) + EXCERPT + 1]
        lines = [f"{'>' if first + i == index else ' '} {format_op(op)}" for i, op in enumerate(window)]
        return "\n".join([message, *lines])


def _repeated(names: list[str]) -> str:
    return next(name for name in names if names.count(name) > 1)
