"""What a stage holds of one microbatch: from forward to backward, and the most while either runs.

Of a stage of blocks [start, stop), with own[i] the bytes that block i makes and that are kept until its backward (or, where
blocks are run once more, that later blocks read), and work[j] the most that block j needs beside them while it runs:

    kept    = sum of own[i] + what the stage receives, and sends + shared masks and tables
    forward = max over j of  sum of own[i <= j] + forward work[j]
    backward= max over j of  sum of own[i <= j] + backward work[j]      as block j runs, later ones have let go of theirs

Gradients of parameters come with the first backward of a step, from the last block to the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autopart.blocks import flow
from autopart.blocks.layout import layouts
from autopart.blocks.walk import Backward, Forward, Most
from autopart.blocks.work import kept_storages
from cost_models.hardware import Kind
from cost_models.memory import PRECISIONS

if TYPE_CHECKING:
    from autopart.pricing.table import BlockTable

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BlockBytes:
    """Of one block at some rows: ``own`` is kept, ``forward`` and ``backward`` come on top while it runs. ``again``: it is run
    once more first, when later blocks have let go of all that it made.
    """

    own: float
    forward: float
    backward: Most
    again: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """How a stage runs its blocks. ``joined``: what it receives comes in pieces, from replicas that are others than its own."""

    recompute: bool = False
    zero: int = 0
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """The most that a stage needs of one microbatch beside what it keeps of it and of all others, and beside gradients of
    parameters that are there before: in any forward, and in a backward, by whether it is the step's first and its last.
    ``gradients`` come with the first.
    """

    kept: float
    forward: float
    backward: dict[tuple[bool, bool], float]
    gradients: float


def stage_running(
    table: BlockTable, kind: Kind, rows: int, interval: tuple[int, int], setting: Setting, lent: Array, leaving: Array
) -> Running:
    """``lent`` [blocks] is needed while each runs, forward or backward, ``leaving`` in the backward in which gradients are
    summed: the last of a step, or every one where whole gradients do not stay.
    """
    start, stop = interval
    given = stop if stop < table.count and not setting.joined else None  # gradients that came are used where they lie
    blocks = [table.block_bytes(i, kind, rows, setting.recompute, given=i + 1 == given) for i in range(start, stop)]
    received = received_bytes(table, rows, start, stop)
    again = np.array([block.again for block in blocks])
    sent, owned = sent_bytes(table, rows, (start, stop), again)
    own = np.array([block.own for block in blocks]) - owned
    fresh = new_gradients(table, start, stop) if setting.zero < 2 else np.zeros(stop - start)
    beside = lent - (own.sum() - np.cumsum(own))  # later blocks let go of theirs
    results = np.where(again, -own, owned)  # made once more, or not let go of where they are sent
    first = np.array([block.backward.first for block in blocks]) + beside + results
    later = np.array([block.backward.later for block in blocks]) + beside + results
    if setting.zero >= 2:
        first = later = first + leaving
        leaving = np.zeros_like(leaving)
    first = first + fresh.sum() - np.cumsum(fresh)
    return Running(
        kept=own.sum() + received + sent + table.shared_bytes(rows, start, stop),
        forward=float((np.array([block.forward for block in blocks]) + beside).max()) + (received if setting.joined else 0.0),
        backward={
            (True, False): float(first.max()),
            (True, True): float((first + leaving).max()),
            (False, False): float(later.max()),
            (False, True): float((later + leaving).max()),
        },
        gradients=float(fresh.sum()),
    )


def batch_bytes(table: BlockTable, rows: int, microbatches: int) -> float:
    """The rank's rows of the batch, which its caller holds all step long: also of inputs that other stages read."""
    inputs = table.blocks.sharded.graph.inputs
    return sum(each.value.nbytes(rows) * (1 if each.batch_dim is None else microbatches) for each in inputs)


def new_gradients(table: BlockTable, start: int, stop: int) -> Array:
    """[blocks] bytes of the gradients that come with each block's backward: those of parameters that no later one reads."""
    nbytes = PRECISIONS[table.precision].gradient_bytes
    seen: set[str] = set()
    found = []
    for index in reversed(range(start, stop)):
        fresh = [p for p in table.parameters(index, index + 1) if p.name not in seen and p.trainable]
        seen.update(parameter.name for parameter in fresh)
        found.append(nbytes * sum(parameter.value.numel(1) for parameter in fresh))
    return np.array(found[::-1], dtype=np.float64)


def received_bytes(table: BlockTable, rows: int, start: int, stop: int) -> float:
    """Values of other stages: leaves, until their backward ends."""
    return table.value_bytes(set(flow.stage_receives(table.blocks, start, stop)), rows)


