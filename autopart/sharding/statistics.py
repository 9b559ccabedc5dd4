"""Step constants: sums over samples that follow from the inputs alone, such as the number of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from autopart.ir.analysis import is_random
from autopart.ir.graph import Argument, Graph, Input, Op, Ref, Value
from autopart.sharding import comm


@dataclass
class Statistics:
    """``tainted`` values follow from a parameter, a random number or a buffer that the step writes; sums of others are known.

    ``prologue`` has copies of the ops that such sums need, and ``found`` the statistics by the value they sum.
    """

    tainted: set[str]
    prologue: list[Op] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    found: dict[str, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Statistics:
        written = {name for op in graph.ops for name in op.mutates}
        return cls({parameter.value.name for parameter in graph.parameters} | written)

    def note(self, op: Op) -> None:
        """Whether the op's results are known before the step."""
        if is_random(op) or op.mutates or any(name in self.tainted for name in op.inputs):
            self.tainted.update(value.name for value in op.outputs)

    def known(self, name: str) -> bool:
        return name not in self.tainted

    def hoist(self, value: Value, ops: Sequence[Op]) -> Value:
        """The sum of a partial ``value`` over ranks and microbatches, computed by the prologue."""
        if value.name in self.found:
            return self.found[value.name]
        for op in cone(value.name, ops):
            self.copy(op)
        total = replace(value, name=f"{value.name}.total")
        producer = next(op for op in ops if any(made.name == value.name for made in op.outputs))
        source = Ref(self.copies[value.name])
        self.prologue.append(
            replace(producer, name=total.name, kind=comm.ALL_REDUCE, args=(source,), kwargs=(), outputs=(total,))
        )
        self.found[value.name] = total
        return total

    def copy(self, op: Op) -> None:
        """The op once more, in the prologue, under names of its own."""
        if op.outputs[0].name in self.copies:
            return
        outputs = tuple(replace(value, name=f"{value.name}.step") for value in op.outputs)
        args = tuple(self.renamed(value) for value in op.args)
        kwargs = tuple((key, self.renamed(value)) for key, value in op.kwargs)
        self.prologue.append(replace(op, name=f"{op.name}.step", args=args, kwargs=kwargs, outputs=outputs))
        self.copies.update((value.name, made.name) for value, made in zip(op.outputs, outputs, strict=True))

    def renamed(self, value: Argument) -> Argument:
        if isinstance(value, Ref):
            return Ref(self.copies.get(value.name, value.name))
        return tuple(self.renamed(item) for item in value) if isinstance(value, tuple) else value

    def inputs(self) -> tuple[Input, ...]:
        """The statistics as inputs of the rewritten graph."""
        return tuple(Input(value, ("statistics", value.name), None) for value in self.found.values())


def cone(name: str, ops: Iterable[Op]) -> list[Op]:
    """The ops that a value follows from, in order."""
    needed, found = {name}, []
    for op in reversed(list(ops)):
        if any(value.name in needed for value in op.outputs):
            needed.update(op.inputs)
            found.append(op)
    return found[::-1]
