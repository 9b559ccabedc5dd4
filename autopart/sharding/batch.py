"""Which values carry samples, and what a sum over samples is worth: the batch dim, found in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autopart.ir.graph import Graph, Op
from autopart.sharding import ops as _rules  # noqa: F401  (registers the rules)
from autopart.sharding.mixing import Mixing, describe
from autopart.sharding.placement import Placement, Replicate, Shard
from autopart.sharding.propagate import Discovered, finish, live, propagate
from autopart.sharding.rules import Place, RowNumbers, Unread

__all__ = ["Mixing", "ShardedGraph", "describe", "shard_batch"]


@dataclass(frozen=True)
class ShardedGraph:
    """A graph that may run on any share of the samples, and what it means.

    ``graph`` is rewritten so that the loss is ``Partial``: summed over ranks and microbatches it is the loss of the global
    batch, and so are gradients. Means became sums over ``GlobalSize`` or over a *statistic*. ``comm.…`` ops act on the
    data axis and do nothing on one rank. ``prologue`` runs once a step on this rank's whole share of the
    inputs, before the first microbatch; its results (names in ``statistics``) are step constants (token counts).
    """

    graph: Graph
    placements: Mapping[str, Placement]
    prologue: tuple[Op, ...] = ()
    statistics: tuple[str, ...] = ()
    mixing: tuple[Mixing, ...] = field(default=())


def shard_batch(graph: Graph, batch_norm: str = "global", discovered: Discovered | None = None) -> ShardedGraph:
    """The graph rewritten for any share of the samples. ``batch_norm``: "global" takes statistics over all ranks, "local" over
    the rows of one rank and microbatch, which is another result than that of one device. ``discovered`` are legal rows of ops
    that have no rule; without any all samples are gathered for such an op.

    Random ops draw on each rank by itself. Of a value that carries no samples (dropout of a weight) ranks draw different masks:
    each term of the loss is then taken under its own.
    """
    assert batch_norm in ("global", "local"), f"batch_norm is {batch_norm!r}"
    walk = propagate(graph, batch_norm, discovered or {})
    loss = finish(walk)
    rewritten = replace(graph, inputs=(*graph.inputs, *walk.statistics.inputs()), ops=live(walk.ops, loss), loss=loss)
    kept = {op.name for op in rewritten.ops}
    return ShardedGraph(
        graph=rewritten,
        placements={name: placement(walk.places[name]) for name in rewritten.values},
        prologue=tuple(walk.statistics.prologue),
        statistics=tuple(value.name for value in walk.statistics.found.values()),
        mixing=tuple(dict.fromkeys(found for found in walk.mixing if found.op in kept)),
    )


def placement(place: Place) -> Placement:
    """Row numbers lie like the rows that they number."""
    match place:
        case RowNumbers(dim):
            return Shard(dim)
        case Unread():
            return Replicate()
        case _:
            return place
