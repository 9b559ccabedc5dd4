"""A stage as a class whose ``forward`` reads like the model."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import needed_inputs_only, needed_prologue, stage_statistics
from autopart.codegen import layout
from autopart.codegen.body import Body, result_name, rows_of, tree_path
from autopart.codegen.functions import Function, Unit, qualified
from autopart.codegen.loops import Call, Loop, fold
from autopart.codegen.names import Namer, path_name
from autopart.ir.graph import Op, Value
from autopart.plans import Stage
from autopart.program.program import Program


@dataclass(frozen=True)
class Source:
    """What stages are written from. ``names`` are Python names of values that the whole module knows: inputs, statistics,
    what is sent, the loss. ``functions`` are by block name; a block without one is written where it runs.
    """

    blocks: Blocks
    program: Program
    names: Mapping[str, str]
    values: Mapping[str, Value]
    functions: Mapping[str, Function]
    autocast: bool


def stage_class(source: Source, stage: Stage, units: Sequence[Unit]) -> list[str]:
    """The lines of one stage's class."""
    interval = _interval(source.blocks, stage)
    given = _given(source, stage.index)
    lines = [f"class Stage{stage.index}(Stage):", *_head(source, stage, units, given)]
    prologue = needed_prologue(source.blocks, *interval)
    if prologue:
        lines += ["", *_prologue(source, [op for op in source.blocks.sharded.prologue if op.name in prologue], interval)]
    lines += ["", *_Forward(source, stage, units, given).lines()]
    return lines


def _interval(blocks: Blocks, stage: Stage) -> tuple[int, int]:
    start = blocks.index[stage.blocks[0]]
    return start, start + len(stage.blocks)


def _given(source: Source, index: int) -> list[str]:
    """Values that a stage sends, in the order of transfers; the last also gives the loss."""
    sent = [transfer.value for transfer in source.program.transfers if transfer.source == index]
    loss = [source.blocks.sharded.graph.loss] if index == len(source.program.stages) - 1 else []
    return list(dict.fromkeys([*sent, *loss]))


def _head(source: Source, stage: Stage, units: Sequence[Unit], given: Sequence[str]) -> list[str]:
    """Docstring and what the runtime reads."""
    spec = source.program.stages[stage.index]
    names = [unit.block.name for unit in units]
    runs = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    ranks = f"rank {spec.ranks[0]}" if len(spec.ranks) == 1 else f"ranks {', '.join(map(str, spec.ranks))}"
    targets = {
        name: sorted({t.target for t in source.program.transfers if t.value == name and t.source == stage.index})
        for name in given
    }
    gives = ", ".join(f'"{source.names[name]}"' for name in given) + ("," if len(given) == 1 else "")
    lines = [f'    """{runs[:80]}, on {ranks}."""', "", f"    ranks = {spec.ranks}"]
    lines.append(f"    shares = {spec.shares}  # samples of each microbatch, by rank")
    readers = sorted({target for found in targets.values() for target in found})
    comment = f"  # for stage {', '.join(map(str, readers))}" if readers else ""
    lines += [
        line + (comment if i == 0 else "")
        for i, line in enumerate(
            layout.bracketed("gives = (", gives.rstrip(",").split(", "), ",)" if len(given) == 1 else ")", 1)
        )
    ]
    lines += ["    random = True  # a seed of its own for every forward"] if spec.random else []
    lines += ["    recompute = True"] if spec.recompute else []
    return lines


def _prologue(source: Source, ops: Sequence[Op], interval: tuple[int, int]) -> list[str]:
    """The method that counts once a step."""
    graph = source.blocks.sharded.graph
    made = {value.name for op in ops for value in op.outputs}
    read = dict.fromkeys(name for op in ops for name in op.inputs if name not in made and qualified(graph, name) is None)
    users: dict[str, list[Op]] = {}
    for op in ops:
        for name in op.inputs:
            users.setdefault(name, []).append(op)
    statistics = stage_statistics(source.blocks, *interval)
    namer = Namer(frozenset(source.names.values()))
    body = Body(users, frozenset(statistics), namer, _leaf(source), depth=2, replicas="self.replicas")
    for name in read:
        body.expressions[name] = ast.Name(source.names[name])
    parameters = [(source.names[name], source.values[name]) for name in read]
    body.device = f"{parameters[0][0]}.device" if parameters else "self.device"
    body.ops(ops, "", {})
    lines = layout.define("prologue", ["self", "m: Tree", *(f"{name}: Tensor" for name, _ in parameters)], "None", 1)
    lines.append('        """Once a step, over all of this rank\'s samples: what the loss is divided by."""')
    rows = rows_of(parameters) or "sum(self.replicas.rows[self.replicas.index :][:1])"
    lines += [f"        b = {rows}"] if body.counted else []
    lines += body.lines
    for name in statistics:
        lines.append(f"        self.{source.names[name]} = {layout.source(body.refer(name))}")
    return lines


