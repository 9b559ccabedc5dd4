"""Messages on their way: each direction of an uplink, and of a device's port inside its node, carries one at a time.

A message between nodes takes the sender's uplink out and the receiver's uplink in; inside a node, both devices' ports. It
starts once both are free, first come first served. It takes latency and bytes over the bandwidth of the whole path, and keeps an
uplink busy for its bytes over the uplink's own bandwidth: a fast node feeds several slow ones at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import NamedTuple

from autopart.cluster.cluster import Cluster


class Path(NamedTuple):
    """``out`` and ``into`` are numbers of resources, with the seconds a byte keeps each busy."""

    out: int
    into: int
    latency_s: float
    byte_s: float
    out_byte_s: float
    into_byte_s: float


class Parcel(NamedTuple):
    """A message that is ready: sent, and expected by its receiver's step number ``step``. They are numbered as they get ready."""

    number: int
    sender: int
    receiver: int
    microbatch: int
    backward: bool
    nbytes: int
    step: int
    ready_s: float


def find_path(cluster: Cluster, sender: int, receiver: int) -> Path:
    """Resources: ports of rank r are 2r out and 2r+1 in; behind all ranks' come the nodes' uplinks, numbered alike."""
    link, a, b = cluster.link(sender, receiver), cluster.ranks[sender], cluster.ranks[receiver]
    byte_s = 1 / link.bandwidth_bytes_per_s
    if a.node == b.node:
        return Path(2 * sender, 2 * receiver + 1, link.latency_s, byte_s, byte_s, byte_s)
    uplinks = 2 * len(cluster.ranks)
    own_s = [1 / cluster.groups[end.group].network.bandwidth_bytes_per_s for end in (a, b)]
    return Path(
        uplinks + 2 * a.node, uplinks + 2 * b.node + 1, link.latency_s, byte_s, min(own_s[0], byte_s), min(own_s[1], byte_s)
    )


class Network:
    """The state of all uplinks. ``at`` schedules a call; ``delivered(parcel, start_s, now_s)`` is called on arrival."""

    def __init__(
        self,
        cluster: Cluster,
        at: Callable[[float, Callable[..., None], tuple[object, ...]], None],
        delivered: Callable[[Parcel, float, float], None],
    ) -> None:
        nodes = 1 + max(rank.node for rank in cluster.ranks)
        self._cluster, self._at, self._delivered = cluster, at, delivered
        self._paths: dict[tuple[int, int], Path] = {}
        self._free_s = [0.0] * (2 * (len(cluster.ranks) + nodes))  # when each resource is free again
        self._queues: dict[int, list[Parcel]] = {}  # heaps, of the resources that somebody waits for

    def offer(self, parcel: Parcel, now_s: float) -> None:
        """Start the message, or let it wait for what is busy."""
        pair = parcel.sender, parcel.receiver
        path = self._paths.get(pair) or self._paths.setdefault(pair, find_path(self._cluster, *pair))
        for resource in (path.out, path.into):
            if resource in self._queues or self._free_s[resource] > now_s:
                self._wait(resource, parcel)
                return
        self._start(parcel, path, now_s)

    def _start(self, parcel: Parcel, path: Path, now_s: float) -> None:
        self._free_s[path.out] = now_s + parcel.nbytes * path.out_byte_s
        self._free_s[path.into] = now_s + parcel.nbytes * path.into_byte_s
        self._at(now_s + path.latency_s + parcel.nbytes * path.byte_s, self._delivered, (parcel, now_s))

    def _wait(self, resource: int, parcel: Parcel) -> None:
        if resource not in self._queues:
            self._queues[resource] = []
            self._at(self._free_s[resource], self._release, (resource,))
        heappush(self._queues[resource], parcel)

    def _release(self, resource: int, now_s: float) -> None:
        """The resource is free: the first in its queue that nothing else holds up goes; the rest wait for that one's end."""
        queue = self._queues[resource]
        while queue:
            parcel = heappop(queue)
            path = self._paths[parcel.sender, parcel.receiver]
            other = path.into if resource == path.out else path.out
            if other in self._queues or self._free_s[other] > now_s:
                self._wait(other, parcel)
                continue
            self._start(parcel, path, now_s)
            if queue:
                self._at(self._free_s[resource], self._release, (resource,))
                return
        del self._queues[resource]
