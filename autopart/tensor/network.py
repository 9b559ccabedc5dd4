"""The per-op problem of one tensor axis: a variable for every op, parameter and copy, tables of seconds between them.

Blocks of one kind are run alike, so that the problem is as large as the model's different blocks, however often they repeat.
A variable's values are

* of an op: its ways (``ways``);
* of a parameter or buffer: how it is held;
* of a *copy*: what else a value is converted to for the ops of one block, beside what it was made as. A value that several ops of
  a block read is converted once for all of them; from a replicated copy a shard is cut without a message.

Everything counts as often as it occurs in the model. Values that follow from the inputs alone are replicated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from autopart.blocks.blocks import Blocks
from autopart.ir.analysis import once, writes
from autopart.ir.graph import Op, Value
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.rules import Place, Unread, uses
from autopart.tensor.eliminate import Array, Table
from autopart.tensor.prices import Prices
from autopart.tensor.ways import Axis, Way, ways

OpKey = tuple[int, int]  # kind of the block, position in it
INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Source:
    """Where values come from that are alike: an output of an op, a leaf, or (both None) the inputs."""

    op: OpKey | None = None
    output: int = 0
    leaf: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A value that ops of one block read: where it is made, in the same block or before, and who reads it at which use."""

    source: Source
    inside: bool
    kind: int
    readers: tuple[tuple[int, int], ...]  # position in the block, tensor use


@dataclass(frozen=True)
class Pattern:
    """What blocks are whatever a layout costs, found once for each model. ``examples`` is a value of every link, ``counts`` how
    often there is one; ``roots``: leaves that the same ops of equal blocks read, or one op through several blocks, by the first
    of them.
    """

    blocks: Blocks
    ops: Mapping[str, Op]
    keys: Mapping[str, OpKey]  # of every op of a block
    roots: Mapping[str, str]
    examples: dict[Link, Value] = field(default_factory=dict)
    counts: dict[Link, int] = field(default_factory=dict)

    @cached_property
    def first(self) -> dict[OpKey, Op]:
        """The first op of every key."""
        found: dict[OpKey, Op] = {}
        for name, key in self.keys.items():
            found.setdefault(key, self.ops[name])
        return found

    @cached_property
    def qualified(self) -> dict[str, str]:
        """Name of a parameter or buffer by its value."""
        graph = self.blocks.sharded.graph
        found = {parameter.value.name: parameter.name for parameter in graph.parameters}
        return found | {buffer.value.name: buffer.name for buffer in graph.buffers}

    @cached_property
    def members(self) -> dict[OpKey | str, list[str]]:
        """What a variable stands for, as a plan names it: ops, or parameters and buffers."""
        found: dict[OpKey | str, list[str]] = {}
        for name, key in self.keys.items():
            found.setdefault(key, []).append(name)
        for name, root in self.roots.items():
            found.setdefault(root, []).append(self.qualified[name])
        return found

    @cached_property
    def forced(self) -> frozenset[str]:
        """Roots of leaves that are read outside of blocks: these are held whole."""
        apart = [op for op in self.ops.values() if op.name not in self.keys]
        read = {name for op in (*apart, *self.blocks.sharded.prologue) for name in op.inputs}
        return frozenset(self.roots[name] for name in read if name in self.roots)


@once
def pattern(blocks: Blocks) -> Pattern:
    ops = {op.name: op for op in blocks.sharded.graph.ops}
    keys = {name: (block.kind, i) for block in blocks.blocks for i, name in enumerate(block.ops)}
    found = Pattern(blocks, ops, keys, _leaf_classes(blocks, ops, keys))
    _find_links(found)
    return found


@dataclass(frozen=True)
class Choice:
    """What each op and each class of leaves may be on some columns: the values of its variable."""

    ways: Mapping[OpKey, tuple[Way, ...]]
    held: Mapping[str, tuple[Placement, ...]]


def choice(found: Pattern, axis: Axis) -> Choice:
    graph = found.blocks.sharded.graph
    every = {key: ways(op, graph, axis) for key, op in found.first.items()}
    return Choice(every, {root: _held(found, every, root) for root in dict.fromkeys(found.roots.values())})


