"""Ops that look up: embeddings, gathers, advanced indexing."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.ir.graph import Ref
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.rules import Call, Labels, Row, RowNumbers, Shape, Unread, broadcast, by_labels, numbered, rule


@rule("embedding")
def embedding(call: Call) -> Iterator[Row]:
    """``(weight, ids, padding_idx, scale_grad_by_freq)``: scaling by frequency looks at all ids at once."""
    ids: Labels = [f"t{d}" for d in range(len(call.shapes[1]))]
    taken = [None] * len(ids) if call.arg(3, "scale_grad_by_freq", False) else ids
    return by_labels(call, [[None, "c"], taken], [[*taken, "c"]], linear=[(0,)])


@rule("embedding_bag")
def embedding_bag(call: Call) -> Iterator[Row]:
    """``(weight, ids, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights, …)`` -> bags and three bookkeeping tensors.

    Bags may be split where all have the same number of ids, that is where the offsets are row numbers times it.
    """
    if call.arg(3, "scale_grad_by_freq", False):
        return
    extra = len(call.shapes) - 3
    bookkeeping = (Unread(),) * (len(call.outputs) - 1)
    by_bag = tuple(Shard(0) if shape == (call.unit,) else Unread() for shape in call.outputs[1:])
    count = call.shapes[1][0]
    if len(call.shapes[1]) == 1 and call.shapes[2] == (call.unit,) and count % call.unit == 0:
        ids = Shard(0)
        yield Row((Replicate(), ids, RowNumbers(0, count // call.unit), *(ids,) * extra), (Shard(0), *by_bag))
    if call.shapes[0][1] % call.unit == 0:
        yield Row((Shard(1), *(Replicate(),) * (len(call.shapes) - 1)), (Shard(1), *bookkeeping))


@rule("gather take_along_dim")
def gather(call: Call) -> Iterator[Row]:
    """``(x, dim, index)``: other dims are walked in step where they are equally long."""
    rank = len(call.shapes[0])
    dim = call.dims(1 if call.base == "aten.gather" else 2, "dim", rank, ())
    if len(dim) != 1 or len(call.shapes[1]) != rank:
        return iter(())
    own, out = call.shapes[0], call.outputs[0]
    free = [d for d in range(rank) if d != dim[0] and own[d] == call.shapes[1][d]]
    x = [d if d in free else None for d in range(rank)]
    index = [d if d in (*free, dim[0]) and out[d] == call.shapes[1][d] else None for d in range(rank)]
    return by_labels(call, [x, index], [index], linear=[(0,)])


@rule("scatter scatter_add scatter_reduce")
def scatter(call: Call) -> Iterator[Row]:
    """``(x, dim, index, src)``: dims other than ``dim`` are walked in step."""
    rank = len(call.shapes[0])
    dim = call.dims(1, "dim", rank, ())[0]
    same = [d if d != dim and all(shape[d] == call.shapes[0][d] for shape in call.shapes) else None for d in range(rank)]
    jointly = [(0, 2)] if call.base == "aten.scatter_add" else []
    return by_labels(call, [same] * len(call.shapes), [same], linear=jointly)


@rule("index_add index_copy")
def index_add(call: Call) -> Iterator[Row]:
    """``(x, dim, index, src)``: adding the sources of a shard of the index gives a partial sum."""
    rank = len(call.shapes[0])
    dim = call.dims(1, "dim", rank, ())[0]
    labels = numbered(call.shapes[0], (dim,))
    add = call.base == "aten.index_add"
    yield from by_labels(call, [labels, [None], labels], [labels], linear=[(0, 2)] if add else [])
    for outer in call.splits(call.shapes[2][dim]) if add and len(call.shapes[1]) == 1 else ():
        yield Row((Partial(), Shard(0, outer), Shard(dim, outer)), (Partial(),))


@rule("index_select")
def index_select(call: Call) -> Iterator[Row]:
    rank = len(call.shapes[0])
    dim = call.dims(1, "dim", rank, ())[0]
    labels = numbered(call.shapes[0], (dim,))
    out = [*labels[:dim], "index", *labels[dim + 1 :]]
    return by_labels(call, [labels, ["index"]], [out], linear=[(0,)])


@rule("index")
def index(call: Call) -> Iterator[Row]:
    """``x[i, :, j]``. The indices' common shape stands where they stood, or first if slices come between them."""
    positions = indexed(call)
    if positions is None:
        return
    common = broadcast_shape([call.shapes[1 + i] for i in range(len(positions))])
    labels = numbered(call.shapes[0], positions)
    start = positions[0] if positions[-1] - positions[0] == len(positions) - 1 else 0
    index_labels = [f"i{d}" for d in range(len(common))]
    kept = [label for d, label in enumerate(labels) if d not in positions]
    out = [*kept[:start], *index_labels, *kept[start:]]
    indices = [index_dims(shape, common) for shape in call.shapes[1:]]
    yield from by_labels(call, [labels, *indices], [out], linear=[(0,)])
    yield from own_rows(call, positions, indices, out)


def indexed(call: Call) -> list[int] | None:
    """The dims of x that have an index tensor; None where an index is a mask."""
    entries = call.op.args[1]
    assert isinstance(entries, tuple), "index without a list"
    if any(dtype == "bool" for dtype in call.dtypes[1:]):
        return None
    return [d for d, entry in enumerate(entries) if isinstance(entry, Ref)] or None


def broadcast_shape(shapes: list[Shape]) -> Shape:
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def index_dims(shape: Shape, common: Shape) -> Labels:
    return [None if d is None else f"i{d}" for d in broadcast(shape, common)]


def own_rows(call: Call, positions: list[int], indices: list[Labels], out: Labels) -> Iterator[Row]:
    """``x[arange(b), …]``: each rank looks its own rows up, the other indices are split alike or the same for all."""
    for use, position in enumerate(positions):
        if call.shapes[0][position] != call.unit:
            continue
        for d, label in enumerate(indices[use]):
            if label is None or call.shapes[1 + use][d] != call.unit:
                continue
            places: list[Placement | RowNumbers] = [
                Shard(list(dims).index(label)) if label in dims else Replicate() for dims in indices
            ]
            places[use] = RowNumbers(d)
            yield Row((Shard(position), *places), (Shard(list(out).index(label)),))


@rule("index_put")
def index_put(call: Call) -> Iterator[Row]:
    """``x[i, :, j] = values``: dims without an index, where the values have them."""
    positions = indexed(call)
    if positions is None:
        return iter(())
    count = len(positions)
    common = broadcast_shape([call.shapes[1 + i] for i in range(count)])
    labels = numbered(call.shapes[0], positions)
    kept = [label for d, label in enumerate(labels) if d not in positions]
    start = positions[0] if positions[-1] - positions[0] == count - 1 else 0
    target = [*kept[:start], *[None] * len(common), *kept[start:]]
    sizes = [1 if label is None else call.shapes[0][label] for label in target]
    own = call.shapes[1 + count]
    offset = len(target) - len(own)
    values = [target[d + offset] if size == sizes[d + offset] else None for d, size in enumerate(own)]
    return by_labels(call, [labels, *([None] * len(shape) for shape in call.shapes[1 : 1 + count]), values], [labels])


@rule("one_hot")
def one_hot(call: Call) -> Iterator[Row]:
    labels = numbered(call.shapes[0])
    return by_labels(call, [labels], [[*labels, None]])


@rule("multinomial")
def multinomial(call: Call) -> Iterator[Row]:
    labels = [*numbered(call.shapes[0])[:-1], None]
    return by_labels(call, [labels], [labels])
