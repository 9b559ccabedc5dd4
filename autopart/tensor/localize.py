"""A plan with tensor degrees -> the graph that its columns run.

The ops of every stage of several columns are rewritten for one column: local sizes, ``tensor.…`` ops where a layout changes,
joint ops in place of those that columns run together. What comes out is an ordinary graph of ordinary blocks: it is lowered,
priced, simulated and emitted like any other.

A conversion is put before the first op of a block that reads a value otherwise than it was made, and serves the whole block;
what all later blocks read in one layout is converted where it is made. What later stages read is made whole at the end of the
stage that makes it, in a block of its own. A parameter of several stages is split only where all of them split it alike; else
each holds it whole, and cuts its part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.flow import stage_sends
from autopart.blocks.structure import body_with, structure
from autopart.ir.graph import Argument, Buffer, Graph, Op, Parameter, PartSize, Ref, Value
from autopart.plans import Plan, Stage
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.propagate import with_uses
from autopart.sharding.rules import Place, Unread, uses
from autopart.tensor.assign import Layout
from autopart.tensor.reshard import ALL_GATHER, ALL_TO_ALL, CROSS_ENTROPY, REDUCE_SCATTER, SHARD, steps
from autopart.tensor.sizes import local_op, local_value, resolved_op, resolved_value
from autopart.tensor.ways import Axis

ENDS = "whole"  # the block at a stage's end that makes what is sent whole: "transformer.h.5.whole"


@dataclass(frozen=True)
class Local:
    """What the columns run: blocks of the rewritten graph, the plan with a block more where values had to be made whole, and
    how parameters and buffers are held, by name. ``parts``: of what is split the value that it is
    a part of.
    """

    blocks: Blocks
    plan: Plan
    shards: Mapping[str, Shard] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)


def localize(blocks: Blocks, plan: Plan, layouts: Mapping[int, Layout]) -> Local:
    """``layouts`` by stage, for those that have several columns."""
    if not layouts:
        return Local(blocks, plan)
    walk = _Walk(blocks, plan, layouts)
    for stage in plan.stages:
        walk.stage(stage)
    return walk.result()


def leaf_places(blocks: Blocks, plan: Plan, layouts: Mapping[int, Layout]) -> dict[str, Shard]:
    """Leaves that are split, by value name: alike in every stage that reads them."""
    found: dict[str, set[tuple[Placement, tuple[int, ...]]]] = {}
    ops = {op.name: op for op in blocks.sharded.graph.ops}
    for stage in plan.stages:
        layout = layouts.get(stage.index)
        read = {name for block in stage.blocks for op in blocks.blocks[blocks.index[block]].ops for name in ops[op].inputs}
        for name in read:
            place: Placement = layout.leaves.get(name, Replicate()) if layout else Replicate()
            found.setdefault(name, set()).add((place, layout.axis.weights if layout else (1,)))
    alike = {name: next(iter(places))[0] for name, places in found.items() if len(places) == 1}
    return {name: place for name, place in alike.items() if isinstance(place, Shard)}


@dataclass
class _Scope:
    """A block of a stage of several columns: what its ops read, and how, and what was converted for them so far."""

    layout: Layout
    needs: Mapping[str, set[Place]]
    converted: dict[tuple[str, Placement], str] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)


class _Walk:
    def __init__(self, blocks: Blocks, plan: Plan, layouts: Mapping[int, Layout]) -> None:
        self.blocks, self.plan, self.layouts = blocks, plan, layouts
        self.graph = blocks.sharded.graph
        self.by_name = {op.name: op for op in self.graph.ops}
        self.leaves = leaf_places(blocks, plan, layouts)
        self.placements = dict(blocks.sharded.placements)
        self.places: dict[str, Place] = dict(self.leaves)  # of values, over the columns of the stage that makes them
        self.origin: dict[str, str] = {}  # the value of one device that a converted one stands for
        self.sent: dict[str, str] = {}  # what later blocks read in place of a value
        self.rewritten: dict[str, list[Op]] = {}  # by block name
        self.ends: dict[str, list[Op]] = {}  # by the name of the block that they follow
        self.stages: list[Stage] = []
        self.loss = self.graph.loss

    def stage(self, stage: Stage) -> None:
        layout = self.layouts.get(stage.index)
        elsewhere = self._read_elsewhere(stage, layout) if layout else {}
        for name in stage.blocks:
            ops = self._ops(name)
            if layout is None:
                self.rewritten[name] = [self._passed(op) for op in ops]
            else:
                self.rewritten[name] = self._block(ops, layout)
                self._handed_on(name, ops, elsewhere, layout)
        self.stages.append(self._ended(stage, layout) if layout else stage)

    def _ops(self, block: str) -> list[Op]:
        return [self.by_name[op] for op in self.blocks.blocks[self.blocks.index[block]].ops]

    def _passed(self, op: Op) -> Op:
        """An op of a stage of one column."""
        return with_uses(op, [self.sent.get(name, name) for name in uses(op)])

    def _block(self, ops: Sequence[Op], layout: Layout) -> list[Op]:
        needs: dict[str, set[Place]] = {}
        for op in ops:
            for name, need in zip(uses(op), layout.ways[op.name].row.inputs, strict=True):
                needs.setdefault(self.sent.get(name, name), set()).add(need)
        scope = _Scope(layout, needs)
        for op in ops:
            self._op(op, scope)
        return scope.ops

    def _read_elsewhere(self, stage: Stage, layout: Layout) -> dict[str, set[Place]]:
        """How values are read in other blocks of the stage than the one that makes them."""
        found: dict[str, set[Place]] = {}
        for name in stage.blocks:
            ops = self._ops(name)
            made = {value.name for op in ops for value in op.outputs}
            for op in ops:
                for value, need in zip(uses(op), layout.ways[op.name].row.inputs, strict=True):
                    if value not in made and need != Unread():
                        found.setdefault(value, set()).add(need)
        return found

    def _handed_on(self, block: str, ops: Sequence[Op], elsewhere: Mapping[str, set[Place]], layout: Layout) -> None:
        """Converts what a block makes and all later ones of its stage read in one other layout: equal blocks stay equal code."""
        for op in ops:
            for value in op.outputs:
                needs = elsewhere.get(value.name, set())
                for need in needs if len(needs) == 1 else ():
                    if isinstance(need, Placement) and need != self.places[value.name]:
                        self.sent[value.name] = self._converted(value.name, need, op, layout.axis, self.rewritten[block])

    def _op(self, op: Op, scope: _Scope) -> None:
        way, axis = scope.layout.ways[op.name], scope.layout.axis
        names = [
            self._taken(self.sent.get(name, name), need, op, scope) for name, need in zip(uses(op), way.row.inputs, strict=True)
        ]
        shapes = tuple(self.graph.values[name].shape for name in uses(op))
        local = local_op(op, way.row, shapes, axis)
        self.places.update((value.name, place) for value, place in zip(op.outputs, way.row.outputs, strict=True))
        local = with_uses(local, names)
        if way.kind != op.kind:
            units = _units(way.row.inputs[0], axis) if way.kind in JOINT_UNITS else ()
            count = (("columns", len(axis.weights)),) if way.kind == CROSS_ENTROPY else ()
            local = replace(local, kind=way.kind, kwargs=(*local.kwargs, *units, *count))
        scope.ops.append(local)
        if self.loss in {value.name for value in op.outputs}:
            self.loss = self._converted(self.loss, Partial(), op, axis, scope.ops)

    def _taken(self, name: str, need: Place, op: Op, scope: _Scope) -> str:
        """The value as the op reads it, converted once a block; by way of the whole where others of the block read that."""
        if isinstance(need, Unread) or self.places.get(name, Replicate()) == need:
            return name
        assert isinstance(need, Placement), f"{op.name} reads {name} as {need}"
        if (name, need) not in scope.converted:
            source = name
            if need != Replicate() and Replicate() in scope.needs[name]:
                source = self._taken(name, Replicate(), op, scope)
            scope.converted[name, need] = self._converted(source, need, op, scope.layout.axis, scope.ops)
        return scope.converted[name, need]

    def _converted(self, name: str, need: Placement, op: Op, axis: Axis, into: list[Op]) -> str:
        """Puts the ops of a conversion into a list, beside ``op``; the name of the result."""
        have = self.places.get(name, Replicate())
        assert isinstance(have, Placement), f"{name} is {have}"
        original = self.origin.get(name, name)
        for step in steps(have, need):
            fresh = self._name(f"{original}.{step.kind.removeprefix('tensor.')}")
            self.origin[fresh] = original
            value = local_value(replace(self.graph.values[original], name=fresh), step.place, axis)
            args = (Ref(name), *_arguments(step.kind, have, step.place, axis))
            into.append(replace(op, name=fresh, kind=step.kind, args=args, kwargs=(), outputs=(value,), mutates=()))
            self.places[fresh] = step.place
            if original in self.placements:
                self.placements[fresh] = self.placements[original]
            name, have = fresh, step.place
        return name

    def _name(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.origin or name in self.graph.values:
            name, count = f"{wanted}_{count}", count + 1
        return name

    def _ended(self, stage: Stage, layout: Layout) -> Stage:
        """The stage with the block that makes whole what it sends."""
        start = self.blocks.index[stage.blocks[0]]
        last = stage.blocks[-1]
        into: list[Op] = []
        for name in stage_sends(self.blocks, start, start + len(stage.blocks)):
            made = self.sent.get(name, name)
            if name != self.graph.loss and self.places.get(made, Replicate()) != Replicate():
                maker = replace(self.graph.producer[name], module="")
                self.sent[name] = self._converted(made, Replicate(), maker, layout.axis, into)
        if not into:
            return stage
        self.ends[last] = into
        return replace(stage, blocks=(*stage.blocks, f"{last}.{ENDS}"))

    # What comes out

    def result(self) -> Local:
        graph = replace(
            self.graph,
            parameters=tuple(self._parameter(each) for each in self.graph.parameters),
            buffers=tuple(self._buffer(each) for each in self.graph.buffers),
            ops=tuple(self._in_order()),
            loss=self.loss,
        )
        sharded = replace(self.blocks.sharded, graph=graph, placements=self.placements)
        blocks = regrouped(Blocks(sharded, tuple(self._blocks()), self.blocks.inputs_only))
        names = {parameter.value.name: parameter.name for parameter in self.graph.parameters}
        names |= {buffer.value.name: buffer.name for buffer in self.graph.buffers}
        shards = {name: self.leaves[value] for value, name in names.items() if value in self.leaves}
        parts = {name: self.origin.get(name, name) for name, place in self.places.items() if isinstance(place, Shard)}
        return Local(blocks, replace(self.plan, stages=tuple(self.stages)), shards, parts)

    def _parameter(self, parameter: Parameter) -> Parameter:
        return replace(parameter, value=self._held(parameter.value))

    def _buffer(self, buffer: Buffer) -> Buffer:
        return replace(buffer, value=self._held(buffer.value))

    def _held(self, value: Value) -> Value:
        place = self.leaves.get(value.name)
        if place is None:
            return value
        layout = next(each for each in self.layouts.values() if each.leaves.get(value.name) == place)
        return local_value(value, place, layout.axis)

    def _in_order(self) -> Iterable[Op]:
        """Inputs-only ops, then the blocks'."""
        yield from (self.by_name[name] for name in self.blocks.inputs_only)
        for block in self.blocks.blocks:
            yield from self.rewritten[block.name]
            yield from self.ends.get(block.name, ())

    def _blocks(self) -> Iterable[Block]:
        for block in self.blocks.blocks:
            yield replace(block, ops=tuple(op.name for op in self.rewritten[block.name]))
            if block.name in self.ends:
                ops = tuple(op.name for op in self.ends[block.name])
                yield Block(f"{block.name}.{ENDS}", -1, ops, "", recomputable=False)


