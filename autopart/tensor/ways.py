"""The ways in which an op may run on the columns of a stage: rows of its rule, for every unit that sizes are shared out in.

The rules are those of the data axis, so soundness is checked there once. What no row can say is a *joint* op: the columns
run it together, each on its part, and the runtime has a function for it.

* an embedding whose rows are split looks up the ids that it has, and leaves a partial result;
* a cross-entropy over split classes exchanges a maximum and a sum;
* dropout of what is split, or attention with dropout over split heads, draws other numbers on every column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from autopart.ir.analysis import alias_groups, is_random, mutated_roots, once
from autopart.ir.graph import Graph, Op, Value, is_floating
from autopart.sharding import comm
from autopart.sharding.choose import UNIT
from autopart.sharding.ops.losses import MEAN, reduction
from autopart.sharding.placement import Partial, Placement, Replicate, Shard, apportion
from autopart.sharding.rules import Call, Place, Row, RowNumbers, Unread, argument, base_name, by_labels, replicated, rows, uses

JOINT = frozenset({"aten.dropout", "aten.scaled_dot_product_attention"})  # random ops that may draw by column
MOST_UNITS = 4


@dataclass(frozen=True, slots=True)
class Way:
    """A row, and the kind of the op that runs it: its own, or ``columns.…`` for a joint op."""

    row: Row
    kind: str

    @property
    def whole(self) -> bool:
        """Whether every column does all of it."""
        return all(isinstance(place, Replicate | Unread) for place in (*self.row.inputs, *self.row.outputs))


@dataclass(frozen=True)
class Axis:
    """The columns of a stage: their weights, and what sizes of this model are shared out in: ``units`` equal units of
    a dim that is ``outers`` slices, or one.
    """

    weights: tuple[int, ...]
    units: tuple[int, ...]
    outers: tuple[int, ...]

    @property
    def degree(self) -> int:
        return len(self.weights)

    def parts(self, shard: Shard) -> tuple[int, ...]:
        """Units by column."""
        return parts(shard.units, self.weights)


@cache
def parts(units: int, weights: tuple[int, ...]) -> tuple[int, ...]:
    return apportion(units, weights)


def axis_of(graph: Graph, weights: tuple[int, ...]) -> Axis:
    """Sizes that the weights divide are shared out in that many units; the largest few others of parameters in units of one."""
    total = sum(weights)
    odd: dict[int, int] = {}
    for parameter in graph.parameters:
        for size in parameter.value.shape_at(1):
            if size % total and size >= total:
                odd[size] = odd.get(size, 0) + parameter.value.numel(1)
    largest = sorted(odd, key=lambda size: (-odd[size], size))[: MOST_UNITS - 1]
    counts = {len(op.outputs) for op in graph.ops if base_name(op.kind) in ("aten.split", "aten.chunk", "aten.split_with_sizes")}
    return Axis(weights, (total, *largest), (1, *sorted(count for count in counts if count > 1)))


def ways(op: Op, graph: Graph, axis: Axis) -> tuple[Way, ...]:
    """All legal ones, each once; the last has everything replicated."""
    whole = Way(replicated(_call(op, graph.values, axis, axis.units[0])), op.kind)
    if not op.outputs or writes_elsewhere(op, graph):
        return (whole,)
    found: dict[Way, None] = {}
    for unit in axis.units:
        call = _call(op, graph.values, axis, unit)
        for row in _rows(call):
            found.update((way, None) for way in _allowed(op, _with_units(row, unit), call, graph, axis))
        for joint in _joint(call):
            way = Way(_with_units(joint, unit), op.kind.replace("aten.", "columns.", 1))
            if _sizes_fit(way.row, call, op, axis):
                found[way] = None
    found.pop(whole, None)
    return (*found, whole)


def writes_elsewhere(op: Op, graph: Graph) -> bool:
    """Whether it has to do with memory that an op writes in place and that is no buffer's: a converted copy would not be it."""
    return not written_values(graph).isdisjoint((*op.inputs, *(value.name for value in op.outputs)))


@once
def written_values(graph: Graph) -> frozenset[str]:
    """Values that may share memory with one that is written in place; buffers aside."""
    roots = mutated_roots(graph) - graph.buffer_of.keys()
    return frozenset(name for name, root in alias_groups(graph).items() if root in roots)


