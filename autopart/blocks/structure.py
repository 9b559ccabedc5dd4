"""When two stretches of ops are the same code over other parameters: canonical keys, equal or not.

A key spells ops in order with their literals, local numbers for values, what comes from outside in order of first use, and what
is needed outside. Parameters and buffers appear by name relative to the stretch's prefix: equal keys mean one
function that can be called with either prefix.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.call import facts
from autopart.ir.analysis import differentiable
from autopart.ir.graph import Argument, Graph, Op, Ref
from autopart.sharding.batch import ShardedGraph

CONSTANT = "_constant_"  # names of what tracing lifted: of no module


@dataclass(frozen=True)
class Body:
    """Ops that belong to blocks, in order, where values are used, and which get a gradient. ``last_use`` of the loss is past
    the end.
    """

    sharded: ShardedGraph
    ops: tuple[Op, ...]
    first_use: Mapping[str, int]
    last_use: Mapping[str, int]
    names: Mapping[str, str]  # value of a parameter or buffer -> qualified name
    differentiable: frozenset[str]

    @property
    def graph(self) -> Graph:
        return self.sharded.graph


def body_of(sharded: ShardedGraph) -> Body:
    """All ops but those that follow from inputs alone."""
    graph = sharded.graph
    return body_with(sharded, tuple(op for op in graph.ops if op.name not in facts(graph).inputs_only))


def body_with(sharded: ShardedGraph, ops: tuple[Op, ...]) -> Body:
    """Of these ops."""
    graph = sharded.graph
    uses = [(name, position) for position, op in enumerate(ops) for name in op.inputs]
    names = {parameter.value.name: parameter.name for parameter in graph.parameters}
    names |= {buffer.value.name: buffer.name for buffer in graph.buffers}
    return Body(sharded, ops, dict(reversed(uses)), dict(uses) | {graph.loss: len(ops)}, names, differentiable(graph))


def prefix_of(body: Body, start: int, stop: int) -> str:
    """Module path that the parameters and buffers of a stretch share; of those that only it reads, if there are any."""
    read = {name for op in body.ops[start:stop] for name in op.inputs if name in body.names}
    read = {name for name in read if not body.names[name].startswith(CONSTANT)}
    own = {name for name in read if body.first_use[name] >= start and body.last_use[name] < stop}
    return common_path([body.names[name].rpartition(".")[0] for name in own or read])


def common_path(paths: Sequence[str]) -> str:
    """``h.3`` of ``h.3.attn`` and ``h.3.mlp.up``."""
    if not paths:
        return ""
    split = [path.split(".") for path in paths]
    length = 0
    while all(len(parts) > length and parts[length] == split[0][length] for parts in split):
        length += 1
    return ".".join(split[0][:length])


def relative(name: str, prefix: str) -> str:
    """``attn.weight`` of ``h.3.attn.weight`` under ``h.3``; a name outside of the prefix as ``/wte.weight``."""
    if not prefix:
        return name
    return name.removeprefix(prefix + ".") if name.startswith(prefix + ".") else "/" + name


def structure(body: Body, start: int, stop: int, prefix: str) -> Hashable:
    """The key of ops [start, stop)."""
    numbers: dict[str, int] = {}
    spelt: list[Hashable] = []
    for op in body.ops[start:stop]:
        for name in op.inputs:
            if name not in numbers:
                numbers[name] = len(numbers)
                spelt.append(_outside(body, name, prefix))
        results = []
        for value in op.outputs:
            numbers[value.name] = len(numbers)
            results.append((value.shape, value.dtype, body.last_use.get(value.name, -1) >= stop, _placement(body, value.name)))
        spelt.append((*spelling(op, numbers), tuple(results)))
    return tuple(spelt)


def spelling(op: Op, numbers: Mapping[str, int]) -> tuple[Hashable, ...]:
    """Kind and arguments, values by number."""
    keywords = tuple((key, _literal(arg, numbers)) for key, arg in op.kwargs)
    return (op.kind, _literal(op.args, numbers), keywords, tuple(numbers[name] for name in op.mutates), op.autocast)


def _literal(arg: Argument, numbers: Mapping[str, int]) -> Hashable:
    match arg:
        case Ref(name):
            return ("value", numbers[name])
        case tuple():
            return tuple(_literal(item, numbers) for item in arg)
        case _:
            return (type(arg).__name__, repr(arg))  # 1, 1.0 and True are different literals; nan equals itself


def _outside(body: Body, name: str, prefix: str) -> Hashable:
    """What is known of a value from outside when its user is compiled."""
    graph = body.graph
    value = graph.values.get(name)
    if value is None:
        return ("statistic",)
    if name in graph.parameter_of:
        return ("parameter", relative(body.names[name], prefix), value.shape, value.dtype, graph.parameter_of[name].trainable)
    if name in graph.buffer_of:
        return ("buffer", relative(body.names[name], prefix), value.shape, value.dtype)
    return ("value", value.shape, value.dtype, name in body.differentiable, _placement(body, name))


def _placement(body: Body, name: str) -> Hashable:
    return body.sharded.placements.get(name)


def symbol(body: Body, position: int) -> Hashable:
    """One op as a symbol of a sequence: alike where another layer does the same, whatever the names."""
    op, values = body.ops[position], body.graph.values
    numbers = {name: i for i, name in enumerate(op.inputs)}
    read = tuple((values[n].shape, values[n].dtype, n in body.names) for n in op.inputs if n in values)
    return (*spelling(op, numbers), read, tuple((value.shape, value.dtype) for value in op.outputs))