def _held(found: Pattern, every: Mapping[OpKey, tuple[Way, ...]], root: str) -> tuple[Placement, ...]:
    """How the leaves of a class may be held."""
    if root in found.forced:
        return (Replicate(),)
    needs = [
        way.row.inputs[use]
        for link in found.counts
        if link.source.leaf == root
        for position, use in link.readers
        for way in every[link.kind, position]
    ]
    return (Replicate(), *(place for place in dict.fromkeys(needs) if isinstance(place, Shard)))


@dataclass
class Network:
    """Variables and tables under construction."""

    pattern: Pattern
    prices: Prices
    choice: Choice
    sizes: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    variables: dict[OpKey | str, int] = field(default_factory=dict)

    @property
    def ways(self) -> Mapping[OpKey, tuple[Way, ...]]:
        return self.choice.ways

    @property
    def held(self) -> Mapping[str, tuple[Placement, ...]]:
        return self.choice.held

    def places(self, source: Source) -> tuple[Place, ...]:
        """How a source's value lies, for every value of its variable."""
        if source.leaf is not None:
            return self.held[source.leaf]
        assert source.op is not None
        return tuple(way.row.outputs[source.output] for way in self.ways[source.op])


def network(blocks: Blocks, prices: Prices) -> Network:
    """The whole problem."""
    found = pattern(blocks)
    net = Network(found, prices, prices.table.remembered(("choice", prices.axis), lambda: choice(found, prices.axis)))
    for key, options in net.ways.items():
        variable(net, key, len(options))
    for root, places in net.held.items():
        variable(net, root, len(places))
    _op_tables(net)
    _leaf_tables(net)
    for link in found.counts:
        _link_tables(net, link)
    _loss_table(net)
    return net


def variable(net: Network, key: OpKey | str | None, size: int) -> int:
    net.sizes.append(size)
    if key is not None:
        net.variables[key] = len(net.sizes) - 1
    return len(net.sizes) - 1


def add(net: Network, variables: Sequence[int], cost: Array) -> None:
    """A table; of a variable that comes twice only the diagonal is meant."""
    letters = {v: chr(ord("a") + i) for i, v in enumerate(dict.fromkeys(variables))}
    spelt = "".join(letters[v] for v in variables)
    unique = "".join(letters.values())
    net.tables.append(Table(tuple(letters), cost if spelt == unique else np.einsum(f"{spelt}->{unique}", cost)))


def _find_links(found: Pattern) -> None:
    for index, block in enumerate(found.blocks.blocks):
        readers: dict[str, list[tuple[int, int]]] = {}
        for position, name in enumerate(block.ops):
            for use, value in enumerate(uses(found.ops[name])):
                readers.setdefault(value, []).append((position, use))
        for name, read in readers.items():
            source, maker = _source_of(found, name)
            inside = maker is not None and found.blocks.block_of.get(maker) == index
            link = Link(source, inside, block.kind, tuple(read))
            found.counts[link] = found.counts.get(link, 0) + 1
            found.examples.setdefault(link, found.blocks.sharded.graph.values.get(name, Value(name, (), "int64")))


def _source_of(found: Pattern, name: str) -> tuple[Source, str | None]:
    """The source of a value, and the op that makes it in a block."""
    if name in found.roots:
        return Source(leaf=found.roots[name]), None
    maker = found.blocks.sharded.graph.producer.get(name)
    if maker is None or maker.name not in found.keys:
        return Source(), None
    return Source(found.keys[maker.name], [value.name for value in maker.outputs].index(name)), maker.name


def _leaf_classes(blocks: Blocks, ops: Mapping[str, Op], keys: Mapping[str, OpKey]) -> dict[str, str]:
    """Root by leaf, over everything that blocks read of parameters and buffers."""
    graph = blocks.sharded.graph
    root: dict[str, str] = {}
    at: dict[tuple[OpKey, int], str] = {}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for name, key in keys.items():
        for use, value in enumerate(uses(ops[name])):
            if value in graph.parameter_of or value in graph.buffer_of:
                root.setdefault(value, value)
                other = at.setdefault((key, use), value)
                root[find(value)] = find(other)
    return {name: find(name) for name in root}


