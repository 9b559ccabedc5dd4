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
from autopart.ir.analysis import writes
from autopart.ir.graph import Op, Value
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.rules import Place, Unread, uses
from autopart.tensor.eliminate import Array, Table
from autopart.tensor.prices import Prices
from autopart.tensor.ways import Way, ways

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


@dataclass
class Network:
    """Variables and tables under construction. ``examples`` is a value of every link, ``counts`` how often there is one."""

    blocks: Blocks
    prices: Prices
    sizes: list[int] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    variables: dict[OpKey | str, int] = field(default_factory=dict)
    examples: dict[Link, Value] = field(default_factory=dict)
    counts: dict[Link, int] = field(default_factory=dict)

    @cached_property
    def ops(self) -> dict[str, Op]:
        return {op.name: op for op in self.blocks.sharded.graph.ops}

    @cached_property
    def keys(self) -> dict[str, OpKey]:
        """Of every op of a block."""
        return {name: (block.kind, i) for block in self.blocks.blocks for i, name in enumerate(block.ops)}

    @cached_property
    def first(self) -> dict[OpKey, Op]:
        """The first op of every key."""
        found: dict[OpKey, Op] = {}
        for name, key in self.keys.items():
            found.setdefault(key, self.ops[name])
        return found

    @cached_property
    def ways(self) -> dict[OpKey, tuple[Way, ...]]:
        graph = self.blocks.sharded.graph
        return {key: ways(op, graph, self.prices.axis) for key, op in self.first.items()}

    @cached_property
    def roots(self) -> dict[str, str]:
        """Leaves that the same ops of equal blocks read, or one op through several blocks, by the first of them."""
        return leaf_classes(self)

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
    def held(self) -> dict[str, tuple[Placement, ...]]:
        """How the leaves of a class may be held."""
        whole = forced(self)
        return {root: (Replicate(),) if root in whole else self._held(root) for root in dict.fromkeys(self.roots.values())}

    def _held(self, root: str) -> tuple[Placement, ...]:
        needs = [
            way.row.inputs[use]
            for link in self.counts
            if link.source.leaf == root
            for position, use in link.readers
            for way in self.ways[link.kind, position]
        ]
        shards = [place for place in dict.fromkeys(needs) if isinstance(place, Shard)]
        return (Replicate(), *shards)

    def places(self, source: Source) -> tuple[Place, ...]:
        """How a source's value lies, for every value of its variable."""
        if source.leaf is not None:
            return self.held[source.leaf]
        assert source.op is not None
        return tuple(way.row.outputs[source.output] for way in self.ways[source.op])


def network(blocks: Blocks, prices: Prices) -> Network:
    """The whole problem."""
    net = Network(blocks, prices)
    find_links(net)
    for key, options in net.ways.items():
        variable(net, key, len(options))
    for root, places in net.held.items():
        variable(net, root, len(places))
    _op_tables(net)
    _leaf_tables(net)
    for link in net.counts:
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


def find_links(net: Network) -> None:
    for index, block in enumerate(net.blocks.blocks):
        readers: dict[str, list[tuple[int, int]]] = {}
        for position, name in enumerate(block.ops):
            for use, value in enumerate(uses(net.ops[name])):
                readers.setdefault(value, []).append((position, use))
        for name, found in readers.items():
            source, maker = source_of(net, name)
            inside = maker is not None and net.blocks.block_of.get(maker) == index
            link = Link(source, inside, block.kind, tuple(found))
            net.counts[link] = net.counts.get(link, 0) + 1
            net.examples.setdefault(link, net.blocks.sharded.graph.values.get(name, Value(name, (), "int64")))


def source_of(net: Network, name: str) -> tuple[Source, str | None]:
    """The source of a value, and the op that makes it in a block."""
    if name in net.roots:
        return Source(leaf=net.roots[name]), None
    maker = net.blocks.sharded.graph.producer.get(name)
    if maker is None or maker.name not in net.keys:
        return Source(), None
    return Source(net.keys[maker.name], [value.name for value in maker.outputs].index(name)), maker.name


def leaf_classes(net: Network) -> dict[str, str]:
    """Root by leaf, over everything that blocks read of parameters and buffers."""
    graph = net.blocks.sharded.graph
    root: dict[str, str] = {}
    at: dict[tuple[OpKey, int], str] = {}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for name, key in net.keys.items():
        for use, value in enumerate(uses(net.ops[name])):
            if value in graph.parameter_of or value in graph.buffer_of:
                root.setdefault(value, value)
                other = at.setdefault((key, use), value)
                root[find(value)] = find(other)
    return {name: find(name) for name in root}


def forced(net: Network) -> frozenset[str]:
    """Roots of leaves that are read outside of blocks: these are held whole."""
    apart = [op for op in net.blocks.sharded.graph.ops if op.name not in net.keys]
    read = {name for op in (*apart, *net.blocks.sharded.prologue) for name in op.inputs}
    return frozenset(net.roots[name] for name in read if name in net.roots)


def _op_tables(net: Network) -> None:
    times: dict[int, int] = {}
    for block in net.blocks.blocks:
        times[block.kind] = times.get(block.kind, 0) + 1
    for key, options in net.ways.items():
        costs = [times[key[0]] * net.prices.op_s(net.first[key], way) for way in options]
        add(net, (net.variables[key],), np.array(costs))


def _leaf_tables(net: Network) -> None:
    parameters = net.blocks.sharded.graph.parameter_of
    for root, places in net.held.items():
        members = [parameters[name] for name, other in net.roots.items() if other == root and name in parameters]
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
    return net.counts[link] * net.prices.conversion_s(net.examples[link], have, need)


def _taken(net: Network, link: Link, have: Place, made: Place | None, need: Place) -> float:
    """What a reader pays on top of the one copy."""
    if isinstance(need, Unread) or need in (have, made):
        return 0.0
    if Replicate() in (have, made) and not _written(net, link):
        return net.counts[link] * net.prices.conversion_s(net.examples[link], Replicate(), need)
    return INFINITE


def _written(net: Network, link: Link) -> bool:
    return any(net.examples[link].name in writes(net.first[link.kind, position]) for position, _ in link.readers)


def _loss_table(net: Network) -> None:
    """The loss is a partial sum over columns, as it is over replicas."""
    graph = net.blocks.sharded.graph
    source, _ = source_of(net, graph.loss)
    assert source.op is not None, "the loss is not made in a block"
    cost = [net.prices.conversion_s(graph.values[graph.loss], have, Partial()) for have in net.places(source)]  # type: ignore[arg-type]
    add(net, (net.variables[source.op],), np.array(cost))


def chosen(net: Network, values: Sequence[int]) -> tuple[Mapping[str, Way], Mapping[str, Placement]]:
    """Way by op and placement by leaf, over the whole model."""
    ops = {name: net.ways[key][values[net.variables[key]]] for name, key in net.keys.items()}
    leaves = {name: net.held[root][values[net.variables[root]]] for name, root in net.roots.items()}
    return ops, leaves
