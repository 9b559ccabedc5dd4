"""Blocks as functions: blocks that are the same code over other parameters share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Block, Blocks
from autopart.codegen import layout
from autopart.codegen.body import Body, op_word, result_name, rows_of, tree_path
from autopart.codegen.names import Namer
from autopart.codegen.spelling import HERE, REPLICAS, TENSOR, needs
from autopart.ir.graph import Argument, Graph, Op, Ref, Value

SHORT = 6  # ops of a block that is written where it is used, if it occurs once
SHARED = -1  # kind of what follows from the inputs alone


@dataclass(frozen=True)
class Unit:
    """A block and what flows through it, by value name. ``inputs`` come from outside: no parameter or buffer below its prefix."""

    block: Block
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    made: tuple[str, ...]

    @property
    def base(self) -> str:
        """The module path that all ops share."""
        shared = self.ops[0].module.split(".")
        for op in self.ops[1:]:
            shared = shared[: _common(shared, op.module.split("."))]
        return ".".join(shared)


@dataclass(frozen=True)
class Function:
    """An emitted function: of a tree, then a block's inputs, then ``extras`` (``device``, ``replicas``,
    ``tensor``, ``b``).

    ``results`` index what the block makes.
    """

    name: str
    results: tuple[int, ...]
    extras: tuple[str, ...]
    lines: tuple[str, ...]


def units(blocks: Blocks) -> list[Unit]:
    """Every block with its flow."""
    graph = blocks.sharded.graph
    by_name = {op.name: op for op in graph.ops}
    return [_unit(block, [by_name[name] for name in block.ops], graph) for block in blocks.blocks]


def shared_units(ops: Sequence[Op], graph: Graph) -> list[Unit]:
    """Ops that follow from the inputs alone, as units that have no value in common, in order."""
    group_of: dict[str, list[Op]] = {}
    groups: list[list[Op]] = []
    for op in ops:
        joined: list[Op] = []
        for other in {id(group_of[name]): group_of[name] for name in op.inputs if name in group_of}.values():
            joined += other
            groups.remove(other)
        joined.append(op)
        groups.append(joined)
        group_of.update({value.name: joined for each in joined for value in each.outputs})
    order = {op.name: i for i, op in enumerate(ops)}
    sorted_groups = [sorted(each, key=lambda op: order[op.name]) for each in groups]
    return [_unit(Block("masks", SHARED, tuple(op.name for op in each), ""), each, graph) for each in sorted_groups]


def _unit(block: Block, ops: Sequence[Op], graph: Graph) -> Unit:
    made = [value.name for op in ops for value in op.outputs]
    local = set(made)
    read = dict.fromkeys(name for op in ops for name in op.inputs)
    inputs = tuple(name for name in read if name not in local and below(graph, name, block.prefix) is None)
    return Unit(block, tuple(ops), inputs, tuple(made))


def qualified(graph: Graph, value: str) -> str | None:
    """The fully qualified name of a parameter or buffer by its value."""
    leaf = graph.parameter_of.get(value) or graph.buffer_of.get(value)
    return leaf.name if leaf else None


def below(graph: Graph, value: str, prefix: str) -> str | None:
    """A parameter's or buffer's path below ``prefix``; None for another value."""
    name = qualified(graph, value)
    if name is None or not prefix:
        return name
    return name.removeprefix(f"{prefix}.") if name.startswith(f"{prefix}.") else None


def signature(unit: Unit, graph: Graph) -> object:
    """Equal for blocks that are the same code: ops, constants, sizes, and where every value comes from."""
    places: dict[str, object] = {name: ("input", i) for i, name in enumerate(unit.inputs)}
    places.update({name: ("made", i) for i, name in enumerate(unit.made)})
    base = unit.base

    def place(argument: Argument) -> object:
        if isinstance(argument, Ref):
            return places.get(argument.name) or ("leaf", below(graph, argument.name, unit.block.prefix))
        if isinstance(argument, tuple):
            return tuple(place(item) for item in argument)
        return (type(argument).__name__, argument)

    return (
        tuple((_shape(graph, name), qualified(graph, name) is None) for name in unit.inputs),
        tuple(
            (
                op.kind,
                tuple(place(arg) for arg in op.args),
                tuple((key, place(arg)) for key, arg in op.kwargs),
                len(op.outputs),
                op.module.removeprefix(base),
                op.autocast,
            )
            for op in unit.ops
        ),
        bool(unit.block.prefix),
        unit.block.recomputable,
    )


def _shape(graph: Graph, name: str) -> object:
    return graph.values[name].shape if name in graph.values else ()


def classes(every: Sequence[Unit], graph: Graph) -> list[list[Unit]]:
    """Units by signature, in order of first appearance."""
    found: dict[object, list[Unit]] = {}
    for unit in every:
        found.setdefault(signature(unit, graph), []).append(unit)
    return list(found.values())


def results(members: Sequence[Unit], graph: Graph) -> tuple[int, ...]:
    """Which made values some member's surroundings read, the loss among them."""
    found: set[int] = set()
    for unit in members:
        own = {op.name for op in unit.ops}
        for i, name in enumerate(unit.made):
            if name == graph.loss or any(user.name not in own for user in graph.users[name]):
                found.add(i)
    return tuple(sorted(found))