def _op_tables(net: Network) -> None:
    times: dict[int, int] = {}
    for block in net.pattern.blocks.blocks:
        times[block.kind] = times.get(block.kind, 0) + 1
    for key, options in net.ways.items():
        costs = [times[key[0]] * net.prices.op_s(net.pattern.first[key], way) for way in options]
        add(net, (net.variables[key],), np.array(costs))


def _leaf_tables(net: Network) -> None:
    parameters = net.pattern.blocks.sharded.graph.parameter_of
    for root, places in net.held.items():
        members = [parameters[name] for name, other in net.pattern.roots.items() if other == root and name in parameters]
        costs = [sum(net.prices.parameter_s(parameter, place) for parameter in members) for place in places]
        add(net, (net.variables[root],), np.array(costs))


def _link_tables(net: Network, link: Link) -> None:
    readers = [(net.variables[link.kind, position], net.ways[link.kind, position], use) for position, use in link.readers]
    needs = [tuple(way.row.inputs[use] for way in options) for _, options, use in readers]
    if link.source == Source():
        for (reader, _, _), wanted in zip(readers, needs, strict=True):
            add(net, (reader,), np.array([_seconds(net, link, Replicate(), need) for need in wanted]))
        return
    source = net.variables[link.source.op if link.source.op is not None else str(link.source.leaf)]
    places = net.places(link.source)
    if len(readers) == 1:
        cost = [[_seconds(net, link, have, need) for need in needs[0]] for have in places]
        add(net, (source, readers[0][0]), np.array(cost))
        return
    copies: list[Place | None] = [
        None,
        *dict.fromkeys(need for wanted in needs for need in wanted if isinstance(need, Placement)),
    ]
    copy = variable(net, None, len(copies))
    add(net, (source, copy), np.array([[_seconds(net, link, have, made) if made else 0.0 for made in copies] for have in places]))
    for (reader, _, _), wanted in zip(readers, needs, strict=True):
        cost3 = [[[_taken(net, link, have, made, need) for need in wanted] for made in copies] for have in places]
        add(net, (source, copy, reader), np.array(cost3))


def _seconds(net: Network, link: Link, have: Place, need: Place) -> float:
    """Of all conversions that a link stands for; what a forward writes can't be a copy."""
    if isinstance(need, Unread) or have == need:
        return 0.0
    if not isinstance(have, Placement) or _written(net, link):
        return INFINITE
    return net.pattern.counts[link] * net.prices.conversion_s(net.pattern.examples[link], have, need)


def _taken(net: Network, link: Link, have: Place, made: Place | None, need: Place) -> float:
    """What a reader pays on top of the one copy."""
    if isinstance(need, Unread) or need in (have, made):
        return 0.0
    if Replicate() in (have, made) and not _written(net, link):
        return net.pattern.counts[link] * net.prices.conversion_s(net.pattern.examples[link], Replicate(), need)
    return INFINITE


def _written(net: Network, link: Link) -> bool:
    return any(net.pattern.examples[link].name in writes(net.pattern.first[link.kind, position]) for position, _ in link.readers)


def _loss_table(net: Network) -> None:
    """The loss is a partial sum over columns, as it is over replicas."""
    graph = net.pattern.blocks.sharded.graph
    source, _ = _source_of(net.pattern, graph.loss)
    assert source.op is not None, "the loss is not made in a block"
    cost = [net.prices.conversion_s(graph.values[graph.loss], have, Partial()) for have in net.places(source)]  # type: ignore[arg-type]
    add(net, (net.variables[source.op],), np.array(cost))


def chosen(net: Network, values: Sequence[int]) -> tuple[Mapping[str, Way], Mapping[str, Placement]]:
    """Way by op and placement by leaf, over the whole model."""
    ops = {name: net.ways[key][values[net.variables[key]]] for name, key in net.pattern.keys.items()}
    leaves = {name: net.held[root][values[net.variables[root]]] for name, root in net.pattern.roots.items()}
    return ops, leaves
