"""Bytes of options: what a stage holds on each of its parts, and what it saves where it holds both ends of a tie.

Memory counts, by device: parameters, gradients and optimizer state; what is saved between forward and backward, or each block's
inputs under recomputation, and the stage's results; the largest block's working memory and one message each way over both
its boundaries, values and gradients (the next microbatch's are received while this one runs). What crosses a boundary is whole
on every column, however the blocks of a stage hand it on (``Mesh.edges``); where several columns of the next stage read from
one, it counts as if one did. A second line of every part is the moment of the update, when no microbatch is in flight and the
optimizer has its temporaries.

ZeRO shares out what belongs to a parameter only where one stage holds it. Whether a stage holds all of a tied one depends on its
interval, so blocks count theirs in full, and a tie between two blocks gives back what a stage with both shares out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from autopart.blocks import flow
from autopart.cluster.cluster import Cluster
from autopart.ir.graph import Parameter
from autopart.planner.meshes import Mesh
from autopart.planner.problem import Array, Option, Part, Tie, replicas_of
from autopart.pricing import zero
from autopart.pricing.held import batch_bytes
from autopart.pricing.table import BlockTable, elements
from cost_models.memory import usable_bytes

Sharers = Sequence[tuple[Array, int]]
"""Trainable elements [n] by the number of ranks that sum their gradients."""


def sharers(mesh: Mesh, parts: Sequence[Part]) -> Sharers:
    """Shards over columns, summed over replicas; what columns hold whole, summed over all ranks. ``mesh`` is that of a column."""
    replicas = len(replicas_of(parts))
    return [(mesh.split_trained, replicas), (mesh.table.trained - mesh.split_trained, replicas * mesh.tensor)]


def part_memory(
    mesh: Mesh, cluster: Cluster, part: Part, recompute: bool, level: int, held: Sharers, microbatches: int
) -> tuple[Array, ...]:
    """Capacity [2] beside the rows of a batch, then static, in flight, transient [2, n] and results [2, n + 1] of a part: in a
    step, and at the update. ``mesh`` is that of the part's columns.
    """
    table, device, rows = mesh.table, cluster.groups[part.group].device, max(part.samples)
    kept, shared, cut = table.kept(device, rows, recompute), table.shared_bytes(rows), mesh.whole.cut(rows)
    messages = cut.values + cut.gradients
    edges = table.remembered(("edges", rows), lambda: mesh.edges(rows))
    starting = edges.received - edges.part if recompute else edges.received  # rather too much, where parts are not kept
    inflight = (
        kept.inflight + starting[:-1] - starting[1:]
    )  # of a stage's sum, and its output, what it keeps at its start is left
    output = cut.values + edges.made + starting
    inflight[-1] += shared
    output[1:-1] += shared
    static = table.static - _shared_out(table, level, held)
    running = np.sum([zero.running_bytes(level, trained, table.precision, ranks) for trained, ranks in held], axis=0)
    nothing = np.zeros_like(inflight)
    updating = [table.update_transient(device, sizes=(size, size)) for size in _largest_updated(table, level, held)]
    return (
        np.full(2, usable_bytes(device) - batch_bytes(table, rows, microbatches)),
        np.array([static, static + [table.update_transient(device, total) for total in updated(level, held)]]),
        np.array([inflight, nothing]),
        np.array([kept.transient + messages[:-1] + messages[1:] + running, updating]),
        np.array([output, np.zeros_like(output)]),
    )


def updated(level: int, held: Sharers) -> Array:
    """[n] elements that a device updates."""
    found: Array = np.sum([trained / (ranks if level else 1) for trained, ranks in held], axis=0)
    return found


def _largest_updated(table: BlockTable, level: int, held: Sharers) -> Array:
    """[n] elements of the largest parameter that a device updates. The one before it may be as large, of whatever block."""
    ranks = min((ranks for trained, ranks in held if trained.any()), default=1)
    tied = {name for name, _ in flow.ties(table.blocks)}
    total = float(table.trained.sum())

    def size(parameter: Parameter) -> float:
        own = 0 if parameter.name in tied else level
        return zero.largest_piece(own, elements(parameter), total, ranks, table.precision)

    blocks = (table.parameters(index, index + 1) for index in range(table.count))
    return np.array([max(map(size, parameters), default=0.0) for parameters in blocks])


def _shared_out(table: BlockTable, level: int, held: Sharers) -> Array:
    """[n] bytes of its blocks' parameters that a device leaves to others; tied ones count nothing."""
    saved = np.zeros(table.count)
    for trained, ranks in held:
        saved += trained * zero.saved_bytes(level, ranks, table.optimizer, table.precision)
    if level:
        most = zero.saved_bytes(level, max(ranks for _, ranks in held), table.optimizer, table.precision)
        for readers, trained_elements in _tied(table):
            saved[list(readers)] -= trained_elements * most
    return np.maximum(saved, 0.0)


def _tied(table: BlockTable) -> tuple[tuple[tuple[int, ...], int], ...]:
    """The blocks that read each tied parameter, and how many elements of it are trained."""

    def found() -> tuple[tuple[tuple[int, ...], int], ...]:
        trained = {parameter.name: elements(parameter) for parameter in table.blocks.sharded.graph.parameters}
        return tuple((readers, trained[name]) for name, readers in flow.ties(table.blocks))

    return table.remembered("tied", found)


def price_ties(table: BlockTable) -> tuple[Tie, ...]:
    """Static bytes that a stage saves where it holds two blocks with a parameter in common."""
    return tuple(Tie(first, second, static) for first, second, static in table.ties)


def tied_bytes(mesh: Mesh, level: int, parts: Sequence[Part]) -> tuple[float, ...] | None:
    """What each of the ties, in their order, saves an option; None where it is what the ties themselves say. Of columns with
    unlike parts of what is tied, what the one with least saves.
    """
    if mesh.tensor == 1 and not level:
        return None
    columns = dict.fromkeys(mesh.of(part) for part in parts)
    return tuple(map(min, zip(*(_tied_bytes(column, level, sharers(column, parts)) for column in columns), strict=True)))


def _tied_bytes(mesh: Mesh, level: int, held: Sharers) -> tuple[float, ...]:
    table = mesh.table
    each = zero.saved_bytes(level, min(ranks for _, ranks in held), table.optimizer, table.precision)
    given_back: dict[tuple[int, int], float] = {}
    for readers, trained_elements in _tied(table):
        for pair in pairwise(readers) if len(readers) == 2 else ():
            given_back[pair] = given_back.get(pair, 0.0) + trained_elements * each
    return tuple(static + given_back.pop((first, second), 0.0) for first, second, static in table.ties)


def holds_model(option: Option, in_flight: int, ties: Sequence[Tie]) -> bool:
    """Whether every stage of any plan fits on the option: the whole model does, with so many microbatches in flight."""
    assert option.output_bytes is not None, "an option priced here says what a stage keeps of its results"
    kept = option.inflight_bytes.sum(axis=1) + option.output_bytes.max(axis=1)
    shared = sum(option.saved_bytes(ties))
    needed = option.static_bytes.sum(axis=1) - shared + in_flight * kept + option.transient_bytes.max(axis=1)
    return bool((needed <= option.capacity_bytes).all())