def _call(op: Op, values: Mapping[str, Value], axis: Axis, unit: int) -> Call:
    names = uses(op)
    return Call(
        op,
        tuple(values[name].shape_at(UNIT) for name in names),
        tuple(value.shape_at(UNIT) for value in op.outputs),
        tuple(values[name].dtype for name in names),
        unit,
        axis.outers,
    )


def _rows(call: Call) -> Iterator[Row]:
    """Of aten ops those of their rule; of what the data axis inserted, those that leave its own dim whole."""
    kind, shape = call.op.kind, call.shapes[0] if call.shapes else ()
    match kind:
        case comm.TO_PARTIAL | comm.ALL_REDUCE:
            labels = list(range(len(shape)))
            yield from by_labels(call, [labels], [labels], linear=[(0,)])
        case comm.ALL_GATHER | comm.SHARD:
            dim = call.integer(1, "dim", 0) % len(shape)
            free = [None if d == dim else d for d in range(len(shape))]
            yield from by_labels(call, [free], [free], linear=[(0,)])
        case comm.BATCH_NORM:
            channels = [None if d != 1 else "c" for d in range(len(shape))]
            yield from by_labels(call, [channels, *(["c"] for _ in call.shapes[1:])], [channels])
        case _ if kind.startswith("aten."):
            yield from rows(call) or ()


def _with_units(row: Row, unit: int) -> Row:
    def changed(place: Place) -> Place:
        return replace(place, units=unit) if isinstance(place, Shard) else place

    return Row(tuple(map(changed, row.inputs)), tuple(map(changed, row.outputs)))


def _allowed(op: Op, row: Row, call: Call, graph: Graph, axis: Axis) -> Iterator[Way]:
    places = (*row.inputs, *row.outputs)
    if any(isinstance(place, RowNumbers) for place in places) or not _sizes_fit(row, call, op, axis):
        return
    dtypes = (*call.dtypes, *(value.dtype for value in op.outputs))
    if any(place == Partial() and not is_floating(dtype) for place, dtype in zip(places, dtypes, strict=True)):
        return  # a term of a whole number would be a fraction
    read = [isinstance(place, Unread) and bool(graph.users[v.name]) for v, place in zip(op.outputs, row.outputs, strict=True)]
    if any(read):
        return
    split = any(isinstance(place, Shard | Partial) for place in places)
    if not (split and is_random(op)):
        yield Way(row, op.kind)
    elif base_name(op.kind) in JOINT and Partial() not in places:
        yield Way(row, op.kind.replace("aten.", "columns.", 1))


def _sizes_fit(row: Row, call: Call, op: Op, axis: Axis) -> bool:
    """Whether each dim that is split is a plain number of whole units, with one for every column at least."""
    known = [(place, value.shape) for place, value in zip(row.outputs, op.outputs, strict=True)]
    known += [(place, shape) for place, shape in zip(row.inputs, call.shapes, strict=True)]
    for place, shape in known:
        if not isinstance(place, Shard):
            continue
        size = shape[place.dim]
        if not isinstance(size, int) or size % UNIT == 0 or size % (place.outer * place.units) or min(axis.parts(place)) < 1:
            return False
    return True


def _joint(call: Call) -> Iterator[Row]:
    """Rows that the columns can only run together."""
    plain = not call.arg(3, "scale_grad_by_freq", False) and not call.arg(4, "sparse", False)
    if call.base == "aten.embedding" and plain and call.shapes[0][0] % call.unit == 0:
        yield Row((Shard(0), Replicate()), (Partial(),))
    if call.base == "aten.cross_entropy_loss" and reduction(call.op) != MEAN and not argument(call.op, 5, "label_smoothing", 0.0):
        classes = call.shapes[0][1] if len(call.shapes[0]) > 1 else 0
        if classes and classes % call.unit == 0 and len(call.shapes[1]) < len(call.shapes[0]):
            weight: tuple[Placement, ...] = (Shard(0),) * (len(call.shapes) - 2)
            yield Row((Shard(1), Replicate(), *weight), (Replicate(),))
