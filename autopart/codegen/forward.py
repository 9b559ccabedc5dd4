"""A stage's ``forward``: which functions it calls on which parts of the tree, loops over equal blocks, short blocks in place."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Blocks
from autopart.codegen import layout
from autopart.codegen.body import Body, rows_of, tree_path
from autopart.codegen.ends import ends
from autopart.codegen.functions import Context, Function, Unit, qualified, value_name
from autopart.codegen.loops import Call, Loop, fold
from autopart.codegen.names import Namer, path_name
from autopart.ir.graph import Op
from autopart.plans import Stage
from autopart.program.program import Program
from autopart.tensor.localize import column

Item = Unit | Call | Loop


@dataclass(frozen=True)
class Source:
    """What stages are written from.

    ``functions`` are by block name, ``masks`` by the names of their ops; what has none is written where it runs. ``shared`` are
    the units of every stage that follow from the inputs alone.
    """

    blocks: Blocks
    program: Program
    context: Context
    functions: Mapping[str, Function]
    masks: Mapping[tuple[str, ...], Function]
    shared: Mapping[int, Sequence[Unit]]

    @property
    def taken(self) -> frozenset[str]:
        """Names that no local may have."""
        functions = (*self.functions.values(), *self.masks.values())
        return frozenset({*self.context.names.values(), *(function.name for function in functions)})

    def leaf(self, value: str) -> ast.expr:
        """A parameter or buffer, by its value, in the whole tree."""
        name = qualified(self.context.graph, value)
        assert name is not None, f"{value} is neither a parameter nor a buffer, nor made in this function"
        return tree_path("m", name)

    def function_of(self, unit: Unit) -> Function | None:
        return self.functions.get(unit.block.name) or self.masks.get(unit.block.ops)


def forward(source: Source, stage: Stage, units: Sequence[Unit], given: Sequence[str]) -> list[str]:
    """The lines of the method; ``given`` are the values that it returns."""
    return _Forward(source, stage, units, given).lines()


class _Forward:
    def __init__(self, source: Source, stage: Stage, units: Sequence[Unit], given: Sequence[str]) -> None:
        self.source, self.stage, self.given = source, stage, given
        self.names, self.graph = source.context.names, source.context.graph
        self.shared, self.units = source.shared[stage.index], units
        self.function_named = {f.name: f for f in (*source.functions.values(), *source.masks.values())}
        self.local = {value.name for unit in (*self.shared, *units) for op in unit.ops for value in op.outputs}
        self.body = Body(
            self.graph.users,
            frozenset(given),
            Namer(source.taken),
            source.leaf,
            fixed={value: name for value, name in self.names.items() if value in self.local},
            depth=2,
            autocast=source.context.autocast,
            replicas="self.replicas",
            tensor="self.tensor",
        )
        self.reads = Counter(given)
        for unit in (*self.shared, *units):
            self.reads.update(unit.inputs)
        self.running: dict[str, str] = {}  # what only a loop reads, and is called like the loop's variable

    def lines(self) -> list[str]:
        arguments = self._arguments()
        parameters = [(self.names[name], self.source.context.values[name]) for name in arguments]
        for name in arguments:
            self.body.expressions[name] = ast.Name(self.names[name])
        for name in self.source.blocks.sharded.statistics:
            self.body.expressions[name] = ast.Attribute(ast.Name("self"), self.names[name], ast.Load())
        self.body.device = f"{parameters[0][0]}.device" if parameters else "self.device"
        self._write()
        result = "Tensor" if len(self.given) == 1 else f"tuple[{', '.join(['Tensor'] * len(self.given))}]"
        lines = layout.define("forward", ["self", "m: Tree", *(f"{name}: Tensor" for name, _ in parameters)], result, 1)
        rows = rows_of(parameters) or "self.replicas.rows[self.replicas.index]"
        lines += [f"        b = {rows}"] if self.body.counted else []
        return [*lines, *self.body.finish(self.given)]

    def _arguments(self) -> list[str]:
        """Graph inputs and received values that the forward reads."""
        read = {name for unit in (*self.shared, *self.units) for name in unit.inputs}
        inputs = [i.value.name for i in self.graph.inputs if i.value.name in read and i.value.name in self.names]
        inputs = [name for name in inputs if name not in self.source.blocks.sharded.statistics]
        received = [t.value for t in self.source.program.transfers if t.target == self.stage.index]
        return list(dict.fromkeys([*inputs, *received]))

    def _write(self) -> None:
        if self.shared:
            self.body.say("# from the inputs alone")
        shared, items = self._items(self.shared), self._items(self.units)
        self._plan_names([*shared, *items])
        self._write_items(shared)
        self._write_items(items, self._ends(items))

    def _ends(self, items: Sequence[Item]) -> Mapping[int, Sequence[str]]:
        """By item the values that nobody needs after it."""
        parts, units = [], iter(self.units)
        for item in items:
            count = len(item.calls) * item.rounds if isinstance(item, Loop) else 1
            parts.append([next(units) for _ in range(count)])
        looped = [index for index, item in enumerate(items) if isinstance(item, Loop)]
        return ends(parts, looped, {*self.given, *self.running}, column(self.source.blocks, 0).sharded.graph)

    def _write_items(self, items: Sequence[Item], ended: Mapping[int, Sequence[str]] | None = None) -> None:
        for index, item in enumerate(items):
            match item:
                case Unit():
                    if len(item.ops) > 1 and item not in self.shared:
                        self.body.say(f"# {item.block.name}")
                    self.body.ops(item.ops, None, self._name)
                case Call():
                    self._call(item, tree_path("m", item.path), self._wanted, {})
                case Loop():
                    self._loop(item)
            self._let_go((ended or {}).get(index, ()))

    def _let_go(self, values: Sequence[str]) -> None:
        """Of memory that would otherwise stay until the forward ends."""
        found = [self.body.expressions.get(value) for value in values]
        names = dict.fromkeys(each.id for each in found if isinstance(each, ast.Name))
        if names:
            self.body.say(f"del {', '.join(names)}")

    def _items(self, units: Sequence[Unit]) -> list[Item]:
        """Units in order as calls, calls in a row folded into loops."""
        items: list[Item] = []
        calls: list[Call] = []
        for unit in units:
            function = self.source.function_of(unit)
            if function is None:
                items += [*fold(calls, self.reads), unit]
                calls = []
            else:
                outputs = tuple(unit.made[i] for i in function.results)
                calls.append(Call(function.name, unit.block.prefix, unit.inputs, outputs))
        return [*items, *fold(calls, self.reads)]

    def _plan_names(self, items: Sequence[Item]) -> None:
        for loop in (item for item in items if isinstance(item, Loop)):
            for each in loop.carried:
                first = sum(call.inputs.count(each.start) for call in loop.calls)
                if each.start in self.local and self.reads[each.start] == first:
                    self.running.setdefault(each.start, "x")

    def _name(self, op: Op, last: bool) -> str:
        """What an op's result is called that is written in place."""
        for value in op.outputs:
            if value.name in self.running:
                return self.running[value.name]
        return value_name(op, "", last, self.source.context)

    def _wanted(self, value: str, function: Function) -> str:
        """What the result of a call is called."""
        if value in self.running:
            return self.running[value]
        if value in self.source.context.shared:
            return value_name(self.graph.producer[value], "", True, self.source.context)
        return _local_name(value, function)

    def _call(self, call: Call, tree: ast.expr, wanted: Callable[[str, Function], str], fixed: Mapping[str, str]) -> None:
        """One statement. ``fixed`` are outputs that go into a name that exists."""
        function = self.function_named[call.function]
        args = [tree, *(self.body.refer(name) for name in call.inputs), *(self._extra(extra) for extra in function.extras)]
        expression: ast.expr = ast.Call(ast.Name(function.name), args, [])
        if self._recomputed(function):
            again = ast.keyword("use_reentrant", ast.Constant(False))
            expression = ast.Call(ast.Name("checkpoint"), [ast.Name(function.name), *args], [again])
        targets = []
        for name in call.outputs:
            if name in fixed:
                self.body.expressions[name] = ast.Name(fixed[name])
                targets.append(fixed[name])
            elif self.reads[name] or len(call.outputs) == 1:
                targets.append(self.body.bind(name, wanted(name, function)))
            else:
                targets.append("_")
        self.body.lines += layout.assign(targets, expression, self.body.depth)

    def _recomputed(self, function: Function) -> bool:
        if not self.stage.recompute or function in self.source.masks.values():
            return False
        return all(unit.block.recomputable for unit in self.units if self.source.function_of(unit) == function)

    def _extra(self, name: str) -> ast.expr:
        self.body.counted |= name == "b"
        text = {"device": self.body.device, "replicas": self.body.replicas, "tensor": self.body.tensor}.get(name, name)
        return ast.parse(text, mode="eval").body

    def _loop(self, loop: Loop) -> None:
        body = self.body
        before = {each.start: body.refer(each.start) for each in loop.carried}
        variables = {(each.call, each.output): self._variable(each.start) for each in loop.carried}
        for each in loop.carried:
            body.expressions[each.start] = ast.Name(variables[each.call, each.output])
        item = body.namer.take(_singular(loop.tree))
        body.say(f"for {item} in {layout.source(tree_path('m', loop.tree))}[{loop.first}:{loop.first + loop.rounds}]:")
        body.depth += 1
        late: dict[str, str] = {}  # variables that a later call of the round still reads as they were
        for k, (call, path) in enumerate(zip(loop.calls, loop.paths, strict=True)):
            fixed = {}
            for each in (each for each in loop.carried if each.call == k):
                variable = variables[k, each.output]
                if any(each.start in other.inputs for other in loop.calls[k + 1 :]):
                    late[variable] = body.namer.take(f"next_{variable}")
                fixed[call.outputs[each.output]] = late.get(variable, variable)
            tree = tree_path(item, path) if path is not None else ast.Name("m")
            self._call(call, tree, _local_name, fixed)
        for variable, new in late.items():
            body.say(f"{variable} = {new}")
        body.depth -= 1
        body.expressions.update(before)
        self._after(loop, variables)

    def _after(self, loop: Loop, variables: Mapping[tuple[int, int], str]) -> None:
        """The last round's results are in the loop's variables."""
        for k, (first, final) in enumerate(zip(loop.calls, loop.results, strict=True)):
            for j, (name, result) in enumerate(zip(first.outputs, final, strict=True)):
                if (k, j) in variables:
                    self.body.expressions[result] = ast.Name(variables[k, j])
                elif name in self.body.expressions:
                    self.body.expressions[result] = self.body.expressions[name]

    def _variable(self, start: str) -> str:
        """The loop's variable for what starts as ``start``: that value's own name where nothing else reads it."""
        if start in self.running:
            return layout.source(self.body.refer(start))
        name = self.body.namer.take("x")
        self.body.lines += layout.assign([name], self.body.refer(start), self.body.depth)
        return name


def _local_name(_: str, function: Function) -> str:
    """What a result is called that is only passed on: the last word of its function."""
    words = [word for word in function.name.split("_") if not word.isdigit()]
    return words[-1] if words else "x"


def _singular(tree: str) -> str:
    """What an item of a container is called."""
    word = path_name(tree).split("_")[-1]
    return word[:-1] if len(word) > 3 and word.endswith("s") else "block"
