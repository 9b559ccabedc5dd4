"""What if the cluster were another? A change in a line, as a user writes it: ``KIND [WHERE] = VALUE``.

    memory = 24 GiB               of every device; `memory T4-16GB = 2x` of a type, `memory a = 24 GiB` of the nodes of an entry
    network a-v = 100 Gb/s        between two entries; `network a = ...` the uplinks of one, `network = ...` all of it
    interconnect a = 300 GB/s     inside the nodes of an entry; `interconnect = ...` of all
    speed T4-16GB = 2x            of a type's or an entry's devices: FLOP/s, memory bandwidth, launch time
    devices a = 3, nodes a = 0    so many devices a node, so many nodes; 0 takes the entry away

A value is a quantity, or a factor such as ``2x`` or ``0.5x`` of what there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from autopart.cluster.cluster import Cluster, Group
from autopart.cluster.units import BANDWIDTH, MEMORY
from autopart.errors import InputError
from autopart.plans import Plan
from cost_models.hardware import UNUSED_LINK, DeviceType, Link
from cost_models.units import Quantity, QuantityError, parse

KINDS: Mapping[str, str] = {
    "memory": "memory = 24 GiB",
    "network": "network a-v = 100 Gb/s",
    "interconnect": "interconnect a = 300 GB/s",
    "speed": "speed T4-16GB = 2x",
    "devices": "devices a = 3",
    "nodes": "nodes a = 2",
}
"""The kinds of changes, with an example of each."""

_LINE = re.compile(r"\s*(\S+)(?:\s+(\S+))?\s*=\s*(.+?)\s*")
_FACTOR = re.compile(r"(\d+(?:\.\d+)?)\s*x")
Value = Callable[[float], float]
Groups = dict[int, Group]


@dataclass(frozen=True, slots=True)
class Change:
    """A line, taken apart. ``where`` is empty for everything."""

    kind: str
    where: str
    value: str

    def __str__(self) -> str:
        """As a user writes it."""
        return f"{' '.join(filter(None, (self.kind, self.where)))} = {self.value}"


def parse_change(text: str) -> Change:
    """Raise InputError where the line is none."""
    found = _LINE.fullmatch(text)
    if not found or found[1] not in KINDS:
        near = get_close_matches((text.split() or [""])[0], KINDS, n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(f"{text!r} is no change of a cluster", remedy=f"{hint}Write one such as {'; '.join(KINDS.values())}.")
    return Change(found[1], found[2] or "", found[3])


def changed(cluster: Cluster, changes: Sequence[Change]) -> Cluster:
    """The cluster after all of them, one after the other; raises InputError where one names what is not there."""
    for change in changes:
        match change.kind:
            case "memory" | "speed":
                cluster = _with_devices(cluster, change)
            case "network" | "interconnect":
                cluster = _with_links(cluster, change)
            case _:
                cluster = _with_counts(cluster, change)
    return replace(cluster, digest="")


def moved(plan: Plan, before: Cluster, after: Cluster) -> Plan | None:
    """The plan on the same devices of the changed cluster, whose ranks may be others; None where one of them is gone."""
    place = {there: rank for rank, there in _places(after).items()}
    number = {rank: place.get(there) for rank, there in _places(before).items()}
    if any(number[rank] is None for stage in plan.stages for rank in stage.ranks):
        return None
    stages = tuple(replace(stage, ranks=tuple(number[rank] or 0 for rank in stage.ranks)) for stage in plan.stages)
    used = {rank for stage in stages for rank in stage.ranks}
    unused = tuple(each.rank for each in after.ranks if each.rank not in used)
    return replace(plan, stages=stages, unused_ranks=unused)


def _places(cluster: Cluster) -> dict[int, tuple[str, int, int]]:
    """Group, node and device of every rank: what stays when other ranks come and go."""
    found: dict[int, tuple[str, int, int]] = {}
    first: dict[int, int] = {}
    seen: dict[int, int] = {}
    for rank in cluster.ranks:
        node = rank.node - first.setdefault(rank.group, rank.node)
        device = seen.get(rank.node, 0)
        seen[rank.node] = device + 1
        found[rank.rank] = (cluster.groups[rank.group].name, node, device)
    return found


def _with_devices(cluster: Cluster, change: Change) -> Cluster:
    value = _value(change, MEMORY if change.kind == "memory" else None)

    def better(device: DeviceType) -> DeviceType:
        if change.kind == "memory":
            return replace(device, memory_bytes=int(value(device.memory_bytes)))
        return replace(
            device,
            flops={dtype: value(flops) for dtype, flops in device.flops.items()},
            memory_bandwidth_bytes_per_s=value(device.memory_bandwidth_bytes_per_s),
            launch_s=device.launch_s / value(1.0),
            measured=device.measured.faster(value(1.0)) if device.measured else None,
        )

    chosen = _named(cluster, change, change.where, types=True)
    return _with_groups(cluster, {n: replace(cluster.groups[n], device=better(cluster.groups[n].device)) for n in chosen})


def _with_links(cluster: Cluster, change: Change) -> Cluster:
    value = _value(change, BANDWIDTH)

    def better(link: Link) -> Link:
        return link if link is UNUSED_LINK else replace(link, bandwidth_bytes_per_s=value(link.bandwidth_bytes_per_s))

    if change.kind == "interconnect":
        named = _named(cluster, change, change.where)
        return _with_groups(
            cluster, {n: replace(g, interconnect=better(g.interconnect)) for n in named for g in [cluster.groups[n]]}
        )
    pair = _pair(cluster, change.where)
    if pair is None:
        named = _named(cluster, change, change.where)
        of = {n: replace(g, network=better(g.network)) for n in named for g in [cluster.groups[n]]}
        others = tuple((ends, link if change.where else better(link)) for ends, link in cluster.exceptions)
        return replace(_with_groups(cluster, of), exceptions=others)
    exceptions = dict(cluster.exceptions)
    for first in pair[0]:
        for second in pair[1]:
            if first != second or cluster.groups[first].count > 1:
                exceptions[min(first, second), max(first, second)] = better(cluster.network(first, second))
    return replace(cluster, exceptions=tuple(sorted(exceptions.items())))


def _with_counts(cluster: Cluster, change: Change) -> Cluster:
    named = _named(cluster, change, change.where)
    if not re.fullmatch(r"\d{1,6}", change.value) or (change.kind == "devices" and change.value == "0"):
        raise InputError(f"{change}: {change.value!r} is not a number of {change.kind}", remedy=f"Write {KINDS[change.kind]!r}.")
    many, nodes = int(change.value), change.kind == "nodes"
    of = {n: replace(g, count=many) if nodes else replace(g, devices_per_node=many) for n in named for g in [cluster.groups[n]]}
    found = _with_groups(cluster, of)
    _check_links(found, change)
    kept = [number for number, group in enumerate(found.groups) if group.count]
    if not kept:
        raise InputError(f"{change}: no device is left", remedy="Leave one entry at least.")
    ends = {number: position for position, number in enumerate(kept)}
    exceptions = tuple(((ends[a], ends[b]), link) for (a, b), link in found.exceptions if a in ends and b in ends)
    return replace(found, groups=tuple(found.groups[number] for number in kept), exceptions=exceptions)


def _check_links(cluster: Cluster, change: Change) -> None:
    """What has become several must have a link between them in the file."""
    for group in cluster.groups:
        if group.devices_per_node > 1 and group.interconnect is UNUSED_LINK:
            raise InputError(f"{change}: {group.name} has no interconnect", remedy="Give it one in the cluster file.")
        if group.count and sum(other.count for other in cluster.groups) > 1 and group.network is UNUSED_LINK:
            raise InputError(f"{change}: {group.name} has no network", remedy="Give it one in the cluster file.")


def _with_groups(cluster: Cluster, of: Groups) -> Cluster:
    return replace(cluster, groups=tuple(of.get(number, group) for number, group in enumerate(cluster.groups)))


def _value(change: Change, quantity: Quantity | None) -> Value:
    """What becomes of a number."""
    if factor := _FACTOR.fullmatch(change.value):
        times = float(factor[1])
        if times > 0:
            return lambda number: number * times
    if quantity is None:
        raise InputError(f"{change}: {change.value!r} is not a factor", remedy=f"Write {KINDS[change.kind]!r}.")
    try:
        fixed = parse(change.value, quantity)
    except QuantityError as error:
        raise InputError(f"{change}: {error.what}", remedy=f"{error.remedy} A factor such as 2x will do too.") from error
    return lambda _: fixed


def _pair(cluster: Cluster, where: str) -> tuple[list[int], list[int]] | None:
    """Two entries with a dash between them (names may have dashes too); None where it is one name."""
    if not where or _entry(cluster, where):
        return None
    for cut in (i for i, letter in enumerate(where) if letter == "-"):
        first, second = _entry(cluster, where[:cut]), _entry(cluster, where[cut + 1 :])
        if first and second:
            return first, second
    return None


def _entry(cluster: Cluster, name: str) -> list[int]:
    """The groups of an entry under ``nodes``."""
    return [number for number, group in enumerate(cluster.groups) if name in (group.name, group.stem)]


def _named(cluster: Cluster, change: Change, name: str, *, types: bool = False) -> list[int]:
    """Groups of a name: of an entry, or of a device type."""
    if not name:
        return list(range(len(cluster.groups)))
    found = _entry(cluster, name) or [n for n, group in enumerate(cluster.groups) if types and group.device.name == name]
    if found:
        return found
    known = [group.stem or group.name for group in cluster.groups]
    known = list(dict.fromkeys(known + [group.device.name for group in cluster.groups if types]))
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise InputError(f"{change}: the cluster has no {name!r}", where=cluster.path, remedy=f"{hint}It has {', '.join(known)}.")