JOINT_UNITS = frozenset({"columns.embedding.default", CROSS_ENTROPY})


def _units(place: Place, axis: Axis) -> tuple[tuple[str, Argument], ...]:
    """The units of a joint op, where they are not as many as the weights have."""
    assert isinstance(place, Shard) or place == Replicate(), f"a joint op of {place}"
    return (("units", place.units),) if isinstance(place, Shard) and place.units != axis.units[0] else ()


def _arguments(kind: str, have: Placement, made: Placement, axis: Axis) -> tuple[Argument, ...]:
    """``dim, outer`` and the units of the dim, where they are not as many as the weights have."""

    def of(place: Placement) -> tuple[Argument, ...]:
        assert isinstance(place, Shard), f"{kind} of {place}"
        return (place.dim, place.outer)

    def units(place: Placement) -> tuple[Argument, ...]:
        return (place.units,) if isinstance(place, Shard) and place.units != axis.units[0] else ()

    if kind == ALL_GATHER:
        return (*of(have), *units(have))
    if kind in (SHARD, REDUCE_SCATTER):
        return (*of(made), *units(made))
    if kind == ALL_TO_ALL:
        both = (*units(have), *units(made))
        default = axis.units[0]
        return (*of(have), *of(made), *((have.units or default, made.units or default) if both else ()))  # type: ignore[union-attr]
    return ()