def sent_bytes(table: BlockTable, rows: int, interval: tuple[int, int], again: NDArray[np.bool_]) -> tuple[float, Array]:
    """Values that the stage gives, which are held until their backward ends; and by block what of them ``own`` has: all that it
    makes where it is run ``again``, else what is kept.
    """
    start, stop = interval
    graph, blocks = table.blocks.sharded.graph, table.blocks
    place, kept = layouts(graph), kept_storages(graph)
    sent = {place[name].storage for name in flow.stage_sends(blocks, start, stop) if name != graph.loss}
    owned = np.zeros(stop - start)
    for name in sent:
        maker = graph.producer.get(name)
        block = blocks.block_of.get(maker.name) if maker else None
        if block is not None and (again[block - start] or name in kept):
            owned[block - start] += table.value_bytes({name}, rows)
    return table.value_bytes(sent, rows), owned


def block_bytes(table: BlockTable, index: int, kind: Kind, rows: int, recompute: bool, *, given: bool) -> BlockBytes:
    graph, blocks = table.blocks.sharded.graph, table.blocks
    block = blocks.blocks[index]
    ops = [table.op(name) for name in block.ops]
    works = [table.work(op, kind, rows) for op in ops]
    owner = {value.name: layouts(graph)[value.name].storage for op in ops for value in op.outputs}
    made = {storage for name, storage in owner.items() if storage in owner}
    kept, read_later = made & kept_storages(graph), {owner[n] for n in _outputs(table, index)} & made
    again = recompute and block.recomputable
    inside = {name for work in works for name in work.saved if name in made}
    beside = [table.beside_bytes(op, work) for op, work in zip(ops, works, strict=True)]

    def size(name: str) -> float:
        return table.value_bytes({name}, rows)

    def total(names: set[str]) -> float:
        return table.value_bytes(names, rows)

    held = inside if again else kept & inside
    backward = Backward(
        ops=ops,
        works=works,
        size=size,
        beside=lambda i: beside[i],
        working=lambda i: float(works[i].working_bytes),
        parameters=set(graph.parameter_of),
        incoming=_gradients_at(table, index + 1),
        held=held,
        released=0.0 if again else total(kept - inside),
        given=given,
    ).most()
    passing = 0.0 if recompute else total(set(_passing(table, index)) - kept_storages(graph))

    def forward(stays: set[str], *, with_beside: bool, upto: int = len(ops), whole: bool = True) -> float:
        """Of the first ops; ``whole``: the last one gives its results."""
        each = [{value.name for value in op.outputs if owner[value.name] == value.name} for op in ops[:upto]]
        spare = [float(work.spare_bytes) for work in works[:upto]]
        making = [float(work.making_bytes) for work in works[:upto]]
        extra = beside[:upto] if with_beside else [0.0] * upto
        if not whole:
            each[-1], spare[-1], making[-1] = set(), 0.0, 0.0
        return Forward(
            ops=ops[:upto],
            made=[total(names) + more + room for names, more, room in zip(each, extra, spare, strict=True)],
            kept=[total(names & stays) + more for names, more in zip(each, extra, strict=True)],
            making=making,
            readers=lambda name: graph.users[name],
            outputs=_outputs(table, index),
        ).most()

    if not again:
        own = total(kept) + sum(beside)
        return BlockBytes(own, passing + forward(kept, with_beside=True) - own, backward)
    own, internal = total(read_later), total(inside) + sum(beside)
    coming = 0.0 if given else sum(size(name) for name in _gradients_at(table, index + 1))
    last = max((index for index, work in enumerate(works) if work.keeps), default=-1)  # a checkpoint stops as soon as it has all
    stopped = forward(inside, with_beside=True, upto=last + 1, whole=works[last].made_to_keep(ops[last])) if last >= 0 else 0.0
    rerun = stopped + coming
    return BlockBytes(
        own=own,
        forward=forward(read_later, with_beside=False) - own,
        backward=Most(max(rerun, internal + backward.first), max(rerun, internal + backward.later)),
        again=True,
    )


def _outputs(table: BlockTable, index: int) -> tuple[str, ...]:
    return flow.block_outputs(table.blocks, index)


def _gradients_at(table: BlockTable, boundary: int) -> list[str]:
    """Values that cross a boundary and get a gradient."""
    if boundary == table.count:
        return [table.blocks.sharded.graph.loss]
    return [name for name in flow.cut_values(table.blocks, boundary) if name in table.trained_values]


def _passing(table: BlockTable, index: int) -> tuple[str, ...]:
    """Values from before the block that it or a later one reads."""
    return flow.cut_values(table.blocks, index) if index else ()
