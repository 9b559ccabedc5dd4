"""One walk over the graph: how every value lies over the data axis, and the ops that this takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autopart.errors import TraceError
from autopart.ir.analysis import is_random
from autopart.ir.graph import Argument, Graph, Op, Ref, Value
from autopart.sharding import comm, means
from autopart.sharding.choose import choose
from autopart.sharding.mixing import Mixing
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.rules import REGISTRY, Place, Row, RowNumbers, Unread, argument, base_name, uses
from autopart.sharding.sizes import settle, whole_size
from autopart.sharding.statistics import Statistics

BATCH_NORM_REASON = "batch_norm takes mean and variance over all samples, so its ranks exchange them (batch_norm local avoids it)"
Discovered = Mapping[str, Sequence[Row]]  # rows of ops that have no rule, by the op's name
NO_BATCH_REASON = "the graph has no batch dim, so every rank of a stage would compute the same"


@dataclass
class Walk:
    """What a walk has found so far. ``original`` has every value as it was traced, all sizes in terms of one ``b``;
    ``ops`` are the rewritten ones; ``normalised`` are modules with a batch norm; ``pins`` are ops whose row numbers turned
    out to be needed as those of the global batch.
    """

    graph: Graph
    batch_norm: str
    discovered: Discovered
    pinned: frozenset[str]
    original: dict[str, Value]
    read: frozenset[str]
    normalised: frozenset[str]
    statistics: Statistics
    places: dict[str, Place] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    shapes: dict[str, Value] = field(default_factory=dict)
    converted: dict[tuple[str, Placement], str] = field(default_factory=dict)
    mixing: list[Mixing] = field(default_factory=list)
    pins: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


def propagate(graph: Graph, batch_norm: str, discovered: Discovered) -> Walk:
    """Walks until no more row numbers need to be pinned."""
    pinned: frozenset[str] = frozenset()
    while True:
        walk = walked(graph, batch_norm, discovered, pinned)
        if walk.pins <= pinned:
            return walk
        pinned |= walk.pins


def walked(graph: Graph, batch_norm: str, discovered: Discovered, pinned: frozenset[str]) -> Walk:
    read = frozenset(name for name, users in graph.users.items() if users) | {graph.loss}
    normalised = frozenset(op.module for op in graph.ops if base_name(op.kind) == "aten.batch_norm")
    walk = Walk(graph, batch_norm, discovered, pinned, dict(graph.values), read, normalised, Statistics.of(graph))
    walk.names = {op.name for op in graph.ops} | set(graph.values)
    walk.places = dict.fromkeys(graph.values, Replicate())
    walk.places |= {each.value.name: Shard(each.batch_dim) for each in graph.inputs if each.batch_dim is not None}
    walk.shapes = dict(graph.values)
    for op in graph.ops:
        for step in means.rewrite(op, walk.original, walk.places):
            visit(walk, step)
    return walk


def visit(walk: Walk, op: Op) -> None:
    """Adds one op, with the reshards that it needs before it."""
    walk.original.update((value.name, value) for value in op.outputs)
    if adds_number_to_partial(walk, op):
        for step in means.partial_offset(op, walk.original):
            visit(walk, step)
        return
    if takes_statistics(walk, op):
        x = walk.places[uses(op)[0]]
        row = Row((x, *(Replicate(),) * (len(uses(op)) - 1)), (x,))
        if walk.batch_norm == "global":
            note(walk, op, BATCH_NORM_REASON)
            op = replace(op, kind=comm.BATCH_NORM)
    else:
        row = choose(op, walk.original, walk.places, walk.read, free(walk, op), walk.pinned, walk.discovered.get(op.name, ()))
        refuse_random(walk, op, row)
    note_writes(walk, op)
    moved = [name for name, place in zip(uses(op), row.inputs, strict=True) if place not in (walk.places[name], Unread())]
    assert not set(moved) & set(op.mutates), f"{op.name} writes {op.mutates} in place, which would have to be moved first"
    names = [reshard(walk, op, name, place) for name, place in zip(uses(op), row.inputs, strict=True)]
    append(walk, settle(with_uses(op, names), replace(row, outputs=row.outputs[: len(op.outputs)])), row)


def append(walk: Walk, op: Op, row: Row) -> None:
    walk.ops.append(op)
    walk.statistics.note(op)
    for value, place in zip(op.outputs, row.outputs, strict=False):
        walk.places[value.name] = place
        walk.shapes[value.name] = value


def adds_number_to_partial(walk: Walk, op: Op) -> bool:
    names = uses(op)
    return base_name(op.kind) in ("aten.add", "aten.sub", "aten.rsub") and len(names) == 1 and walk.places[names[0]] == Partial()


def takes_statistics(walk: Walk, op: Op) -> bool:
    """A training batch_norm over samples that are split."""
    if base_name(op.kind) != "aten.batch_norm" or not argument(op, 5, "training", True):
        return False
    place = walk.places[uses(op)[0]]
    return isinstance(place, Shard) and place.dim != 1


def free(walk: Walk, op: Op) -> frozenset[str]:
    """Partial inputs whose sum can be a statistic."""
    return frozenset(name for name in uses(op) if walk.places[name] == Partial() and walk.statistics.known(name))


def refuse_random(walk: Walk, op: Op, row: Row) -> None:
    """Ranks draw their own numbers, so one draw for all samples at once would differ between them."""
    sized = any(not isinstance(size, int) for value in op.outputs for size in value.shape)
    if not (is_random(op) and sized and all(place == Replicate() for place in row.outputs)):
        return
    if any(isinstance(walk.places[name], Shard) for name in uses(op)) or not uses(op):
        raise TraceError(
            f"{op.kind} draws random numbers for all samples together",
            where=f"{op.source} (in module {op.module})" if op.module else op.source,
            remedy="Draw for each sample by itself, or make the numbers outside and pass them as an input.",
        )


def reshard(walk: Walk, op: Op, name: str, need: Place) -> str:
    """The value as ``need`` has it, made by ops put before ``op`` where it lies otherwise."""
    have = walk.places[name]
    if isinstance(need, Unread) or have == need or (isinstance(have, RowNumbers) and isinstance(need, RowNumbers)):
        return name
    if isinstance(have, RowNumbers):
        walk.pins.add(have.origin)
        return name
    assert not isinstance(have, Unread), f"{op.name} reads {name}, which is mere bookkeeping"
    assert not isinstance(need, RowNumbers), f"{op.name} takes row numbers, {name} is none"
    if (name, need) not in walk.converted:
        walk.converted[name, need] = convert(walk, op, name, have, need)
    return walk.converted[name, need]


def convert(walk: Walk, op: Op, name: str, have: Placement, need: Placement) -> str:
    match have, need:
        case Replicate(), Partial():
            return insert(walk, op, comm.TO_PARTIAL, name, (), need)
        case Replicate(), Shard(dim, outer):
            note(walk, op, f"{short(op)} pairs samples with a tensor that counts all of them")
            return insert(walk, op, comm.SHARD, name, (dim, outer), need)
        case Partial(), Replicate():
            return total(walk, op, name)
        case Shard(dim, outer), Replicate():
            note(walk, op, gather_reason(op, dim))
            return insert(walk, op, comm.ALL_GATHER, name, (dim, outer), need)
        case _:
            middle = reshard(walk, op, name, Replicate())
            return convert(walk, op, middle, Replicate(), need)


def total(walk: Walk, op: Op, name: str) -> str:
    """A partial value summed: before the step where it follows from the inputs alone, else here."""
    if walk.statistics.known(name):
        statistic = walk.statistics.hoist(walk.shapes[name], walk.ops)
        walk.places[statistic.name] = Replicate()
        walk.original[statistic.name] = walk.shapes[statistic.name] = statistic
        return statistic.name
    note(walk, op, f"{short(op)} needs a sum over all samples, which the ranks add up")
    return insert(walk, op, comm.ALL_REDUCE, name, (), Replicate())


def insert(walk: Walk, op: Op, kind: str, source: str, args: tuple[Argument, ...], place: Placement) -> str:
    """A comm op before ``op``, under its name, module and source."""
    base = f"{op.name}.{kind.removeprefix('comm.')}"
    name = next(wanted for i in range(len(walk.names) + 1) if (wanted := f"{base}_{i}" if i else base) not in walk.names)
    walk.names.add(name)
    was = walk.original[source]
    own = place.dim if isinstance(place, Shard) else None
    shape = tuple(size if d == own else whole_size(size) for d, size in enumerate(was.shape))
    walk.original[name] = replace(was, name=name)
    value = Value(name, shape, was.dtype)
    append(
        walk,
        replace(op, name=name, kind=kind, args=(Ref(source), *args), kwargs=(), outputs=(value,), mutates=()),
        Row((), (place,)),
    )
    return name


def note_writes(walk: Walk, op: Op) -> None:
    """A buffer is written once a step on one device. The statistics of a batch norm have a setting of their own."""
    written = ", ".join(name for name in op.mutates if name in walk.graph.buffer_of)
    if written and op.module not in walk.normalised:
        note(walk, op, f"the forward pass writes the buffer {written}, which microbatches would do once each")


def note(walk: Walk, op: Op, reason: str) -> None:
    walk.mixing.append(Mixing(op.name, op.module, op.source, reason))


def short(op: Op) -> str:
    return op.kind.split(".")[1]


def gather_reason(op: Op, dim: int) -> str:
    if base_name(op.kind) not in REGISTRY:
        return f"no rule for {op.kind}, and none was found by trying, so all samples are gathered for it"
    return f"{short(op)} works along the samples (dim {dim}), so all of them are gathered for it"


def with_uses(op: Op, names: Iterable[str]) -> Op:
    """The op with its tensor uses renamed, in order of appearance."""
    fresh = iter(names)

    def renamed(value: Argument) -> Argument:
        if isinstance(value, Ref):
            return Ref(next(fresh))
        return tuple(renamed(item) for item in value) if isinstance(value, tuple) else value

    args = tuple(renamed(value) for value in op.args)
    return replace(op, args=args, kwargs=tuple((name, renamed(value)) for name, value in op.kwargs))


def finish(walk: Walk) -> str:
    """Makes the loss partial; returns its name."""
    loss = walk.graph.loss
    producer = next((op for op in reversed(walk.ops) if any(value.name == loss for value in op.outputs)), None)
    assert producer is not None, "the loss is not computed"
    if all(each.batch_dim is None for each in walk.graph.inputs):
        note(walk, producer, NO_BATCH_REASON)
    if walk.places[loss] == Partial():
        return loss
    assert walk.places[loss] == Replicate(), f"the loss {loss} is {walk.places[loss]}"
    return insert(walk, producer, comm.TO_PARTIAL, loss, (), Partial())


def live(ops: Iterable[Op], loss: str) -> tuple[Op, ...]:
    """The ops that the loss or a buffer needs."""
    needed, kept = {loss}, []
    for op in reversed(list(ops)):
        if op.mutates or any(value.name in needed for value in op.outputs):
            needed.update(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))
