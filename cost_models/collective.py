"""How long messages and collectives take over links of latency a and bandwidth B (Hockney's a + n/B).

Formulas for p ranks, n bytes (Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
IJHPCA 19(1), 2005; Patarasu and Yuan, JPDC 69(2), 2009, for the ring's optimality), additions left out:

    all_gather, reduce_scatter   ring              (p-1) a + (p-1)/p n/B
    all_reduce                   ring              2 (p-1) a + 2 (p-1)/p n/B
    all_reduce                   hierarchical      reduce_scatter in each node, all_reduce across, all_gather in each node
    broadcast                    binomial tree     ceil(log2 p) (a + n/B)
                                 scatter and ring  (ceil(log2 p) + p-1) a + 2 (p-1)/p n/B

Over several nodes a ring passes each uplink once in each direction, so all ranks of a node together have one uplink: the
ring's slowest link sets its pace. The cheaper of the known algorithms is what a library's tuner would take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cost_models.hardware import UNUSED_LINK, Link

Library = Literal["nccl", "gloo"]
"""Whose algorithms run: of gloo where a device is a CPU."""


@dataclass(frozen=True)
class Topology:
    """The ranks of a collective: how many sit on each node, the slowest link inside any of those nodes, the slowest across."""

    ranks_per_node: tuple[int, ...]
    inside: Link = UNUSED_LINK
    across: Link = UNUSED_LINK
    library: Library = "nccl"

    @property
    def ranks(self) -> int:
        return sum(self.ranks_per_node)

    @property
    def nodes(self) -> int:
        return len(self.ranks_per_node)

    @property
    def slowest(self) -> Link:
        """What a ring over all ranks waits for."""
        links = [link for link, used in ((self.inside, max(self.ranks_per_node) > 1), (self.across, self.nodes > 1)) if used]
        return slowest(links) if links else UNUSED_LINK


def slowest(links: Sequence[Link]) -> Link:
    """The largest latency and the smallest bandwidth of several links."""
    return Link(max(link.latency_s for link in links), min(link.bandwidth_bytes_per_s for link in links))


def p2p_s(nbytes: float, link: Link) -> float:
    """One message; none for no bytes."""
    return link.transfer_s(nbytes) if nbytes > 0 else 0.0


def all_gather_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets the whole of ``nbytes``, of which each had an equal part."""
    return _ring_s(nbytes, topology.ranks, topology.slowest)


def all_gather_uneven_s(parts: Sequence[float], topology: Topology) -> float:
    """As ``all_gather_s`` for unequal parts: every step of the ring waits for the largest, as if all were padded to it."""
    assert len(parts) == topology.ranks, f"{len(parts)} parts for {topology.ranks} ranks"
    return _ring_s(max(parts) * len(parts), topology.ranks, topology.slowest)


def reduce_scatter_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets an equal part of the sum of everybody's ``nbytes``."""
    return _ring_s(nbytes, topology.ranks, topology.slowest)


def reduce_scatter_uneven_s(parts: Sequence[float], topology: Topology) -> float:
    """As ``reduce_scatter_s`` where the ranks get unequal parts."""
    return all_gather_uneven_s(parts, topology)


def all_reduce_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets the sum of everybody's ``nbytes``."""
    flat = 2 * _ring_s(nbytes, topology.ranks, topology.slowest)
    return min(flat, hierarchical_all_reduce_s(nbytes, topology))


def all_to_all_s(nbytes: float, topology: Topology) -> float:
    """Everybody sends everybody else an equal part of ``nbytes``, all at once."""
    ranks = topology.ranks
    if ranks < 2 or nbytes <= 0:
        return 0.0
    inside = max(here - 1 for here in topology.ranks_per_node) / ranks * nbytes / topology.inside.bandwidth_bytes_per_s
    across = (
        max(here * (ranks - here) for here in topology.ranks_per_node) / ranks * nbytes / topology.across.bandwidth_bytes_per_s
    )
    return topology.slowest.latency_s + max(inside, across)


def hierarchical_all_reduce_s(nbytes: float, topology: Topology) -> float:
    """Sum inside every node, then across nodes (each node's whole uplink carries all of its ranks' parts), then spread inside."""
    largest = max(topology.ranks_per_node)
    inside = _ring_s(nbytes, largest, topology.inside)
    across = _ring_s(nbytes, topology.nodes, topology.across)
    return 2 * inside + 2 * across


def broadcast_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets ``nbytes`` of one rank."""
    ranks, link = topology.ranks, topology.slowest
    if ranks < 2 or nbytes <= 0:
        return 0.0
    rounds = math.ceil(math.log2(ranks))
    tree = rounds * link.transfer_s(nbytes)
    spread = (rounds + ranks - 1) * link.latency_s + 2 * (ranks - 1) / ranks * nbytes / link.bandwidth_bytes_per_s
    return min(tree, spread)


def _ring_s(nbytes: float, ranks: int, link: Link) -> float:
    """One way around: p-1 steps that each move a p-th of the bytes over every link at once."""
    if ranks < 2 or nbytes <= 0:
        return 0.0
    return (ranks - 1) * link.transfer_s(nbytes / ranks)
