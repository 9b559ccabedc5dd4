"""Which of an op's rows to take, given how its inputs lie: the one whose reshards cost least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from autopart.ir.graph import Op, Value
from autopart.sharding.placement import Partial, Replicate, Shard
from autopart.sharding.rules import Call, Place, Row, RowNumbers, Unread, base_name, replicated, rows, uses
from autopart.sharding.sizes import expressible

UNIT = 1_000_003  # stands for the batch size in the rules: a prime that divides no size of a model
SAMPLES = 64  # for comparing sizes of tensors

MOVES = frozenset({
    "aten.to", "aten._to_copy", "aten.clone", "aten.contiguous", "aten.detach", "aten.view", "aten.reshape", "aten.flatten",
    "aten.unflatten", "aten.unsqueeze", "aten.squeeze", "aten.transpose", "aten.permute", "aten.t", "aten.expand",
    "aten.expand_as", "aten.broadcast_to", "aten.view_as", "aten.reshape_as", "aten.movedim", "aten.slice", "aten.select",
})  # fmt: skip
"""Ops after which row numbers still are row numbers."""


def call_of(op: Op, values: Mapping[str, Value], places: Mapping[str, Place]) -> Call:
    names = uses(op)
    outers = {1} | {place.outer for name in names if isinstance(place := places[name], Shard)}
    return Call(
        op,
        tuple(values[name].shape_at(UNIT) for name in names),
        tuple(value.shape_at(UNIT) for value in op.outputs),
        tuple(values[name].dtype for name in names),
        UNIT,
        tuple(sorted(outers)),
    )


def choose(
    op: Op,
    values: Mapping[str, Value],
    places: Mapping[str, Place],
    read: AbstractSet[str],
    free: AbstractSet[str],
    pinned: AbstractSet[str],
    discovered: Sequence[Row] = (),
) -> Row:
    """The cheapest legal row. ``read`` are values that something reads, ``free`` partial values whose sum is known
    before the step, ``pinned`` ops whose row numbers must be those of the global batch. ``discovered`` are rows of an
    op that no rule knows.
    """
    call = call_of(op, values, places)
    found = (rows(call) or (*discovered, replicated(call))) if op.outputs else None
    if found is None or op.name in pinned:
        found = (replicated(call),)
    current = [places[name] for name in uses(op)]
    if base_name(op.kind) in MOVES or is_scaling(op):
        found = (*(row for row in found if row != replicated(call)), *moved(found, current), replicated(call))
    legal = [row for row in found if fits(op, row, read)]
    return min(legal, key=lambda row: cost(op, row, current, values, free))


def is_scaling(op: Op) -> bool:
    """``rows * k``."""
    return op.kind == "aten.mul.Tensor" and isinstance(op.args[1], int)


def moved(found: Sequence[Row], current: Sequence[Place]) -> list[Row]:
    """Rows for row numbers: as if they were a shard."""
    number = current[0] if current else None
    if not isinstance(number, RowNumbers):
        return []
    return [
        Row((number, *row.inputs[1:]), tuple(RowNumbers(place.dim, number.step, number.origin) for place in row.outputs))  # type: ignore[union-attr]
        for row in found
        if row.inputs[0] == Shard(number.dim) and all(isinstance(place, Shard) and place.outer == 1 for place in row.outputs)
    ]


def fits(op: Op, row: Row, read: AbstractSet[str]) -> bool:
    """Whether the results have sizes that can be said, and nobody reads mere bookkeeping."""
    unread = all(
        not isinstance(place, Unread) or value.name not in read for value, place in zip(op.outputs, row.outputs, strict=False)
    )
    return unread and all(expressible(value, place) for value, place in zip(op.outputs, row.outputs, strict=False))


def cost(op: Op, row: Row, current: Sequence[Place], values: Mapping[str, Value], free: AbstractSet[str]) -> float:
    """A number to compare rows by: elements that are sent, and a little for every tensor that holds all samples."""
    names = uses(op)
    sent = sum(
        reshard_cost(have, need, values[name].numel(SAMPLES), name in free)
        for name, have, need in zip(names, current, row.inputs, strict=True)
    )
    kept = sum(
        value.shape_at(1) != value.shape_at(2)
        for value, place in zip(op.outputs, row.outputs, strict=False)
        if place == Replicate()
    )
    return sent + 0.5 * kept


def reshard_cost(have: Place, need: Place, numel: int, free: bool) -> float:
    if isinstance(need, Unread) or have == need:
        return 0.0
    match have, need:
        case RowNumbers(), RowNumbers():
            return 0.0 if (have.dim, have.step) == (need.dim, need.step) else math.inf
        case _, RowNumbers():
            return math.inf
        case RowNumbers(), _:
            return 3.0  # the global batch's own numbers, made again
        case Replicate(), Partial():
            return 1.0
        case Partial(), Replicate() if free:
            return 1.5
        case Replicate(), Shard():
            return 2.0
        case Partial(), Replicate():
            return 100.0 + numel
        case Shard(), Replicate():
            return 1000.0 + numel
        case _:
            return reshard_cost(have, Replicate(), numel, free) + reshard_cost(Replicate(), need, numel, free)
