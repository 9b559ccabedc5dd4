"""Which sizes of an op are this rank's own and which the global batch's, once it is known how its values lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from autopart.ir.graph import Argument, Dim, GlobalSize, Op, Size, Value
from autopart.sharding.placement import Shard
from autopart.sharding.rules import Place, Row, RowNumbers, argument, base_name

SHAPE_ARGUMENT: Mapping[str, int] = {
    "zeros": 0, "ones": 0, "empty": 0, "full": 0, "rand": 0, "randn": 0, "view": 1, "reshape": 1, "_unsafe_view": 1, "expand": 1,
    "broadcast_to": 1, "new_zeros": 1, "new_ones": 1, "new_empty": 1, "new_full": 1, "repeat": 1, "tile": 1, "unflatten": 2,
    "affine_grid_generator": 1,
}  # fmt: skip
"""Position of the argument that gives the result's sizes, dim by dim."""

RANGES: Mapping[str, int] = {
    "slice": 1, "narrow": 1, "split": 2, "split_with_sizes": 2, "chunk": 2, "tensor_split": 2, "slice_scatter": 2,
}  # fmt: skip
"""Position of the dim in ops whose other arguments are positions along it."""


def whole(argument: Argument) -> Argument:
    """Every size counts the global batch."""
    if isinstance(argument, Size):
        return GlobalSize(argument.expression)
    if isinstance(argument, tuple):
        return tuple(whole(item) for item in argument)
    return argument


def settle(op: Op, row: Row) -> Op:
    """The op with every size argument and every result's shape as the row has it."""
    outputs = tuple(settle_value(value, place) for value, place in zip(op.outputs, row.outputs, strict=True))
    fix = argument_rule(op, row)
    args = tuple(fix(position, value) for position, value in enumerate(op.args))
    kwargs = tuple((name, whole(value)) for name, value in op.kwargs)
    return replace(op, args=args, kwargs=kwargs, outputs=outputs)


def settle_value(value: Value, place: Place) -> Value:
    """Only the dim that is split counts this rank's samples; others that depend on the batch hold all of it."""
    dim = split_dim(place)
    return replace(value, shape=tuple(size if d == dim else whole_size(size) for d, size in enumerate(value.shape)))


def whole_size(size: Dim) -> Dim:
    return GlobalSize(size.expression) if isinstance(size, Size) else size


def split_dim(place: Place) -> int | None:
    return place.dim if isinstance(place, Shard | RowNumbers) else None


def expressible(value: Value, place: Place) -> bool:
    """Whether the size of the dim that is split is a number of elements a sample: ``b*b`` is not."""
    dim = split_dim(place)
    if dim is None:
        return True
    size = value.shape[dim]
    return isinstance(size, Size) and size.per_sample is not None


def argument_rule(op: Op, row: Row) -> Callable[[int, Argument], Argument]:
    """What becomes of the argument at a position."""
    base = base_name(op.kind).removeprefix("aten.")
    if base == "arange":
        own = isinstance(row.outputs[0], RowNumbers)
        return lambda _, value: value if own else whole(value)
    if base in RANGES:
        dim = argument(op, RANGES[base], "dim", 0)
        rank = len(op.outputs[0].shape)
        own = isinstance(dim, int) and split_dim(row.inputs[0]) == dim % rank
        return lambda _, value: value if own else whole(value)
    if base == "randint":
        return lambda _, value: shape_argument(op, row, value) if isinstance(value, tuple) else whole(value)
    if base in SHAPE_ARGUMENT:
        return lambda position, value: shape_argument(op, row, value) if position == SHAPE_ARGUMENT[base] else whole(value)
    return lambda _, value: whole(value)


def shape_argument(op: Op, row: Row, value: Argument) -> Argument:
    """Sizes of the result: of its last dims, or for ``unflatten`` of those that a dim becomes."""
    if not isinstance(value, tuple):
        return whole(value)
    rank = len(op.outputs[0].shape)
    offset = rank - len(value)
    if base_name(op.kind) == "aten.unflatten" and isinstance(op.args[1], int):
        offset = op.args[1] % (rank - len(value) + 1)
    dim = split_dim(row.outputs[0])
    return tuple(item if d + offset == dim else whole(item) for d, item in enumerate(value))
