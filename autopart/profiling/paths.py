"""Which ranks stand for which path of a cluster, and the cluster's numbers from what they measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autopart.cluster.cluster import Cluster
from cost_models.hardware import Link
from cost_models.links import Fit

ALIKE = 0.05

Pair = tuple[int, int]  # of ranks, or of groups in ascending order


@dataclass(frozen=True, slots=True)
class Path:
    """Two ranks whose messages stand for those inside a node of a group, or between nodes of two groups (or of one)."""

    ranks: Pair
    groups: Pair
    inside: bool

    def name(self, cluster: Cluster) -> str:
        first, second = (cluster.groups[group].name for group in self.groups)
        if self.inside:
            return f"inside {first}"
        return f"between nodes of {first}" if first == second else f"{first} to {second}"


@dataclass(frozen=True, slots=True)
class Collective:
    """One size of one collective over some ranks: seconds measured (of the last rank to come) and by formula."""

    name: str
    ranks: tuple[int, ...]
    nbytes: int
    measured_s: float
    formula_s: float


@dataclass(frozen=True)
class Links:
    """All that was measured. ``cpu``: device seconds of a message by path and rank; ``measured``: the cluster with them."""

    backend: str
    fits: Mapping[Path, Fit]
    cpu: Mapping[tuple[Path, int], Fit]
    collectives: tuple[Collective, ...]
    measured: Cluster


def paths(cluster: Cluster) -> list[Path]:
    """One of every kind that the cluster has."""
    firsts = [min(rank.rank for rank in cluster.ranks if rank.group == index) for index in range(len(cluster.groups))]
    found = []
    for index, group in enumerate(cluster.groups):
        if group.devices_per_node > 1:
            found.append(Path((firsts[index], firsts[index] + 1), (index, index), inside=True))
        if group.count > 1:
            found.append(Path((firsts[index], firsts[index] + group.devices_per_node), (index, index), inside=False))
        found += [Path((firsts[other], firsts[index]), (other, index), inside=False) for other in range(index)]
    return found


def with_links(cluster: Cluster, measured: Mapping[Path, Fit]) -> Cluster:
    """The cluster with measured links in place of the file's.

    A path's rate goes to the end that limits it, the one that the file says is no faster than the other: an uplink that is faster
    than all others can't be filled by one message, and keeps the file's rate. Latencies of uplinks are those that add up to the
    paths' best. A path that they do not give becomes an exception, with just its numbers.
    """
    inside = {path.groups[0]: found.link for path, found in measured.items() if path.inside}
    across = {path.groups: found.link for path, found in measured.items() if not path.inside}
    latencies = _shared_out(across, len(cluster.groups))
    groups = tuple(
        replace(
            group,
            interconnect=inside.get(index, group.interconnect),
            network=Link(latencies[index], _rate(cluster, index, across)) if across else group.network,
        )
        for index, group in enumerate(cluster.groups)
    )
    known = dict(cluster.exceptions)
    plain = replace(cluster, groups=groups, exceptions=())
    exceptions = tuple(
        (pair, link)
        for pair, link in sorted(across.items())
        if pair[0] != pair[1] and (pair in known or not _alike(link, plain.network(*pair)))
    )
    return replace(plain, exceptions=exceptions)


def _alike(one: Link, other: Link) -> bool:
    """Whether small and large messages take as long over both."""
    return all(abs(one.transfer_s(n) / other.transfer_s(n) - 1) < ALIKE for n in (2**10, 2**22))


def _rate(cluster: Cluster, index: int, across: Mapping[Pair, Link]) -> float:
    """Of a group's uplink, bytes/s."""
    said = [group.network.bandwidth_bytes_per_s for group in cluster.groups]
    filled = [
        link.bandwidth_bytes_per_s
        for pair, link in across.items()
        if index in pair and said[index] <= min(said[other] for other in pair)
    ]
    return max(filled, default=said[index])


def _shared_out(across: Mapping[Pair, Link], groups: int) -> list[float]:
    """The latency of each group's uplink, of which any two make that of their path."""
    if not across:
        return [0.0] * groups
    rows = np.zeros((len(across), groups))
    for row, (first, second) in zip(rows, across, strict=True):
        row[first] += 1
        row[second] += 1
    found, *_ = np.linalg.lstsq(rows, np.array([link.latency_s for link in across.values()]), rcond=None)
    return [max(0.0, float(latency)) for latency in found]


def with_messages(cluster: Cluster, cpu: Mapping[tuple[Path, int], Fit]) -> Cluster:
    """The cluster with measured device times of a message."""
    found = by_type(cluster, cpu)
    groups = tuple(
        replace(group, device=replace(group.device, message_cpu_s=found[name].fixed_s, byte_cpu_s=found[name].byte_s))
        if (name := group.device.name) in found
        else group
        for group in cluster.groups
    )
    return replace(cluster, groups=groups)


def by_type(cluster: Cluster, cpu: Mapping[tuple[Path, int], Fit]) -> Mapping[str, Fit]:
    """Device seconds of a message between nodes by the name of a device type: the median over paths and ranks; inside a node
    only where there is a single one. Residuals are the worst.
    """
    across = any(not path.inside for path, _ in cpu)
    fits: dict[str, list[Fit]] = {}
    for (path, rank), each in cpu.items():
        if path.inside != across:
            fits.setdefault(cluster.device(rank).name, []).append(each)
    return {name: _median(each) for name, each in fits.items()}


def _median(fits: Sequence[Fit]) -> Fit:
    return Fit(
        statistics.median(each.fixed_s for each in fits),
        statistics.median(each.byte_s for each in fits),
        max(each.mean_residual for each in fits),
        max(each.worst_residual for each in fits),
    )
