"""The topology of sums of gradients and of columns before ranks are known: by counts of devices in groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autopart.cluster.cluster import Cluster, Group, handling
from cost_models.collective import Topology, slowest
from cost_models.hardware import UNUSED_LINK, Link

Counts = Mapping[int, int]  # devices by group


def counted_topology(
    cluster: Cluster, counts: Counts, tensor: int = 1, *, columns: int = 1, spread: Mapping[int, tuple[int, ...]] | None = None
) -> Topology:
    """The topology of replicas, ``tensor`` devices each, packed as closely as their groups' nodes allow; ``counts`` has replicas.

    ``columns`` of each replica's devices take part: one, or all for what is summed over all of them. ``spread`` has the replicas
    on each node, most first, of groups where they are not packed so closely.
    """
    per_node: list[int] = []
    inside: list[Link] = []
    spills: set[int] = set()
    for index, replicas in counts.items():
        group = cluster.groups[index]
        most, taking = _of_a_node(group, tensor), min(columns, group.devices_per_node)
        full, rest = divmod(replicas, most)
        own = (spread or {}).get(index) or (most,) * full + (rest,) * (rest > 0)
        per_node += [on_node * taking for on_node in own]
        inside += [group.interconnect] * (max(own) * taking > 1)
        spills |= {index} if len(own) > 1 else set()
    across = [cluster.network(a, b) for a in counts for b in counts if a < b or (a == b and a in spills)]
    return Topology(
        tuple(per_node),
        slowest(inside) if inside else UNUSED_LINK,
        slowest(across) if across else UNUSED_LINK,
        *handling([cluster.groups[index].device for index in counts]),
    )


def _of_a_node(group: Group, tensor: int) -> int:
    """Replicas that a node has room for; one even where somebody wants it over several nodes."""
    return max(1, group.devices_per_node // tensor)


def side_by_side(topology: Topology, columns: int) -> Topology:
    """What each of several collectives has that run at the same time, one for every column: they share the nodes' uplinks."""
    if columns == 1 or topology.nodes == 1:
        return topology
    across = topology.across
    return replace(topology, across=Link(across.latency_s, across.bandwidth_bytes_per_s / columns))


def tensor_topology(cluster: Cluster, group: int, tensor: int) -> Topology:
    """Of the columns of a replica: inside a node; over several where somebody wants more of them than a node has devices."""
    here = cluster.groups[group]
    full, rest = divmod(tensor, here.devices_per_node)
    per_node = (here.devices_per_node,) * full + (rest,) * (rest > 0)
    across = cluster.network(group, group) if len(per_node) > 1 else UNUSED_LINK
    inside = here.interconnect if per_node[0] > 1 else UNUSED_LINK
    return Topology(per_node, inside, across, *handling([here.device]))
