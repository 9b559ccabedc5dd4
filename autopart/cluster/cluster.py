"""The machines: nodes of devices, and the path between any two ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cost_models.hardware import DeviceType, Link


@dataclass(frozen=True)
class Group:
    """One entry under ``nodes``: ``count`` equal nodes of ``devices_per_node`` equal devices. Ranks follow file order."""

    name: str
    count: int
    device: DeviceType
    devices_per_node: int
    interconnect: Link  # between devices of one node
    network: Link  # a node's uplink, each direction

    @property
    def devices(self) -> int:
        return self.count * self.devices_per_node


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

    def device(self, rank: int) -> DeviceType:
        return self.groups[self.ranks[rank].group].device

    def link(self, source: int, target: int) -> Link:
        """The path between two ranks: the interconnect, or both uplinks (the slower, latencies added), or the exception."""
        a, b = self.ranks[source], self.ranks[target]
        if a.node == b.node:
            return self.groups[a.group].interconnect
        pair = (min(a.group, b.group), max(a.group, b.group))
        for groups, link in self.exceptions:
            if groups == pair:
                return link
        first, second = self.groups[a.group].network, self.groups[b.group].network
        return Link(
            first.latency_s + second.latency_s,
            min(first.bandwidth_bytes_per_s, second.bandwidth_bytes_per_s),
        )