def _leaf(source: Source):  # type: ignore[no-untyped-def]
    graph = source.blocks.sharded.graph
    return lambda value: tree_path("m", _known(qualified(graph, value), value))


def _known(name: str | None, value: str) -> str:
    assert name is not None, f"{value} is neither a parameter nor a buffer, nor made in this function"
    return name


class _Forward:
    """Writes a stage's ``forward``."""

    def __init__(self, source: Source, stage: Stage, units: Sequence[Unit], given: Sequence[str]) -> None:
        self.source, self.stage, self.units, self.given = source, stage, units, given
        self.graph = source.blocks.sharded.graph
        needed = set(needed_inputs_only(source.blocks, *_interval(source.blocks, stage)))
        self.shared = [op for op in self.graph.ops if op.name in needed]
        self.body = Body(
            self.graph.users,
            frozenset(given),
            Namer(frozenset({*source.names.values(), *(function.name for function in source.functions.values())})),
            _leaf(source),
            depth=2,
            autocast=source.autocast,
            replicas="self.replicas",
        )
        self.reads = self._count_reads()
        self.running: dict[str, str] = {}  # what a loop starts from, and is called like the loop's variable

    def lines(self) -> list[str]:
        arguments = self._arguments()
        parameters = [(self.source.names[name], self.source.values[name]) for name in arguments]
        for name in arguments:
            self.body.expressions[name] = ast.Name(self.source.names[name])
        for name in self.source.blocks.sharded.statistics:
            self.body.expressions[name] = ast.Attribute(ast.Name("self"), self.source.names[name], ast.Load())
        self.body.device = f"{parameters[0][0]}.device" if parameters else "self.device"
        self._write()
        results = [layout.source(self.body.refer(name)) for name in self.given]
        result = "Tensor" if len(results) == 1 else f"tuple[{', '.join(['Tensor'] * len(results))}]"
        lines = layout.define("forward", ["self", "m: Tree", *(f"{name}: Tensor" for name, _ in parameters)], result, 1)
        rows = rows_of(parameters) or "self.replicas.rows[self.replicas.index]"
        lines += [f"        b = {rows}"] if self.body.counted else []
        return [*lines, *self.body.lines, *layout.give_back(results, 2)]

    def _arguments(self) -> list[str]:
        """Graph inputs and received values that the forward reads."""
        made = {value.name for op in self._ops() for value in op.outputs}
        read = {name for op in self._ops() for name in op.inputs} - made - set(self.source.blocks.sharded.statistics)
        inputs = [i.value.name for i in self.graph.inputs if i.value.name in read]
        received = [t.value for t in self.source.program.transfers if t.target == self.stage.index]
        return list(dict.fromkeys([*inputs, *received]))

    def _ops(self) -> list[Op]:
        return [*self.shared, *(op for unit in self.units for op in unit.ops)]

    def _count_reads(self) -> Counter[str]:
        found: Counter[str] = Counter(self.given)
        for unit in self.units:
            found.update(unit.inputs)
        return found

    def _write(self) -> None:
        if self.shared:
            self.body.say("# from the inputs alone")
            self.body.ops(self.shared, "", {})
        items = self._items()
        self._plan_names(items)
        for item in items:
            match item:
                case Unit():
                    self.body.ops(item.ops, item.base if _same_place(item) else "", self.running)
                case Call():
                    self._call(item, self._tree(item.path), {name: self._wanted(name) for name in item.outputs})
                case Loop():
                    self._loop(item)

    def _items(self) -> list[Unit | Call | Loop]:
        """What the forward runs, in order; calls in a row folded into loops."""
        items: list[Unit | Call | Loop] = []
        calls: list[Call] = []
        for unit in self.units:
            function = self.source.functions.get(unit.block.name)
            if function is not None:
                outputs = tuple(unit.made[i] for i in function.results)
                calls.append(Call(function.name, unit.block.prefix, unit.inputs, outputs))
                continue
            items += [*fold(calls, self.reads), unit]
            calls = []
        return [*items, *fold(calls, self.reads)]

    def _plan_names(self, items: Sequence[Unit | Call | Loop]) -> None:
        """What only a loop reads is called like the loop's variable from the start."""
        local = {value.name for op in self._ops() for value in op.outputs}
        for item in items:
            if isinstance(item, Loop):
                for each in item.carried:
                    first = sum(call.inputs.count(each.start) for call in item.calls)
                    if each.start in local and self.reads[each.start] == first:
                        self.running.setdefault(each.start, "x")

    def _wanted(self, value: str) -> str:
        if value in self.running:
            return self.running[value]
        return result_name(self.graph.producer[value], "", last=True)

    def _tree(self, path: str) -> ast.expr:
        return tree_path("m", path)

    def _call(self, call: Call, tree: ast.expr, wanted: Mapping[str, str], fixed: Mapping[str, str] | None = None) -> None:
        """One statement. ``fixed`` are outputs that go into a name that exists."""
        function = next(f for f in self.source.functions.values() if f.name == call.function)
        args = [tree, *(self.body.refer(name) for name in call.inputs), *(self._extra(extra) for extra in function.extras)]
        expression: ast.expr = ast.Call(ast.Name(function.name), args, [])
        if self.stage.recompute and self._recomputable(function):
            again = ast.keyword("use_reentrant", ast.Constant(False))
            expression = ast.Call(ast.Name("checkpoint"), [ast.Name(function.name), *args], [again])
        targets = []
        for name in call.outputs:
            if fixed and name in fixed:
                self.body.expressions[name] = ast.Name(fixed[name])
                targets.append(fixed[name])
            else:
                targets.append(self.body.bind(name, wanted[name]) if self.reads[name] or len(call.outputs) == 1 else "_")
        self.body.lines += layout.assign(targets, expression, self.body.depth)

    def _recomputable(self, function: Function) -> bool:
        return all(unit.block.recomputable for unit in self.units if self.source.functions.get(unit.block.name) == function)

    def _extra(self, name: str) -> ast.expr:
        if name == "b":
            self.body.counted = True
        text = {"device": self.body.device, "replicas": self.body.replicas}.get(name, name)
        return ast.parse(text, mode="eval").body

    def _loop(self, loop: Loop) -> None:
        body = self.body
        before = {each.start: body.refer(each.start) for each in loop.carried}
        variables: dict[tuple[int, int], str] = {}
        for each in loop.carried:
            variables[each.call, each.output] = self._variable(each.start)
            body.expressions[each.start] = ast.Name(variables[each.call, each.output])
        item = body.namer.take(_singular(loop.tree))
        stop = loop.first + loop.rounds
        body.say(f"for {item} in {layout.source(tree_path('m', loop.tree))}[{loop.first}:{stop}]:")
        body.depth += 1
        late: list[str] = []
        for k, (call, path) in enumerate(zip(loop.calls, loop.paths, strict=True)):
            fixed: dict[str, str] = {}
            for each in loop.carried:
                if each.call != k:
                    continue
                variable = variables[k, each.output]
                if any(each.start in other.inputs for other in loop.calls[k + 1 :]):
                    late.append(f"{variable} = {body.namer.take(f'next_{variable}')}")
                    fixed[call.outputs[each.output]] = late[-1].split(" = ")[1]
                else:
                    fixed[call.outputs[each.output]] = variable
            tree = tree_path(item, path) if path is not None else ast.Name("m")
            self._call(call, tree, {name: self._wanted(name) for name in call.outputs}, fixed)
        for line in late:
            body.say(line)
        body.depth -= 1
        body.expressions.update(before)
        for first, final in zip(loop.calls, loop.results, strict=True):
            for name, result in zip(first.outputs, final, strict=True):
                if name in body.expressions:
                    body.expressions[result] = body.expressions[name]
        for each in loop.carried:
            body.expressions[loop.results[each.call][each.output]] = ast.Name(variables[each.call, each.output])

    def _variable(self, start: str) -> str:
        """The loop's variable for what starts as ``start``: that value's own name where nothing else reads it."""
        if start in self.running:
            return layout.source(self.body.refer(start))
        name = self.body.namer.take("x")
        self.body.lines += layout.assign([name], self.body.refer(start), self.body.depth)
        return name


def _same_place(unit: Unit) -> bool:
    return bool(unit.base)


def _singular(tree: str) -> str:
    """What an item of a container is called."""
    word = path_name(tree).split("_")[-1] if tree else "block"
    if len(word) > 3 and word.endswith("s"):
        return word[:-1]
    return "block"
