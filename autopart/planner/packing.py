"""Nodes: what of a stage must lie in one, and whether stages that fit by numbers of devices can be laid out so.

A stage's devices in a group are priced on as few nodes as hold them (``pricing/network``). They consist of *units*, each in one
node: whole nodes, then what is left if that is a power of two of devices, else replicas one by one. For every size s,

    sum over units of floor(size / s) <= nodes * floor(node size / s)

since units in a node do not overlap. If all units are whole nodes or powers of two that is also enough: placed by decreasing
size, those in a node fill a multiple of s, so that a node has a slot of s left as long as the row holds. In nodes of a power of
two the rows follow from the number of devices. For other tensor degrees, such as 3 and 4 in nodes of 6, they are necessary
alone; what is left of other numbers of devices may be spread over more nodes than it is priced on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.problem import Part


def units(part: Part, node_size: int) -> tuple[int, ...]:
    """Devices of what lies in a node each, in descending order."""
    most = max(1, node_size // part.tensor)
    full, rest = divmod(len(part.samples), most)
    whole = most * part.tensor
    if whole != node_size and not _is_power(whole):
        return (part.tensor,) * len(part.samples)
    together = (rest * part.tensor,) if rest and _is_power(rest * part.tensor) else (part.tensor,) * rest
    return (whole,) * full + together


def closest(part: Part, node_size: int) -> tuple[int, ...]:
    """Replicas by node on as few nodes as hold them."""
    full, rest = divmod(len(part.samples), max(1, node_size // part.tensor))
    return (max(1, node_size // part.tensor),) * full + (rest,) * (rest > 0)


def slots(cluster: Cluster) -> tuple[int, ...]:
    """What there is of every group's slots, group by group, size by size."""
    return tuple(group.count * (group.devices_per_node // size) for group in cluster.groups for size in _sizes(group))


def slots_of(parts: Sequence[Part], cluster: Cluster) -> tuple[int, ...]:
    """What a stage takes of these."""
    found: list[int] = []
    for index, group in enumerate(cluster.groups):
        own = [unit for part in parts if part.group == index for unit in units(part, group.devices_per_node)]
        found += [sum(unit // size for unit in own) for size in _sizes(group)]
    return tuple(found)


def _sizes(group: Group) -> Iterator[int]:
    """Sizes of slots that say more than the number of devices: none of single nodes and of nodes of a power of two."""
    size = group.devices_per_node
    if group.count > 1 and not _is_power(size):
        yield from (s for s in range(2, size + 1) if _is_power(s) or size % s == 0)


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0
