"""How the whole model runs on one tensor group, and the index that leads from a problem back to what its numbers were made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np

from autopart.blocks.blocks import Blocks
from autopart.blocks.call import facts
from autopart.blocks.flow import stage_parameters
from autopart.blocks.orders import in_order, orders
from autopart.cluster.cluster import Cluster, topology
from autopart.ir.analysis import Same
from autopart.planner.problem import Array, Part
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.pricing.network import counted_topology, tensor_topology
from autopart.pricing.stages import Tables
from autopart.pricing.table import BlockTable, elements
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.tensor.assign import Layout, best_layout
from autopart.tensor.localize import Local, column, localize, uneven
from autopart.tensor.plan import known_layouts, local_plan, pace_device, prices_of
from autopart.tensor.prices import Prices
from cost_models.collective import Topology

LEAN = 10.0  # how much the room of parameters counts in a lean layout, by the seconds of a microbatch that they all would take
FEW, MANY = 1, 64  # samples of a replica for which layouts are decided


class Edges(NamedTuple):
    """[n + 1] bytes of a microbatch at each boundary, of values that are not whole on every column: ``received`` whole by a stage
    that starts there, where blocks inside of a stage hand on a ``part``; ``made`` whole by a stage that stops there.
    """

    received: Array
    part: Array
    made: Array


@dataclass(frozen=True, eq=False)
class Mesh:
    """The model on ``tensor`` devices, columns, which share out the insides of its ops as ``layouts`` say.

    ``table`` has the prices of the largest column: seconds and bytes of one device. ``split_trained`` [n] are the trainable
    elements whose parameters are shards over columns: their gradients are summed over the replicas of a column, those of the
    others in ``table.trained`` over all ranks. ``split_values`` are not whole on every column: how they lie where they are made;
    ``parts`` are those of ``tensor.Local``. ``columns`` has the mesh with the prices of another column, by its
    weight, where there are several weights.
    """

    tensor: int
    table: BlockTable
    layouts: Mapping[str, str]
    split_trained: Array
    split_values: Mapping[str, Placement] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    prices: Prices | None = None
    columns: Mapping[int, Mesh] = field(default_factory=dict)

    def of(self, part: Part) -> Mesh:
        """With the prices of the columns that a part has."""
        return self.columns.get(max(part.weights, default=0), self)

    @property
    def whole(self) -> BlockTable:
        """The prices of the model on one device: stages send each other whole values."""
        return self.prices.table if self.prices else self.table

    def edges(self, rows: int) -> Edges:
        """What a stage keeps at its boundaries, of what is split inside of it."""
        found = np.zeros((3, self.table.count + 1))
        alike: dict[tuple[object, ...], tuple[float, float, float]] = {}
        own, whole = self.table.blocks.sharded.graph.values, self.whole.blocks.sharded.graph.values
        for boundary, (sent, read) in enumerate(zip(self.whole.crossing, self.table.crossing, strict=True), start=1):
            made = [name for name in sent if name in self.split_values]
            parts = [name for name in read if name in self.parts]
            received = [self.parts[name] for name in parts]
            values = (*(own[name] for name in (*made, *parts)), *(whole[name] for name in received))
            key = (len(made), *((value.shape, value.dtype) for value in values))
            if key not in alike:
                part, end = (self.table.value_bytes(set(names), rows) for names in (parts, made))
                alike[key] = (self.whole.value_bytes(set(received), rows), part, end)
            found[:, boundary] = alike[key]
        return Edges(*found)

    def ends_s(self, rows: int, topology: Topology) -> Array:
        """[n + 1] seconds, both directions, to bring what a stage hands on at a boundary into full form on every column."""
        found = np.zeros(self.table.count + 1)
        if self.prices is None:
            return found
        prices = replace(self.prices, rows=rows, topology=topology)
        values, trained = prices.table.blocks.sharded.graph.values, facts(prices.table.blocks.sharded.graph).differentiable
        alike: dict[object, float] = {}

        def seconds(name: str) -> float:
            value, place = values[name], self.split_values[name]
            key = value.shape, value.dtype, name in trained, place
            if key not in alike:
                alike[key] = prices.conversion_s(value, place, Replicate())
            return alike[key]

        crossing = [[n for n in names if n in self.split_values] for names in prices.table.crossing]
        found[1:-1] = [sum(map(seconds, names)) for names in crossing]
        return found


def split_trained(table: BlockTable, shards: Collection[str]) -> Array:
    """[n] trainable elements of a column's blocks whose parameters are shards."""
    blocks = range(table.count)
    each = [sum(elements(p) for p in table.parameters(i, i + 1) if p.name in shards) for i in blocks]
    return np.array(each, dtype=np.float64)


