"""Blocks as functions: blocks that are the same code over other parameters share one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Block, Blocks
from autopart.codegen import layout
from autopart.codegen.body import Body, result_name, rows_of, tree_path
from autopart.codegen.names import Namer, class_name
from autopart.codegen.spelling import HERE, REPLICAS, needs
from autopart.ir.graph import Argument, Graph, Op, Ref, Value

SHORT = 6  # ops of a block that is written where it is used, if it occurs once


@dataclass(frozen=True)
class Unit:
    """A block and what flows through it, by value name. ``leaves`` are parameters and buffers below its prefix."""

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
    """An emitted function. ``arguments`` and ``results`` index ``Unit.inputs`` and ``Unit.made`` of any block that it runs;
    ``extras`` are further arguments: ``b``, ``device``, ``replicas``.
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


def results(members: Sequence[Unit], graph: Graph, kept: frozenset[str]) -> tuple[int, ...]:
    """Which made values some member's surroundings read."""
    found: set[int] = set()
    for unit in members:
        own = {op.name for op in unit.ops}
        for i, name in enumerate(unit.made):
            if name in kept or any(user.name not in own for user in graph.users[name]):
                found.add(i)
    return tuple(sorted(found))


def function(
    members: Sequence[Unit],
    graph: Graph,
    values: Mapping[str, Value],
    kept: frozenset[str],
    namer: Namer,
    hints: Mapping[str, str],
    *,
    autocast: bool,
) -> Function:
    """Writes the function of a class of blocks. ``hints`` names values that have a name already; ``values`` knows the prologue's too."""
    first = members[0]
    given = results(members, graph, kept)
    name = namer.take(class_name(first.block.name))
    prefix = first.block.prefix
    body = Body(graph.users, kept, Namer(), lambda value: tree_path("m", below(graph, value, prefix) or ""), autocast=autocast)
    parameters = [(body.bind(value, _argument_name(value, first, graph, hints)), values[value]) for value in first.inputs]
    wanted = frozenset().union(*(needs(op) for op in first.ops))
    extras: list[str] = []
    if HERE in wanted:
        body.device = f"{parameters[0][0]}.device" if parameters else "device"
        extras += [] if parameters else ["device"]
    extras += ["replicas"] if REPLICAS in wanted else []
    body.ops(first.ops, first.base, {})
    rows = rows_of(parameters)
    extras += ["b"] if body.counted and rows is None else []
    lines = layout.define(name, _parameters(parameters, extras), _result(len(given)), 0)
    lines += _docstring(members)
    lines += [f"{layout.INDENT}b = {rows}"] if body.counted and rows else []
    lines += body.lines
    if given:
        lines += layout.give_back([layout.source(body.refer(first.made[i])) for i in given], 1)
    return Function(name, given, tuple(extras), tuple(lines))


def _parameters(parameters: Sequence[tuple[str, Value]], extras: Sequence[str]) -> list[str]:
    types = {"device": "torch.device", "replicas": "Axis", "b": "int"}
    return ["m: Tree", *(f"{name}: Tensor" for name, _ in parameters), *(f"{extra}: {types[extra]}" for extra in extras)]


def _result(count: int) -> str:
    if count <= 1:
        return "Tensor" if count else "None"
    return f"tuple[{', '.join(['Tensor'] * count)}]"


def _argument_name(value: str, unit: Unit, graph: Graph, hints: Mapping[str, str]) -> str:
    if value in hints:
        return hints[value]
    leaf = qualified(graph, value)
    if leaf is not None:
        return "_".join(leaf.split(".")[-2:])
    activations = [name for name in unit.inputs if name not in hints and qualified(graph, name) is None]
    if activations == [value]:
        return "x"
    return result_name(graph.producer[value], "", last=True)


def _docstring(members: Sequence[Unit]) -> list[str]:
    names = [unit.block.name for unit in members]
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
