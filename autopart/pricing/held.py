"""What a stage holds of one microbatch: from forward to backward, and the most while either runs.

Of a stage of blocks [start, stop), with own[i] the bytes that block i makes and that are kept until its backward (or, where
blocks are run once more, that later blocks read), and work[j] the most that block j needs beside them while it runs:

    kept    = sum of own[i] + what the stage receives, and sends + shared masks and tables
    forward = max over j of  sum of own[i <= j] + forward work[j]      what later ones make to be sent is not there yet
    backward= max over j of  sum of own[i <= j] + backward work[j]      as block j runs, later ones have let go of theirs

Gradients of parameters come with the first backward of a step, from the last block to the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autopart.blocks import flow
from autopart.blocks.alike import incoming, passing
from autopart.blocks.layout import layouts
from autopart.blocks.line import FITTED, NOTHING, Line, NotAffineError, most, total
from autopart.blocks.walk import Backward, Forward, Most
from autopart.blocks.work import begun_again, kept_storages
from autopart.pricing.ops import activation_factor
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
    sent, made, owned = sent_bytes(table, rows, (start, stop), again)
    own = np.array([block.own for block in blocks]) - owned
    fresh = new_gradients(table, start, stop) if setting.zero < 2 else np.zeros(stop - start)
    beside = lent - (own.sum() - np.cumsum(own))  # later blocks let go of theirs
    results = np.where(again, -own, owned)  # made once more, or not let go of where they are sent
    unmade = made[::-1].cumsum()[::-1] - owned  # that is sent: no block before has it, and its own counts it as its result
    forward = np.array([block.forward for block in blocks])
    first = np.array([block.backward.first for block in blocks]) + beside + results
    later = np.array([block.backward.later for block in blocks]) + beside + results
    if setting.zero >= 2:
        first = later = first + leaving
        leaving = np.zeros_like(leaving)
    first = first + fresh.sum() - np.cumsum(fresh)
    return Running(
        kept=own.sum() + received + sent + table.shared_bytes(rows, start, stop),
        forward=float((forward + beside - unmade).max()) + (received if setting.joined else 0.0),
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


def sent_bytes(table: BlockTable, rows: int, interval: tuple[int, int], again: NDArray[np.bool_]) -> tuple[float, Array, Array]:
    """Values that the stage gives, which are held until their backward ends; by block what it makes of them, and what of that
    ``own`` has: all where it is run ``again``, else what is kept.
    """
    start, stop = interval
    graph, blocks = table.blocks.sharded.graph, table.blocks
    place, kept = layouts(graph), kept_storages(graph)
    sent = {place[name].storage for name in flow.stage_sends(blocks, start, stop) if name != graph.loss}
    made, owned = np.zeros(stop - start), np.zeros(stop - start)
    for name in sent:
        maker = graph.producer.get(name)
        block = blocks.block_of.get(maker.name) if maker else None
        if block is not None:
            made[block - start] += table.value_bytes({name}, rows)
            if again[block - start] or name in kept:
                owned[block - start] += table.value_bytes({name}, rows)
    return table.value_bytes(sent, rows), made, owned


def block_bytes(table: BlockTable, index: int, kind: Kind, rows: int, recompute: bool, *, given: bool) -> BlockBytes:
    """Read off the block's lines; walked at these rows alone where its sizes are no lines."""
    key = ("lines", index, kind, recompute, given)

    def found() -> BlockLines | None:
        try:
            return block_lines(table, index, kind, recompute, given=given)
        except NotAffineError:
            return None

    lines = table.remembered(key, found) or block_lines(table, index, kind, recompute, given=given, rows=rows)
    return lines.at(rows)


@dataclass(frozen=True, eq=False, slots=True)
class BlockLines:
    """``BlockBytes`` at any rows: levels that memory reaches, the most of which counts; those of the forward with ``own``."""

    own: Line
    forward: list[Line]
    first: list[Line]
    later: list[Line]
    again: bool = False

    def at(self, rows: int) -> BlockBytes:
        own = self.own.at(rows)
        backward = Most(most(self.first, rows), most(self.later, rows))
        return BlockBytes(own, most(self.forward, rows) - own, backward, self.again)


