"""Sizes on one column: of values, and of the arguments of ops that speak of a dim which is split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from autopart.ir.graph import Argument, Dim, Op, PartSize, Value
from autopart.sharding.placement import Shard
from autopart.sharding.rules import Place, Row, argument, base_name
from autopart.sharding.sizes import RANGES, SHAPE_ARGUMENT
from autopart.tensor.ways import Axis

GROUPS: Mapping[str, int] = {
    "conv1d": 6, "conv2d": 6, "conv3d": 6, "conv_transpose1d": 6, "conv_transpose2d": 6, "conv_transpose3d": 6, "convolution": 8,
    "group_norm": 1,
}  # fmt: skip
"""Position of the number of groups of channels."""
TO_THE_END = 2**63 - 1
REPEATS = ("repeat", "tile")
COUNTS = ("aten.chunk.default", "aten.tensor_split.sections")  # whose argument is a number of pieces


def scaled(count: int, whole: int, parts: tuple[int, ...], units: int) -> int | PartSize:
    """``count`` elements of a dim of ``whole`` (or of one slice of it), by column; one number where all have as many."""
    assert count * units % whole == 0 or count % units == 0, f"{count} of {whole} in {units} units"
    found = tuple(count * part // units for part in parts)
    return found[0] if len(set(found)) == 1 else PartSize(found)


def local_value(value: Value, place: Place, axis: Axis) -> Value:
    """The value as a column has it."""
    if not isinstance(place, Shard):
        return value
    return replace(
        value, shape=tuple(local_dim(size, place, axis) if d == place.dim else size for d, size in enumerate(value.shape))
    )


def local_dim(size: Dim, place: Shard, axis: Axis) -> int | PartSize:
    assert isinstance(size, int), f"a dim of {size} is split over columns"
    return scaled(size, size, axis.parts(place), place.units)


def local_op(op: Op, row: Row, shapes: tuple[tuple[Dim, ...], ...], axis: Axis) -> Op:
    """The op with results and arguments of one column; ``shapes`` are those of its tensor uses on one device."""
    outputs = tuple(local_value(value, place, axis) for value, place in zip(op.outputs, row.outputs, strict=True))
    fix = _fixer(op, row, shapes, axis)
    return replace(op, args=tuple(fix(position, value) for position, value in enumerate(op.args)), outputs=outputs)


def _fixer(op: Op, row: Row, shapes: tuple[tuple[Dim, ...], ...], axis: Axis) -> Callable[[int, Argument], Argument]:
    """What becomes of the argument at a position."""
    base = base_name(op.kind).removeprefix("aten.")
    out = row.outputs[0] if row.outputs else None
    source = row.inputs[0] if row.inputs else None
    if base in GROUPS and isinstance(source, Shard) and source.dim == _channels(base, shapes):
        return lambda position, value: _groups(value, source, axis) if position == GROUPS[base] else value
    if base in REPEATS and isinstance(out, Shard):
        return lambda position, value: (
            _repeats(op, out, value, axis) if position == 1 and not isinstance(source, Shard) else value
        )
    if base in SHAPE_ARGUMENT and isinstance(out, Shard):
        return lambda position, value: _sizes(op, out, value, axis) if position == SHAPE_ARGUMENT[base] else value
    if base in RANGES and op.kind not in COUNTS and isinstance(source, Shard):
        dim = argument(op, RANGES[base], "dim", 0)
        if isinstance(dim, int) and dim % len(shapes[0]) == source.dim:
            whole = shapes[0][source.dim]
            assert isinstance(whole, int), f"{op.name} takes ranges of {whole}"
            return lambda position, value: _range(value, position, RANGES[base], whole // source.outer, source, axis)
    return lambda _, value: value


def _sizes(op: Op, out: Shard, value: Argument, axis: Axis) -> Argument:
    """Sizes of the result: of its last dims, or for ``unflatten`` of those that a dim becomes."""
    if not isinstance(value, tuple):
        return value
    rank = len(op.outputs[0].shape)
    offset = rank - len(value)
    if base_name(op.kind) == "aten.unflatten" and isinstance(op.args[1], int):
        offset = op.args[1] % (rank - len(value) + 1)
    own = op.outputs[0].shape[out.dim]

    def fixed(d: int, item: Argument) -> Argument:
        if d + offset != out.dim or not isinstance(item, int) or item == -1 or item != own:
            return item
        return local_dim(item, out, axis)

    return tuple(fixed(d, item) for d, item in enumerate(value))


def _channels(base: str, shapes: tuple[tuple[Dim, ...], ...]) -> int:
    """The dim of a tensor that counts channels: of a convolution without a batch dim the first."""
    return 1 if base == "group_norm" else len(shapes[0]) - len(shapes[1]) + 1


def _groups(value: Argument, source: Shard, axis: Axis) -> Argument:
    """How many groups are a column's own; one group is split inside."""
    if not isinstance(value, int) or value == 1:
        return value
    return scaled(value, value, axis.parts(source), source.units)


def _repeats(op: Op, out: Shard, value: Argument, axis: Axis) -> Argument:
    """How often each of the last dims is repeated, where the repeats of a whole tensor are shared out."""
    assert isinstance(value, tuple), f"{op.name} has no repeats"
    place = out.dim - len(op.outputs[0].shape) + len(value)
    return tuple(local_dim(item, out, axis) if d == place else item for d, item in enumerate(value))  # type: ignore[arg-type]


def _range(value: Argument, position: int, dim_position: int, slice_size: int, source: Shard, axis: Axis) -> Argument:
    """Positions along the dim, which are whole slices."""
    if position in (0, dim_position):
        return value
    if isinstance(value, tuple):
        return tuple(_range(item, position, dim_position, slice_size, source, axis) for item in value)
    if not isinstance(value, int) or value in (0, TO_THE_END) or value % slice_size:
        return value
    return scaled(value, slice_size, axis.parts(source), source.units)


def resolved(argument: Argument, column: int) -> Argument:
    """The argument as that column has it, or the last where a stage has fewer."""
    if isinstance(argument, PartSize):
        return argument.parts[min(column, len(argument.parts) - 1)]
    if isinstance(argument, tuple):
        return tuple(resolved(item, column) for item in argument)
    return argument


def resolved_op(op: Op, column: int) -> Op:
    return replace(
        op,
        args=tuple(resolved(each, column) for each in op.args),
        kwargs=tuple((name, resolved(each, column)) for name, each in op.kwargs),
        outputs=tuple(resolved_value(value, column) for value in op.outputs),
    )


def resolved_value(value: Value, column: int) -> Value:
    shape = tuple(size.parts[min(column, len(size.parts) - 1)] if isinstance(size, PartSize) else size for size in value.shape)
    return value if shape == value.shape else replace(value, shape=shape)