def regrouped(blocks: Blocks) -> Blocks:
    """Kinds found again, now that ops have changed: blocks are alike where they are the same code."""
    graph = blocks.sharded.graph
    ops = {op.name: op for op in graph.ops}
    body = body_with(blocks.sharded, tuple(ops[name] for block in blocks.blocks for name in block.ops))
    kinds: dict[object, int] = {}
    found, start = [], 0
    for block in blocks.blocks:
        stop = start + len(block.ops)
        key = structure(body, start, stop, block.prefix)
        found.append(replace(block, kind=kinds.setdefault(key, len(kinds))))
        start = stop
    return replace(blocks, blocks=tuple(found))


def uneven(graph: Graph) -> bool:
    """Whether columns differ in some size."""
    return any(isinstance(size, PartSize) for value in graph.values.values() for size in value.shape)


def column(blocks: Blocks, index: int) -> Blocks:
    """The blocks as one column runs them, every size a number."""
    graph = blocks.sharded.graph
    if not uneven(graph):
        return blocks
    resolved = replace(
        graph,
        parameters=tuple(replace(p, value=resolved_value(p.value, index)) for p in graph.parameters),
        buffers=tuple(replace(b, value=resolved_value(b.value, index)) for b in graph.buffers),
        ops=tuple(resolved_op(op, index) for op in graph.ops),
    )
    return replace(blocks, sharded=replace(blocks.sharded, graph=resolved))
