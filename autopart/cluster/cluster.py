"""The machines: nodes of devices, and the path between any two ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cost_models.collective import Library, Topology, slowest
from cost_models.hardware import UNUSED_LINK, DeviceType, Link
from cost_models.price import memory_byte_s


@dataclass(frozen=True, slots=True)
class Price:
    """Of one device for an hour; the currency by its three letters."""

    per_h: float
    currency: str


@dataclass(frozen=True)
class Group:
    """One entry under ``nodes``: ``count`` equal nodes of ``devices_per_node`` equal devices. Ranks follow file order.

    An exception for one node of an entry cuts the entry into several groups; ``stem`` and ``first`` then keep the names of its
    nodes: node i of the group is ``stem`` + (``first`` + i).
    """

    name: str
    count: int
    device: DeviceType
    devices_per_node: int
    interconnect: Link  # between devices of one node
    network: Link  # a node's uplink, each direction
    stem: str = ""
    first: int = 0
    price: Price | None = None  # None: the file does not say
    power_w: float | None = None  # of one device; None: neither file nor catalogue says

    @property
    def devices(self) -> int:
        return self.count * self.devices_per_node

    def node_name(self, index: int) -> str:
        """The name of the group's node ``index``: "a1", or the group's own name where it is a single node."""
        if self.count == 1:
            return self.name
        return f"{self.stem or self.name}{self.first + index}"


@dataclass(frozen=True, slots=True)
class Rank:
    """Where a rank lives: ``group`` indexes Cluster.groups, ``node`` counts nodes over the whole cluster."""

    rank: int
    group: int
    node: int


@dataclass(frozen=True)
class Cluster:
    """A cluster file, checked. ``exceptions`` are links between two groups (indices in ascending order)."""

    path: str
    digest: str
    groups: tuple[Group, ...]
    exceptions: tuple[tuple[tuple[int, int], Link], ...] = ()

    @cached_property
    def ranks(self) -> tuple[Rank, ...]:
        found: list[Rank] = []
        node = 0
        for index, group in enumerate(self.groups):
            for _ in range(group.count):
                found += [Rank(len(found) + i, index, node) for i in range(group.devices_per_node)]
                node += 1
        return tuple(found)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The name of every node, by its number."""
        return tuple(group.node_name(i) for group in self.groups for i in range(group.count))

    def device(self, rank: int) -> DeviceType:
        return self.groups[self.ranks[rank].group].device

    def link(self, source: int, target: int) -> Link:
        """The path between two ranks: the interconnect, or both uplinks (the slower, latencies added), or the exception."""
        a, b = self.ranks[source], self.ranks[target]
        return self.groups[a.group].interconnect if a.node == b.node else self.network(a.group, b.group)

    def network(self, first: int, second: int) -> Link:
        """The path between two nodes, one of each group: both uplinks (the slower, latencies added), or the exception."""
        exception = self._exception.get((min(first, second), max(first, second)))
        if exception:
            return exception
        a, b = self.groups[first].network, self.groups[second].network
        return Link(a.latency_s + b.latency_s, min(a.bandwidth_bytes_per_s, b.bandwidth_bytes_per_s))

    @cached_property
    def _exception(self) -> dict[tuple[int, int], Link]:
        return dict(self.exceptions)


def node_sizes(cluster: Cluster) -> tuple[int, ...]:
    """Devices of every node, by its number."""
    return tuple(group.devices_per_node for group in cluster.groups for _ in range(group.count))


def same_node(cluster: Cluster, ranks: Iterable[int]) -> bool:
    """Whether all these ranks sit in one node."""
    return len({cluster.ranks[rank].node for rank in ranks}) <= 1


def topology(cluster: Cluster, ranks: Iterable[int]) -> Topology:
    """What a collective over these ranks goes by: ranks on each node, the slowest links inside and across."""
    places = [cluster.ranks[rank] for rank in ranks]
    nodes = Counter((place.group, place.node) for place in places)
    per_group = Counter(group for group, _ in nodes)
    inside = [cluster.groups[group].interconnect for (group, _), count in nodes.items() if count > 1]
    across = [
        cluster.network(first, second)
        for first in per_group
        for second in per_group
        if first < second or (first == second and per_group[first] > 1)
    ]
    return Topology(
        tuple(nodes.values()),
        slowest(inside) if inside else UNUSED_LINK,
        slowest(across) if across else UNUSED_LINK,
        *handling([cluster.groups[group].device for group in per_group]),
    )


def handling(devices: Iterable[DeviceType]) -> tuple[Library, float, float, float]:
    """What moves messages between devices of these types, and the most that a message and a byte take from computing, and a byte
    that is read or written to add up what came. NCCL adds while it moves.
    """
    found = set(devices)
    message_s, byte_s = max(device.message_cpu_s for device in found), max(device.byte_cpu_s for device in found)
    if all(device.kind != "cpu" for device in found):
        return "nccl", message_s, byte_s, 0.0
    return "gloo", message_s, byte_s, max(memory_byte_s(device) for device in found)


def slowest_link(cluster: Cluster, ranks: Iterable[int]) -> Link:
    """The largest latency and the smallest bandwidth of any path between two of these ranks; UNUSED_LINK for one rank."""
    return topology(cluster, ranks).slowest