def block_lines(
    table: BlockTable, index: int, kind: Kind, recompute: bool, *, given: bool, rows: int | None = None
) -> BlockLines:
    """Of any rows, or of these alone; NotAffineError where some size is no line."""
    graph, blocks = table.blocks.sharded.graph, table.blocks
    block = blocks.blocks[index]
    ops = [table.op(name) for name in block.ops]
    works = [table.work(op, kind, FITTED[0] if rows is None else rows) for op in ops]
    owner = {value.name: layouts(graph)[value.name].storage for op in ops for value in op.outputs}
    made = {storage for name, storage in owner.items() if storage in owner}
    kept, read_later = made & kept_storages(graph), {owner[n] for n in _outputs(table, index)} & made
    again = recompute and block.recomputable
    inside = {name for work in works for name in work.saved if name in made}

    @cache
    def size(name: str) -> Line:
        return table.value_line(name) if rows is None else Line(table.value_bytes({name}, rows))

    def sizes(names: Iterable[str]) -> Line:
        return total(map(size, names))

    def each(quantity: str) -> list[Line]:
        if rows is None:
            return [table.work_line(op, kind, quantity) for op in ops]
        return [Line(getattr(work, quantity)) for work in works]

    copies = [Line(table.weight_copies(op, work)) for op, work in zip(ops, works, strict=True)]
    factor = activation_factor(table.precision)  # of what autograd keeps beside values
    beside = [line.times(factor) + copied for line, copied in zip(each("saved_bytes"), copies, strict=True)]
    back = Backward(
        ops=ops,
        works=works,
        size=size,
        beside=beside,
        working=each("working_bytes"),
        parameters=set(graph.parameter_of),
        incoming=incoming(blocks, index + 1),
        held=inside if again else kept & inside,
        released=NOTHING if again else sizes(kept - inside),
        given=given,
    )
    spare, making = each("spare_bytes"), each("making_bytes")

    def forward(stays: set[str], *, with_beside: bool, upto: int = len(ops), whole: bool = True) -> list[Line]:
        """Of the first ops; ``whole``: the last one gives its results."""
        owning = [{value.name for value in op.outputs if owner[value.name] == value.name} for op in ops[:upto]]
        extra = beside[:upto] if with_beside else [NOTHING] * upto
        room, during = spare[:upto], making[:upto]
        if not whole:
            owning[-1], room[-1], during[-1] = set(), NOTHING, NOTHING
        return Forward(
            ops=ops[:upto],
            made=[sizes(names) + more + beyond for names, more, beyond in zip(owning, extra, room, strict=True)],
            kept=[sizes(names & stays) + more for names, more in zip(owning, extra, strict=True)],
            making=during,
            readers=lambda name: graph.users[name],
            outputs=_outputs(table, index),
        ).levels()

    first, later = (back.levels(keeps=keeps) for keeps in (True, False))
    if not again:
        passed = NOTHING if recompute else sizes(set(passing(blocks, index)) - kept_storages(graph))
        levels = [passed + level for level in forward(kept, with_beside=True)]
        return BlockLines(sizes(kept) + total(beside), levels, first, later)
    internal = sizes(inside) + total(beside)
    coming = NOTHING if given else sizes(incoming(blocks, index + 1))
    begun, ended = begun_again(ops, works)
    stopped = forward(inside, with_beside=True, upto=begun, whole=ended) if begun else [NOTHING]
    rerun = [level + coming for level in stopped]
    return BlockLines(
        own=sizes(read_later),
        forward=forward(read_later, with_beside=False),
        first=[*rerun, *(internal + level for level in first)],
        later=[*rerun, *(internal + level for level in later)],
        again=True,
    )


def _outputs(table: BlockTable, index: int) -> tuple[str, ...]:
    return flow.block_outputs(table.blocks, index)
