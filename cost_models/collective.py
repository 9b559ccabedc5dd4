"""How long messages and collectives take over links of latency a and bandwidth B (Hockney's a + n/B).

Formulas for p ranks, n bytes (Thakur, Rabenseifner, Gropp: Optimization of Collective Communication Operations in MPICH,
IJHPCA 19(1), 2005; Patarasu and Yuan, JPDC 69(2), 2009, for the ring's optimality), additions left out:

    all_gather, reduce_scatter   ring              (p-1) a + (p-1)/p n/B
    all_reduce                   ring              2 (p-1) a + 2 (p-1)/p n/B
    all_reduce                   hierarchical      reduce_scatter in each node, all_reduce across, all_gather in each node
    all_to_all                   all at once       a + (p-1)/p n/B
    broadcast                    binomial tree     ceil(log2 p) (a + n/B)
                                 scatter and ring  (ceil(log2 p) + p-1) a + 2 (p-1)/p n/B

Gloo has no hierarchy. A message takes c of its sender's and of its receiver's time, a byte C, and a byte that is read or written
to add up what came m. Whoever receives first tells the sender that there is room, so a message takes 2a: measured over links of
10 ms 2.0 to 2.3 times a for every step of a ring of 2 to 4 ranks, and once for an exchange whatever p is. A ring moves each part
in two halves, one under way while the other is asked for (gloo/allreduce.cc, gloo/allgather.cc). Gloo's own all_to_all sends
before it says that there is room, which queues behind what it sends: the messages of two ranks to each other go one after the
other. The runtime asks first (``runtime.exchange``), and they pass each other: measured over 119 and 33 MB/s, 14 MB in all
between two ranks, 62 and 230 ms by exchange, 135 and 430 ms by all_to_all. Inside a node both directions are copied by the same
processors, one after the other.

    a step of a ring             gloo              4 c + max(n/(p B), 2 n/p C, 2a + n/(2 p B)), and 3 n/p m with C where it adds
    all_reduce, all_gather       ring              2 (p-1) steps of which half add, p-1 steps
    all_to_all                   exchange          2 (p-1) c + 2a + (p-1)/p n max(1/B, 2C)
    all_gather of two ranks      exchange          the same
    reduce_scatter               exchange          the same and (p+1)/p n m: gloo's own is an all_reduce

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
    message_cpu_s: float = 0.0  # that a message takes from each of its ends, on the slowest device,
    byte_cpu_s: float = 0.0  # and a byte;
    memory_byte_s: float = 0.0  # and one that is read or written to add up what came

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
    """Everybody gets the whole of ``nbytes``, of which each had an equal part; under gloo the runtime sends all parts at once."""
    if topology.library == "gloo":
        return all_to_all_s(nbytes, topology)
    return _ring_s(nbytes, topology.ranks, topology.slowest)


def ring_all_gather_s(nbytes: float, topology: Topology) -> float:
    """As ``all_gather_s``, by the library's own call; two ranks exchange theirs under gloo."""
    if topology.library == "nccl":
        return _ring_s(nbytes, topology.ranks, topology.slowest)
    return all_to_all_s(nbytes, topology) if topology.ranks == 2 else _gloo_ring_s(nbytes, topology)


def all_gather_uneven_s(parts: Sequence[float], topology: Topology) -> float:
    """As ``all_gather_s`` for unequal parts: every step of the ring waits for the largest, as if all were padded to it."""
    assert len(parts) == topology.ranks, f"{len(parts)} parts for {topology.ranks} ranks"
    return all_gather_s(max(parts) * len(parts), topology)


def reduce_scatter_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets an equal part of the sum of everybody's ``nbytes``."""
    ranks = topology.ranks
    adding_s = (ranks + 1) / ranks * nbytes * topology.memory_byte_s if ranks > 1 else 0.0
    return all_gather_s(nbytes, topology) + adding_s


def reduce_scatter_uneven_s(parts: Sequence[float], topology: Topology) -> float:
    """As ``reduce_scatter_s`` where the ranks get unequal parts."""
    assert len(parts) == topology.ranks, f"{len(parts)} parts for {topology.ranks} ranks"
    return reduce_scatter_s(max(parts) * len(parts), topology)


def all_reduce_s(nbytes: float, topology: Topology) -> float:
    """Everybody gets the sum of everybody's ``nbytes``."""
    if topology.library == "gloo":
        return _gloo_ring_s(nbytes, topology, adds=True) + _gloo_ring_s(nbytes, topology)
    flat = 2 * _ring_s(nbytes, topology.ranks, topology.slowest)
    return min(flat, hierarchical_all_reduce_s(nbytes, topology))


def all_reduce_handling_s(nbytes: float, topology: Topology) -> float:
    """What an all_reduce takes from computing on the slowest device while it runs beside it."""
    ranks = topology.ranks
    if ranks < 2 or nbytes <= 0:
        return 0.0
    byte_cpu_s = topology.byte_cpu_s if topology.nodes > 1 else 0.0
    part = nbytes / ranks
    adding_s = (ranks - 1) * 3 * part * topology.memory_byte_s
    return 2 * (ranks - 1) * (4 * topology.message_cpu_s + 2 * part * byte_cpu_s) + adding_s


def axis_sum_s(nbytes: float, topology: Topology) -> float:
    """As ``all_reduce_s``, of values that the ranks of an axis share: two ranks under gloo send each other theirs."""
    if topology.library == "gloo" and topology.ranks == 2:
        return all_to_all_s(2 * nbytes, topology) + 3 * nbytes * topology.memory_byte_s
    return all_reduce_s(nbytes, topology)


def all_to_all_s(nbytes: float, topology: Topology) -> float:
    """Everybody sends everybody else an equal part of ``nbytes``, all at once."""
    ranks = topology.ranks
    if ranks < 2 or nbytes <= 0:
        return 0.0
    inside = max(here - 1 for here in topology.ranks_per_node) / ranks * nbytes / topology.inside.bandwidth_bytes_per_s
    across = (
        max(here * (ranks - here) for here in topology.ranks_per_node) / ranks * nbytes / topology.across.bandwidth_bytes_per_s
    )
    if topology.library == "nccl":
        return topology.slowest.latency_s + max(inside, across)
    handled_s = 2 * (ranks - 1) / ranks * nbytes * topology.byte_cpu_s if topology.nodes > 1 else 0.0
    moved_s = max(2 * inside, across, handled_s)
    return 2 * (ranks - 1) * topology.message_cpu_s + 2 * topology.slowest.latency_s + moved_s


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


def _gloo_ring_s(nbytes: float, topology: Topology, *, adds: bool = False) -> float:
    """One way around in halves, of which one moves while the next step's receiver says that it is ready. ``adds``: what comes, to
    what is there.
    """
    ranks, link = topology.ranks, topology.slowest
    if ranks < 2 or nbytes <= 0:
        return 0.0
    part = nbytes / ranks
    part_s = part / link.bandwidth_bytes_per_s
    handled_s = 2 * part * topology.byte_cpu_s if topology.nodes > 1 else part_s
    handled_s += 3 * part * topology.memory_byte_s if adds else 0.0
    return (ranks - 1) * (4 * topology.message_cpu_s + max(part_s, handled_s, 2 * link.latency_s + part_s / 2))
