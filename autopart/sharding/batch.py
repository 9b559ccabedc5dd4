"""Which values carry samples, and what a sum over samples is worth: the batch dim, found in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopart.ir.graph import Graph, Op
from autopart.sharding.placement import Placement


@dataclass(frozen=True, slots=True)
class Mixing:
    """An op that mixes samples: one microbatch only; across ranks it costs a collective."""

    op: str
    module: str
    source: str
    reason: str


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
