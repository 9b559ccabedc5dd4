"""What moving a microbatch from stage to stage takes, before ranks are known: by counts of devices in groups.

A stage's end of a way is as busy as its fullest node, whose uplink all its devices there share, or inside a node as busy as its
busiest device. A way takes as long as the slower of its ends,

    seconds = latency + max over both ends of ((load - piece) / uplink + piece / path)

for the bytes ``load`` that the fullest node at that end sends or receives, in messages of ``piece`` bytes; where no exception
makes the path between two groups slower than their uplinks, that is load over the slower uplink. Each column of the
receiving stage gets all rows. Whether two stages of one group meet inside a node is not known: where stages of n devices fill
nodes of G, one in G / n boundaries leaves a node, so two stages with n and n' devices pay (n + n') / 2 G of the way outside and
the rest of the way inside; a stage that fills a node, and another group, are always outside, a group of one node always inside.
Of stages in several groups the slowest pair of groups that exchange rows counts, or the uplink that is busy the longest.

A stage by itself pays half of its end, towards the nearest that a neighbour can be; ``Routes`` has the whole way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.problem import Array, Routes, columns_of
from autopart.planner.shares import Parts
from autopart.pricing.table import Cut
from cost_models.hardware import Link


@dataclass(frozen=True, slots=True)
class End:
    """A stage's devices in one group: which rows of the microbatch and which part of the columns, from 0 to 1, are there;
    rows of the fullest node and of the busiest device.
    """

    rows: tuple[float, float]
    columns: tuple[float, float]
    node_rows: float
    device_rows: float
    devices: int


def ends_of(parts: Parts, cluster: Cluster) -> dict[int, End]:
    """By group. A group's replicas have consecutive rows; joined parts have all rows and consecutive columns."""
    found: dict[int, End] = {}
    row = column = 0
    for part in parts:
        own = sum(part.samples)
        of_a_node = part.nodes[0] if part.nodes else max(1, cluster.groups[part.group].devices_per_node // part.tensor)
        rows, columns = (row, row + own), (0.0, 1.0)
        if part.weights:
            rows, columns = (0, own), (column / columns_of(parts), (column + part.tensor) / columns_of(parts))
        found[part.group] = End(rows, columns, sum(part.samples[:of_a_node]), max(part.samples), part.devices)
        row, column = row + own, column + part.tensor
    return found


def half_s(parts: Parts, cluster: Cluster, cut: Cut, samples: int) -> Array:
    """[n + 1] half of what moving values forward and gradients back takes at this stage's end alone; 0 at both ends of the model.

    ``cut`` is of a whole microbatch, ``samples`` its rows.
    """
    messages, nbytes = _moved(cut)
    found = np.zeros_like(nbytes)
    for group, end in ends_of(parts, cluster).items():
        here = cluster.groups[group]
        inside = messages * here.interconnect.latency_s + nbytes / samples * _inside_row_s(here, np.array(end.device_rows))
        links = [cluster.network(group, other) for other in range(len(cluster.groups)) if other != group or here.count > 1]
        if links:
            load = end.node_rows * (end.columns[1] - end.columns[0]) * columns_of(parts)
            row_s = [float(_outside_row_s(here, link, np.array(load), np.array(end.device_rows))) for link in links]
            ways = [messages * link.latency_s + nbytes / samples * each for link, each in zip(links, row_s, strict=True)]
            outside, leaves = np.min(ways, axis=0), _leaves(here, np.array(end.devices))
            inside = np.minimum(outside, leaves * outside + (1 - leaves) * inside)
        found = np.maximum(found, inside / 2)
    return found


def _moved(cut: Cut) -> tuple[Array, Array]:
    """Messages one after the other, and bytes: values and gradients."""
    messages = (cut.values > 0).astype(np.float64) + (cut.gradients > 0)
    nbytes = cut.values + cut.gradients
    messages[[0, -1]] = nbytes[[0, -1]] = 0.0
    return messages, nbytes


def _leaves(group: Group, devices: Array) -> Array:
    """Which part of the ends of stages of so many devices lead out of a node."""
    if group.count == 1:
        return np.where(devices < group.devices_per_node, 0.0, 1.0)
    return np.minimum(1.0, devices / group.devices_per_node)


def _inside_row_s(group: Group, rows: Array) -> Array:
    """Seconds for every byte of a row, ``rows`` of which one device sends or receives."""
    return rows / group.interconnect.bandwidth_bytes_per_s


def _outside_row_s(group: Group, path: Link, load: Array, piece: Array) -> Array:
    """Seconds for every byte of a row: the group's uplink has ``load`` rows to carry in messages of ``piece``."""
    found: Array = (
        np.maximum(load - piece, 0.0) * _uplink_byte_s(group, path) + np.minimum(piece, load) / path.bandwidth_bytes_per_s
    )
    return found


def _uplink_byte_s(group: Group, path: Link) -> float:
    """How long a byte on a path keeps the group's uplink busy."""
    return 1 / max(group.network.bandwidth_bytes_per_s, path.bandwidth_bytes_per_s)


def make_routes(places: Sequence[Parts], cluster: Cluster, cut: Cut, samples: int) -> Routes:
    """Between all of these places; ``cut`` is of a whole microbatch of so many samples."""
    ends = [ends_of(parts, cluster) for parts in places]
    columns = np.array([float(columns_of(parts)) for parts in places])
    groups = range(len(cluster.groups))
    by_group = [_Ends.of(ends, group) for group in groups]
    latency_s, row_s = np.zeros((2, len(places), len(places)))
    sent_s, received_s = np.zeros((2, len(groups), len(places), len(places)))
    for a, b in product(groups, groups):
        between = np.ix_(by_group[a].where, by_group[b].where)
        way = _between(by_group[a], by_group[b], columns, cluster, a, b)
        latency_s[between] = np.maximum(latency_s[between], way.latency_s)
        row_s[between] = np.maximum(row_s[between], way.row_s)
        sent_s[a][between] += way.sent_s
        received_s[b][between] += way.received_s
    row_s = np.maximum(row_s, np.maximum(sent_s.max(axis=0), received_s.max(axis=0)))
    messages, nbytes = _moved(cut)
    return Routes(latency_s, row_s / samples, messages, nbytes)


@dataclass(frozen=True, eq=False)
class _Ends:
    """The ends in one group, as rows; ``where`` are the places that have one."""

    where: NDArray[np.int64]
    values: Array  # [ends, 7]

    @staticmethod
    def of(ends: Sequence[Mapping[int, End]], group: int) -> _Ends:
        found = [(place, own[group]) for place, own in enumerate(ends) if group in own]
        rows = [(*end.rows, *end.columns, end.node_rows, end.device_rows, end.devices) for _, end in found]
        return _Ends(np.array([place for place, _ in found], dtype=np.int64), np.array(rows, dtype=np.float64).reshape(-1, 7))


@dataclass(frozen=True, eq=False)
class _Way:
    """[before, after] latency, and seconds for every byte of a row: of the way itself, and how long it keeps the uplink of the
    sender's and of the receiver's fullest node busy.
    """

    latency_s: Array
    row_s: Array
    sent_s: Array
    received_s: Array


def _between(before: _Ends, after: _Ends, columns: Array, cluster: Cluster, a: int, b: int) -> _Way:
    """From group a to group b; 0 where two places exchange nothing there."""
    first, stop, left, right, node, device, devices = (column[:, None] for column in before.values.T)
    first_b, stop_b, left_b, right_b, node_b, device_b, devices_b = (column[None, :] for column in after.values.T)
    rows = np.maximum(np.minimum(stop, stop_b) - np.maximum(first, first_b), 0.0)
    arriving = np.maximum(np.minimum(right, right_b) - np.maximum(left, left_b), 0.0) * columns[after.where][None, :]
    link, one, other = cluster.network(a, b), cluster.groups[a], cluster.groups[b]
    piece = np.minimum(np.minimum(device, device_b), rows)
    row_s = np.maximum(
        _outside_row_s(one, link, np.minimum(rows, node) * arriving, piece),
        _outside_row_s(other, link, np.minimum(rows, node_b) * arriving, piece),
    )
    latency_s = np.full_like(row_s, link.latency_s)
    leaves = np.ones_like(row_s)
    if a == b:
        readers = np.maximum(1.0, columns[after.where][None, :] / columns[before.where][:, None])
        inside_s = _inside_row_s(one, np.maximum(np.minimum(device, rows) * readers, np.minimum(device_b, rows)))
        leaves = _leaving(one, devices, devices_b)
        row_s = leaves * row_s + (1 - leaves) * inside_s
        latency_s = leaves * latency_s + (1 - leaves) * one.interconnect.latency_s
    some = rows * arriving > 1e-9
    outside = np.where(some, leaves * rows * arriving, 0.0)
    return _Way(
        latency_s=np.where(some, latency_s, 0.0),
        row_s=np.where(some, row_s, 0.0),
        sent_s=outside * node / (stop - first) * _uplink_byte_s(one, link),
        received_s=outside * node_b / (stop_b - first_b) * _uplink_byte_s(other, link),
    )


def _leaving(group: Group, devices: Array, others: Array) -> Array:
    """Which part of the ways between two stages of a group leads out of a node."""
    if group.count == 1:
        return np.zeros(np.broadcast_shapes(devices.shape, others.shape))
    size = group.devices_per_node
    found: Array = np.where(np.maximum(devices, others) >= size, 1.0, (devices + others) / (2 * size))
    return found