Team = tuple[tuple[int, int], ...]
"""Group and weight of every column of a replica."""


class Rewritten(NamedTuple):
    """A plan ready to be lowered and priced: what its columns run, and what each column of a stage pays by."""

    local: Local
    tables: Tables


@dataclass(frozen=True, eq=False)
class Index:
    """The way back from a problem: what its numbers were made of. ``layouts`` are the user's wishes by glob; ``traced`` is the
    index with the blocks as traced, of one that has them in another order.
    """

    table: BlockTable
    cluster: Cluster
    model: ModelRef
    settings: Settings
    layouts: Mapping[str, str] = field(default_factory=dict)
    traced: Index | None = None
    lays_out: ClassVar[bool] = True  # whether columns share out the insides of ops as layouts say

    @property
    def blocks(self) -> Blocks:
        return self.table.blocks

    @property
    def batch_size(self) -> int:
        return self.table.batch_size

    @cached_property
    def whole(self) -> Mesh:
        """The model as it is, on one device."""
        return Mesh(1, self.table, {}, np.zeros(self.table.count))

    def meshes(self, group: int, tensor: int) -> tuple[Mesh, ...]:
        """Ways to run the model on ``tensor`` devices of a node of a group: the fastest with few samples and with many, and one
        that splits what parameters it can. None where every column would do everything.
        """
        if tensor == 1:
            return (self.whole,)
        device, wishes = self.cluster.groups[group], tuple(self.layouts.items())
        columns, many = tensor_topology(self.cluster, group, tensor), self._few_and_many[0]

        def found() -> tuple[Mesh, ...]:
            lean_s = LEAN * float(self.table.seconds(device.device, many).total.sum()) / max(float(self.table.static.sum()), 1.0)
            fast = [prices_of(self.table, (1,) * tensor, device.device, rows, columns) for rows in self._few_and_many]
            return self._meshes([*fast, replace(fast[0], byte_s=lean_s)])

        return self.table.remembered(("meshes", device.device, device.interconnect, tensor, wishes), found)

    def joined(self, team: Team) -> tuple[Mesh, ...]:
        """Ways to run the model on columns of several groups: the fastest with few samples and with many. None under layouts
        that a user wished, and where every column would do everything.
        """
        devices = tuple(self.cluster.groups[group].device for group, _ in team)
        weights = tuple(weight for _, weight in team)
        columns = counted_topology(self.cluster, Counter(group for group, _ in team))

        def found() -> tuple[Mesh, ...]:
            return self._meshes(
                prices_of(self.table, weights, pace_device(self.table, devices, weights, rows), rows, columns)
                for rows in self._few_and_many
            )

        return () if self.layouts else self.table.remembered(("joined", devices, weights, columns), found)

    def meshes_of(self, parts: Sequence[Part]) -> tuple[Mesh, ...]:
        """Ways to run the model on these parts: those of each group, or of all joined."""
        if parts[0].weights:
            return self.joined(tuple((part.group, weight) for part in parts for weight in part.weights))
        groups = {part.group: part.tensor for part in parts}
        return tuple(dict.fromkeys(mesh for group, tensor in groups.items() for mesh in self.meshes(group, tensor)))

    @property
    def _few_and_many(self) -> tuple[int, ...]:
        """Samples, many first."""
        many = min(MANY, self.batch_size)
        return tuple(dict.fromkeys((many, min(FEW, many))))

    def _layout(self, prices: Prices) -> Layout:
        """The best layout under these prices, which no order of the blocks changes: found for the traced one alone."""
        base = self.traced or self
        key = ("layout", prices.axis.weights, prices.device, prices.rows, prices.topology, prices.byte_s)

        def found() -> Layout:
            asked = prices_of(base.table, prices.axis.weights, prices.device, prices.rows, prices.topology)
            return best_layout(base.blocks, replace(asked, byte_s=prices.byte_s), self.layouts)

        return base.table.remembered((*key, tuple(self.layouts.items())), found)

    def _meshes(self, each: Iterable[Prices]) -> tuple[Mesh, ...]:
        """The best layout under each of these prices, once."""
        found: dict[tuple[tuple[str, str], ...], Mesh] = {}
        for prices in each:
            layout = self._layout(prices)
            if layout.text and tuple(layout.text.items()) not in found:
                known_layouts(self.table, layout.axis.weights).append(layout)
                found.setdefault(tuple(layout.text.items()), self._mesh(layout, prices))
        return tuple(found.values())

    def _mesh(self, layout: Layout, prices: Prices) -> Mesh:
        """The whole model under a layout, as one stage. What its columns run is the same on all devices."""
        key = ("columns", layout.axis.weights, tuple(layout.text.items()))
        mesh = self.table.remembered(key, lambda: self._columns(layout))
        columns = {weight: replace(each, prices=prices) for weight, each in mesh.columns.items()}
        return replace(mesh, prices=prices, columns=columns)

    def _columns(self, layout: Layout) -> Mesh:
        stage = Stage(0, tuple(block.name for block in self.blocks.blocks), (), (1,), tensor=layout.axis.degree)
        plan = Plan(self.model, ClusterRef(""), 1, self.settings, Schedule("1f1b", 1), (stage,))
        local = localize(self.blocks, plan, {0: layout})
        graph = self.blocks.sharded.graph
        places = {
            value.name: place
            for op in graph.ops
            if op.name in layout.ways
            for value, place in zip(op.outputs, layout.ways[op.name].row.outputs, strict=True)
            if isinstance(place, Shard | Partial)
        }
        weights = layout.axis.weights

        def of_column(index: int) -> Mesh:
            table = self._column_table(column(local.blocks, index))
            return Mesh(len(weights), table, layout.text, split_trained(table, local.shards), places, local.parts)

        columns = {weight: of_column(weights.index(weight)) for weight in sorted(set(weights))}
        largest = columns[max(weights)]
        return replace(largest, columns=columns) if len(columns) > 1 else largest

    def undivided(self, tensor: int) -> BlockTable:  # noqa: ARG002
        """Prices of ops as they are before they are split over so many columns."""
        return self.table

    def notes(self, plan: Plan) -> tuple[str, ...]:  # noqa: ARG002
        """What whoever reads the plan's estimate should know of these prices."""
        return ()

    def follows(self, plan: Plan) -> bool:
        """Whether a plan has the blocks in this order."""
        return plan.blocks == tuple(block.name for block in self.blocks.blocks)

    def under(self, plan: Plan) -> Index:
        """With the blocks in the order of a plan that has all of them."""
        if self.follows(plan):
            return self

        def found() -> BlockTable:
            return self.table_of(in_order(self.blocks, plan.blocks))

        return replace(self, table=self.table.remembered(("order", plan.blocks), found), traced=self.traced or self)

    def in_every_order(self) -> tuple[Index, ...]:
        """One for each order of the blocks that is tried, this one first."""
        return (self, *(replace(self, table=self.table_of(blocks), traced=self) for blocks in orders(self.blocks)[1:]))

    def table_of(self, blocks: Blocks) -> BlockTable:
        """A table of prices for blocks of this model that were put in another order."""
        return replace(self.table, blocks=blocks, _memory={})

    def _column_table(self, blocks: Blocks) -> BlockTable:
        """What a column runs of this model's blocks."""
        return replace(self.table, blocks=blocks, whole=self.table, _memory={})

    def mesh_of(self, stage: Stage) -> Mesh:
        """What a stage of a plan is priced by: the mesh that its layouts are of, else one that has them."""
        if mesh := self.planned_mesh(stage):
            return mesh
        weights, ranks, rows = stage.tensor_shares or (1,) * stage.tensor, stage.replica(0), max(stage.shares)
        device = pace_device(self.table, [self.cluster.device(rank) for rank in ranks], weights, rows)
        columns = topology(self.cluster, ranks)

        def found() -> Mesh:
            prices = prices_of(self.table, weights, device, rows, columns)
            return self._mesh(best_layout(self.blocks, prices, stage.layouts), prices)

        return self.table.remembered(("mesh", device, columns, weights, tuple(stage.layouts.items()), rows), found)

    def planned_mesh(self, stage: Stage) -> Mesh | None:
        """The mesh of the planner that a stage runs on, if its layouts are those of one."""
        if stage.tensor == 1:
            return self.whole
        start = self.blocks.index[stage.blocks[0]]
        stop = start + len(stage.blocks)
        offered = self._offered(stage)
        return next((mesh for mesh in offered if own_layouts(mesh.layouts, self.blocks, start, stop) == stage.layouts), None)

    def _offered(self, stage: Stage) -> tuple[Mesh, ...]:
        """What the planner may have run the stage on."""
        weights = stage.tensor_shares or (1,) * stage.tensor
        team = tuple((self.cluster.ranks[rank].group, weight) for rank, weight in zip(stage.replica(0), weights, strict=True))
        if len({group for group, _ in team}) > 1:
            return self.joined(team)
        groups = dict.fromkeys(self.cluster.ranks[rank].group for rank in stage.ranks)
        return () if stage.tensor_shares else tuple(mesh for group in groups for mesh in self.meshes(group, stage.tensor))

    def tables_of(self, plan: Plan) -> Rewritten:
        """The plan with the prices of each stage's columns."""
        local = local_plan(self.table, plan, self.cluster)
        if local.blocks is self.blocks:
            return Rewritten(local, lambda _stage, _column: self.table)
        widest = max(stage.tensor for stage in plan.stages) if uneven(local.blocks.sharded.graph) else 1

        def found() -> list[BlockTable]:
            return [self._column_table(column(local.blocks, index)) for index in range(widest)]

        tables = self.table.lately(("tables", Same(local.blocks)), found)
        return Rewritten(local, lambda _stage, index: tables[min(index, widest - 1)])


def make_index(
    blocks: Blocks,
    cluster: Cluster,
    batch_size: int,
    settings: Settings,
    model: ModelRef,
    layouts: Mapping[str, str] | None = None,
) -> Index:
    """What is to be planned, with a fresh table of prices."""
    table = BlockTable(blocks, settings.precision, settings.optimizer, batch_size)
    return Index(table, cluster, model, settings, layouts or {})


def own_layouts(layouts: Mapping[str, str], blocks: Blocks, start: int, stop: int) -> dict[str, str]:
    """Without those of parameters and ops that belong to other blocks alone."""
    if not layouts:
        return {}
    elsewhere = _names(blocks, 0, start) | _names(blocks, stop, len(blocks.blocks))
    own = _names(blocks, start, stop)
    return {name: layout for name, layout in layouts.items() if name in own or name not in elsewhere}


def _names(blocks: Blocks, start: int, stop: int) -> set[str]:
    return {name for block in blocks.blocks[start:stop] for name in block.ops} | set(stage_parameters(blocks, start, stop))
