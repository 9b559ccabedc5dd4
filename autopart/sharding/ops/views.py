"""Ops that rearrange: every element of the result is one of the inputs."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.ir.graph import Size
from autopart.sharding.placement import Partial, Replicate, Shard
from autopart.sharding.rules import Call, Labels, Row, Shape, broadcast, by_labels, numbered, product, rule


def follow(shape: Shape, dim: int, outer: int, to: Shape, unit: int) -> Shard | None:
    """Where a shard goes when a tensor is reshaped: what is split keeps its place in the row-major order of elements."""
    before = product(shape[:dim]) * outer
    for target, size in enumerate(to):
        prefix = product(to[:target])
        if before % prefix == 0 and size % (before // prefix * unit) == 0:
            return Shard(target, before // prefix)
    return None


@rule("view reshape _unsafe_view flatten unflatten unsqueeze squeeze ravel view_as reshape_as")
def reshape(call: Call) -> Iterator[Row]:
    shape, to = call.shapes[0], call.outputs[0]
    others = len(call.shapes) - 1  # view_as(x, other)
    for dim, size in enumerate(shape):
        for outer in call.splits(size):
            target = follow(shape, dim, outer, to, call.unit)
            if target is not None:
                yield Row((Shard(dim, outer), *(target,) * others), (target,))
    yield Row((Partial(), *(Replicate(),) * others), (Partial(),))


def permuted(call: Call, order: list[int]) -> Iterator[Row]:
    labels = numbered(call.shapes[0])
    return by_labels(call, [labels], [[labels[d] for d in order]], linear=[(0,)])


@rule("transpose swapaxes swapdims")
def transpose(call: Call) -> Iterator[Row]:
    order = list(range(len(call.shapes[0])))
    first, second = (*call.dims(1, "dim0", len(order), ()), *call.dims(2, "dim1", len(order), ()))
    order[first], order[second] = order[second], order[first]
    return permuted(call, order)


@rule("t numpy_T mT")
def t(call: Call) -> Iterator[Row]:
    order = list(range(len(call.shapes[0])))
    if call.base == "aten.mT":
        order[-2:] = order[:-3:-1]
        return permuted(call, order)
    return permuted(call, order[::-1])


@rule("permute")
def permute(call: Call) -> Iterator[Row]:
    return permuted(call, list(call.dims(1, "dims", len(call.shapes[0]), ())))


@rule("movedim")
def movedim(call: Call) -> Iterator[Row]:
    rank = len(call.shapes[0])
    source, target = call.dims(1, "source", rank, ()), call.dims(2, "destination", rank, ())
    rest = iter(d for d in range(rank) if d not in source)
    return permuted(call, [source[target.index(d)] if d in target else next(rest) for d in range(rank)])


@rule("expand expand_as broadcast_to")
def expand(call: Call) -> Iterator[Row]:
    out = call.outputs[0]
    labels = broadcast(out, out)
    like = [labels] * (len(call.shapes) - 1)
    return by_labels(call, [broadcast(call.shapes[0], out), *like], [labels], linear=[(0,)])


def unsplittable(call: Call, *dims: int) -> Iterator[Row]:
    """One tensor in, results of the same rank; everything may be split but ``dims``."""
    labels = numbered(call.shapes[0], dims)
    return by_labels(call, [labels], [labels] * len(call.outputs), linear=[(0,)])


def parts(call: Call, dim: int, bounds: list[tuple[int, int]]) -> Iterator[Row]:
    """Results are the ranges ``bounds`` of ``dim``, which may be split itself where every range is made of whole outer slices."""
    yield from unsplittable(call, dim)
    size = call.shapes[0][dim]
    for outer in call.splits(size):
        slice_size = size // outer
        if all(start % slice_size == 0 and end % slice_size == 0 and end > start for start, end in bounds):
            yield Row((Shard(dim, outer),), tuple(Shard(dim, (end - start) // slice_size) for start, end in bounds))


def at(value: object, size: int, default: int, unit: int) -> int:
    """A bound of a slice, counted from the front and clipped."""
    number = default if value is None else value.at(unit) if isinstance(value, Size) else int(value)  # type: ignore[call-overload]
    return max(0, min(size, number + size if number < 0 else number))


@rule("slice narrow")
def slice_(call: Call) -> Iterator[Row]:
    dim = call.dims(1, "dim", len(call.shapes[0]), (0,))[0]
    size = call.shapes[0][dim]
    start = at(call.arg(2, "start", None), size, 0, call.unit)
    if call.base == "aten.narrow":
        return parts(call, dim, [(start, start + call.outputs[0][dim])])
    end = at(call.arg(3, "end", None), size, size, call.unit)
    if call.arg(4, "step", 1) != 1:
        return unsplittable(call, dim)
    return parts(call, dim, [(start, end)])


@rule("split split_with_sizes chunk tensor_split")
def split(call: Call) -> Iterator[Row]:
    dim = call.dims(2, "dim", len(call.shapes[0]), (0,))[0]
    ends = [sum(out[dim] for out in call.outputs[: i + 1]) for i in range(len(call.outputs))]
    return parts(call, dim, list(zip([0, *ends], ends, strict=False)))


@rule("slice_scatter")
def slice_scatter(call: Call) -> Iterator[Row]:
    rank = len(call.shapes[0])
    dim = call.dims(2, "dim", rank, (0,))[0]
    full = call.shapes[0] == call.shapes[1]
    labels = numbered(call.shapes[0], () if full else (dim,))
    return by_labels(call, [labels, labels], [labels], linear=[(0, 1)])


@rule("select_scatter")
def select_scatter(call: Call) -> Iterator[Row]:
    dim = call.dims(2, "dim", len(call.shapes[0]), (0,))[0]
    labels = numbered(call.shapes[0], (dim,))
    return by_labels(call, [labels, labels[:dim] + labels[dim + 1 :]], [labels], linear=[(0, 1)])


@rule("diagonal_scatter")
def diagonal_scatter(call: Call) -> Iterator[Row]:
    rank = len(call.shapes[0])
    pair = (call.dims(3, "dim1", rank, (0,))[0], call.dims(4, "dim2", rank, (1,))[0])
    labels = numbered(call.shapes[0], pair)
    rest = [label for d, label in enumerate(labels) if d not in pair]
    return by_labels(call, [labels, [*rest, None]], [labels], linear=[(0, 1)])


@rule("select unbind")
def select(call: Call) -> Iterator[Row]:
    dim = call.dims(1, "dim", len(call.shapes[0]), (0,))[0]
    labels = numbered(call.shapes[0], (dim,))
    return by_labels(call, [labels], [labels[:dim] + labels[dim + 1 :]] * len(call.outputs), linear=[(0,)])


@rule("cat concat concatenate")
def cat(call: Call) -> Iterator[Row]:
    """Along the dim itself: [o1, u, i] and [o2, u, i] make [o1 + o2, u, i]. Empty tensors of rank 1 are let through unsplit."""
    rank = len(call.outputs[0])
    dim = call.dims(1, "dim", rank, (0,))[0]
    labels = numbered(call.outputs[0], (dim,))
    ins: list[Labels] = [labels if len(shape) == rank else [None] * len(shape) for shape in call.shapes]
    yield from by_labels(call, ins, [labels], linear=[range(len(ins))])
    sizes = [shape[dim] if len(shape) == rank else 0 for shape in call.shapes]
    for inner in dict.fromkeys(size // (outer * call.unit) for size in sizes for outer in call.splits(size)):
        if all(size and size % (inner * call.unit) == 0 for size in sizes):
            outers = [size // (inner * call.unit) for size in sizes]
            yield Row(tuple(Shard(dim, outer) for outer in outers), (Shard(dim, sum(outers)),))


@rule("stack")
def stack(call: Call) -> Iterator[Row]:
    dim = call.dims(1, "dim", len(call.outputs[0]), (0,))[0]
    labels = numbered(call.outputs[0], (dim,))
    ins = [labels[:dim] + labels[dim + 1 :]] * len(call.shapes)
    return by_labels(call, ins, [labels], linear=[range(len(ins))])


@rule("repeat tile")
def repeat(call: Call) -> Iterator[Row]:
    """A dim of size 1 repeated may be split in the result alone; one that is split repeats its shards as outer slices."""
    offset = len(call.outputs[0]) - len(call.shapes[0])
    for target, size in enumerate(call.outputs[0]):
        own = call.shapes[0][target - offset] if target >= offset else 1
        times = size // own if own else 0
        if times and times % call.unit == 0:
            yield Row((Replicate(),), (Shard(target),))
        for outer in call.splits(own):
            yield Row((Shard(target - offset, outer),), (Shard(target, outer * times),))
    yield Row((Partial(),), (Partial(),))


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> Iterator[Row]:
    """Every element k times in its place: the inner part grows."""
    dims = call.dims(2, "dim", len(call.shapes[0]), ())
    if len(call.shapes) != 1 or not dims:
        return
    labels = numbered(call.shapes[0], dims)
    yield from by_labels(call, [labels], [labels], linear=[(0,)])
    for outer in call.splits(call.shapes[0][dims[0]]):
        yield Row((Shard(dims[0], outer),), (Shard(dims[0], outer),))


@rule("flip roll fft_fftshift fft_ifftshift")
def shifted(call: Call) -> Iterator[Row]:
    position = 2 if call.base == "aten.roll" else 1
    rank = len(call.shapes[0])
    return unsplittable(call, *call.dims(position, "dims" if position == 2 else "dim", rank, range(rank)))


@rule("diagonal tril triu")
def diagonal(call: Call) -> Iterator[Row]:
    """The last two dims belong together (``diagonal`` takes any two and puts the result last)."""
    rank = len(call.shapes[0])
    if call.base != "aten.diagonal":
        return unsplittable(call, rank - 2, rank - 1)
    pair = (call.dims(2, "dim1", rank, (0,))[0], call.dims(3, "dim2", rank, (1,))[0])
    labels = numbered(call.shapes[0], pair)
    return by_labels(call, [labels], [[label for d, label in enumerate(labels) if d not in pair] + [None]], linear=[(0,)])


@rule("unfold")
def unfold(call: Call) -> Iterator[Row]:
    """``unfold(x, dim, size, step)``: windows along ``dim``, their elements in a new last dim."""
    dim = call.dims(1, "dimension", len(call.shapes[0]), ())[0]
    labels = numbered(call.shapes[0], (dim,))
    return by_labels(call, [labels], [[*labels, None]], linear=[(0,)])


@rule("meshgrid")
def meshgrid(call: Call) -> Iterator[Row]:
    rank = len(call.shapes)
    ij = argument_is(call, "xy")
    order = [1, 0, *range(2, rank)] if ij and rank > 1 else list(range(rank))
    return by_labels(call, [[label] for label in range(rank)], [[order[d] for d in range(rank)]] * rank)


def argument_is(call: Call, text: str) -> bool:
    return call.arg(1, "indexing", "ij") == text


@rule("pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d")
def pad(call: Call) -> Iterator[Row]:
    """Amounts come in pairs, last dim first. Zeros are linear; another constant would be counted once per rank."""
    amounts = call.arg(1, "pad", ())
    padded = amounts if isinstance(amounts, tuple) else ()
    rank = len(call.shapes[0])
    labels = numbered(call.shapes[0], [rank - 1 - i // 2 for i, amount in enumerate(padded) if amount != 0])
    position = 3 if call.base == "aten.pad" else 2
    zero = call.arg(position, "value", None) in (None, 0)
    return by_labels(call, [labels], [labels], linear=[(0,)] if zero else [])