@dataclass(frozen=True)
class Context:
    """What functions are written from.

    ``names`` are Python names of values in the whole module (inputs, statistics, what stages send, the loss), ``values`` knows
    the prologue's too, ``shared`` are the values that follow from the inputs alone.
    """

    graph: Graph
    names: Mapping[str, str]
    values: Mapping[str, Value]
    shared: frozenset[str]
    autocast: bool


def function(members: Sequence[Unit], name: str, given: tuple[int, ...], context: Context) -> Function:
    """Writes the function of a class of blocks, which returns what ``given`` indexes."""
    first, graph = members[0], context.graph
    prefix = first.block.prefix
    read = frozenset(first.made[i] for i in given)
    body = Body(
        graph.users, read, Namer(), lambda value: tree_path("m", below(graph, value, prefix) or ""), autocast=context.autocast
    )
    parameters = [(body.bind(value, _argument_name(value, first, context)), context.values[value]) for value in first.inputs]
    wanted = frozenset().union(*(needs(op) for op in first.ops))
    extras: list[str] = []
    if HERE in wanted:
        body.device = f"{parameters[0][0]}.device" if parameters else "device"
        extras += [] if parameters else ["device"]
    extras += [axis for axis in (REPLICAS, TENSOR) if axis in wanted]
    body.ops(first.ops, first.base, lambda op, last: value_name(op, first.base, last, context))
    rows = rows_of(parameters)
    extras += ["b"] if body.counted and rows is None else []
    lines = layout.define(name, _parameters(parameters, extras), _result(len(given)), 0)
    lines += _docstring(members)
    lines += [f"{layout.INDENT}b = {rows}"] if body.counted and rows else []
    return Function(name, given, tuple(extras), (*lines, *body.finish([first.made[i] for i in given])))


def value_name(op: Op, base: str, last: bool, context: Context) -> str:
    """What an op's result is called: the loss, a mask, its module or its op."""
    if any(value.name == context.graph.loss for value in op.outputs):
        return "loss"
    if any(value.name in context.shared for value in op.outputs):
        return "mask" if last and op.outputs[0].dtype == "bool" else op_word(op)
    return result_name(op, base, last)


def _parameters(parameters: Sequence[tuple[str, Value]], extras: Sequence[str]) -> list[str]:
    types = {"device": "torch.device", "replicas": "Axis", "tensor": "Axis", "b": "int"}
    return ["m: Tree", *(f"{name}: Tensor" for name, _ in parameters), *(f"{extra}: {types[extra]}" for extra in extras)]


def _result(count: int) -> str:
    if count <= 1:
        return "Tensor" if count else "None"
    return f"tuple[{', '.join(['Tensor'] * count)}]"


def _argument_name(value: str, unit: Unit, context: Context) -> str:
    """``x`` for the main activation; others by what they are."""
    graph = context.graph
    if value in context.names and value not in graph.producer:
        return context.names[value]
    leaf = qualified(graph, value)
    if leaf is not None:
        return "_".join(leaf.split(".")[-2:])
    activations = [name for name in unit.inputs if name in graph.producer and name not in context.shared]
    if value in activations:
        return "x" if activations[0] == value else result_name(graph.producer[value], "", last=True)
    return "mask" if context.values[value].dtype == "bool" else op_word(graph.producer[value])


def _docstring(members: Sequence[Unit]) -> list[str]:
    names = [unit.block.name for unit in members]
    if members[0].block.kind == SHARED:
        return [f'{layout.INDENT}"""Masks and positions: what follows from the inputs alone."""']
    text = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} times in the model"
    return [f'{layout.INDENT}"""{text[:100]}."""']


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the shared beginning."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count
