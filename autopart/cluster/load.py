"""cluster.yaml -> Cluster. Every mistake in the file is a ClusterError that names the line, what is wrong, and what to write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from autopart.cluster import reading
from autopart.cluster.cluster import Cluster, Group, Price
from autopart.cluster.costs import load_costs
from autopart.cluster.exceptions import apply
from autopart.cluster.reading import Spot
from autopart.cluster.units import BANDWIDTH, FLOPS, MEMORY, MEMORY_BANDWIDTH, POWER, TIME
from autopart.errors import ClusterError
from cost_models.catalogue import DTYPES, REACHED, TypeEntry, catalogue, correct, define, kind_of, missing, nearest
from cost_models.hardware import UNUSED_LINK, DeviceType, Kind, Link
from cost_models.measured import Measurements

LARGEST_FILE_BYTES = 2**20
MOST_DEVICES = 1_000_000

_TYPE_KEYS = (
    "memory",
    "memory_bandwidth",
    "flops",
    "launch",
    "message_cpu",
    "byte_cpu",
    "units",
    "cache_bandwidth",
    "reached",
    "kind",
    "source",
    "price",
    "power",
    "measured",
)
_NODES_REMEDY = "Write a list: `- name: a` with `devices: {type: A100-80GB, count: 8}`."


def load_cluster(path: str | Path, *, measured: bool = True) -> Cluster:
    """Read and check a cluster file. Without ``measured`` types are as their datasheets have them."""
    where = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ClusterError(
            "no such file", where=where, remedy="docs/reference/cluster.md says how to write one; examples/clusters has some."
        ) from error
    except IsADirectoryError as error:
        raise ClusterError("this is a directory", where=where, remedy="Name the cluster file in it.") from error
    except (OSError, ValueError) as error:
        raise ClusterError(f"can't be read: {error}", where=where, remedy="Check the path and its permissions.") from error
    if len(raw) > LARGEST_FILE_BYTES:
        raise ClusterError("this is far too large for a cluster file", where=where, remedy="Name a cluster.yaml.")
    try:
        return parse_cluster(raw.decode("utf-8-sig"), where, measured=measured)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ClusterError("this is not UTF-8 text", where=f"{where}:{line}", remedy="Save the file as UTF-8.") from error


def parse_cluster(text: str, path: str, *, measured: bool = True) -> Cluster:
    """A Cluster from the text of a cluster file; ``path`` is for messages and for the plan."""
    file = reading.mapping(reading.compose(text, path), required=("nodes",), optional=("links", "types"))
    known = _types(file.get("types"), measured)
    spots = reading.sequence(file["nodes"], _NODES_REMEDY)
    groups = [_group(spot, known) for spot in spots]
    _check_names(groups, spots)
    _check_size(groups, spots)
    _check_networks(groups, spots)
    _check_currency(groups, spots)
    cut, exceptions = apply(file.get("links"), groups)
    return Cluster(path, _digest(cut, exceptions), cut, exceptions)


class _Known(NamedTuple):
    """Device types by name, and the prices that ``types`` gives to some."""

    types: Mapping[str, DeviceType]
    prices: Mapping[str, Price]


def _types(spot: Spot | None, measured: bool) -> _Known:
    """The catalogue, with the file's own types and corrections."""
    types, prices = dict(catalogue()), dict[str, Price]()
    if spot is None:
        return _Known(types, prices)
    for name, (key, value) in reading.entries(spot, "Write `name: {memory: ..., memory_bandwidth: ..., flops: {...}}`.").items():
        reading.name(key)
        entry, price = _type_entry(value, measured)
        _check_kind(name, entry, types.get(name), value)
        if price:
            prices[name] = price
        if name in types:
            types[name] = correct(types[name], entry)
            continue
        absent = missing(entry)
        if absent:
            near = nearest(name, catalogue())
            hint = f"; to correct a known type, spell its name: {', '.join(near)}" if near else ""
            raise key.error(f"the new device type {name!r} has no {' and no '.join(absent)}", f"Add {', '.join(absent)}{hint}.")
        types[name] = define(name, entry)
    return _Known(types, prices)


def _type_entry(spot: Spot, measured: bool) -> tuple[TypeEntry, Price | None]:
    keys = reading.mapping(spot, required=(), optional=_TYPE_KEYS)
    flops = reading.mapping(keys["flops"], required=(), optional=DTYPES) if "flops" in keys else {}
    reached = reading.mapping(keys["reached"], required=(), optional=REACHED) if "reached" in keys else {}
    kind: Kind | None = None
    if "kind" in keys:
        kind = "cpu" if reading.choice(keys["kind"], ("accelerator", "cpu")) == "cpu" else "accelerator"
    entry = TypeEntry(
        memory_bytes=int(reading.quantity(keys["memory"], MEMORY)) if "memory" in keys else None,
        memory_bandwidth_bytes_per_s=(
            reading.quantity(keys["memory_bandwidth"], MEMORY_BANDWIDTH) if "memory_bandwidth" in keys else None
        ),
        flops={dtype: reading.quantity(speed, FLOPS) for dtype, speed in flops.items()},
        launch_s=reading.quantity(keys["launch"], TIME) if "launch" in keys else None,
        kind=kind,
        source=reading.text(keys["source"]) if "source" in keys else "",
        power_w=_power(keys),
        message_cpu_s=reading.quantity(keys["message_cpu"], TIME) if "message_cpu" in keys else None,
        byte_cpu_s=reading.quantity(keys["byte_cpu"], TIME) if "byte_cpu" in keys else None,
        units=reading.count(keys["units"], MOST_DEVICES) if "units" in keys else None,
        cache_bandwidth_bytes_per_s=reading.quantity(keys["cache_bandwidth"], MEMORY_BANDWIDTH)
        if "cache_bandwidth" in keys
        else None,
        reached={what: reading.fraction(each) for what, each in reached.items()},
        measured=_measured(keys["measured"]) if measured and "measured" in keys else None,
    )
    return entry, _price(keys)


def _measured(spot: Spot) -> Measurements:
    """Of a costs file, which is named relative to the folder of the cluster file."""
    path = Path(spot.path).parent / reading.text(spot)
    if not path.is_file():
        raise spot.error(
            f"{spot.what}: there is no file {path}", "`autopart profile` writes it; the path is relative to this file."
        )
    return load_costs(path)


def _check_kind(name: str, entry: TypeEntry, known: DeviceType | None, spot: Spot) -> None:
    """What was measured on a CPU says nothing of an accelerator, nor the other way round."""
    kind = (known and known.kind) if entry.kind is None else entry.kind
    if entry.measured and entry.measured.device.kind != (kind or kind_of(name)):
        what = f"{name} is a {kind or kind_of(name)}, and {spot.what}.measured was measured on a {entry.measured.device.kind}"
        raise spot.error(what, "Name a file that was measured on a device of the same kind.")


def _power(keys: Mapping[str, Spot]) -> float | None:
    return reading.quantity(keys["power"], POWER) if "power" in keys else None


def _price(keys: Mapping[str, Spot]) -> Price | None:
    return reading.price(keys["price"]) if "price" in keys else None


def _group(spot: Spot, known: _Known) -> Group:
    keys = reading.mapping(spot, required=("name", "devices"), optional=("count", "interconnect", "network"))
    devices = reading.mapping(keys["devices"], required=("type", "count"), optional=("price", "power"))
    device = _device(devices["type"], known.types)
    per_node = reading.count(devices["count"], MOST_DEVICES)
    if per_node > 1 and "interconnect" not in keys:
        raise spot.error(
            f"{spot.what} has {per_node} devices but no interconnect between them",
            "Add `interconnect: {bandwidth: 300 GB/s, latency: 3 us}` with your numbers.",
        )
    return Group(
        name=reading.name(keys["name"]),
        count=reading.count(keys["count"], MOST_DEVICES) if "count" in keys else 1,
        device=device,
        devices_per_node=per_node,
        interconnect=_link(keys["interconnect"]) if "interconnect" in keys else UNUSED_LINK,
        network=_link(keys["network"]) if "network" in keys else UNUSED_LINK,
        price=_price(devices) or known.prices.get(device.name),
        power_w=_power(devices) or device.power_w,
    )


def _device(spot: Spot, types: Mapping[str, DeviceType]) -> DeviceType:
    name = reading.text(spot)
    if name not in types:
        near = nearest(name, types)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise spot.error(
            f"unknown device type {name!r}",
            f"{hint}`autopart devices` lists the catalogue; `types:` in this file defines new ones.",
        )
    return types[name]


def _link(spot: Spot) -> Link:
    keys = reading.mapping(spot, required=("bandwidth", "latency"))
    return Link(reading.quantity(keys["latency"], TIME), reading.quantity(keys["bandwidth"], BANDWIDTH))


def _check_names(groups: list[Group], spots: list[Spot]) -> None:
    """No two nodes may share a name, expanded names (a0, a1) included."""
    first: dict[str, int] = {}
    for index, (group, spot) in enumerate(zip(groups, spots, strict=True)):
        if group.name in first:
            line = spots[first[group.name]].node.start_mark.line + 1
            raise spot.error(f"two nodes are called {group.name!r}; the first is on line {line}", "Give each entry its own name.")
        first[group.name] = index
    for group, spot in zip(groups, spots, strict=True):
        for stem, digits in _splits(group.name):
            if stem in first and _overlap(groups[first[stem]].count, digits, group.count):
                what = f"the name {group.name!r} is also that of a node of {stem!r}, whose nodes are {stem}0, {stem}1 and so on"
                raise spot.error(what, "Rename one of the two entries.")


def _splits(name: str) -> list[tuple[str, str]]:
    """Every way to read a name as stem and number: "a10" is "a1" + "0" and "a" + "10"."""
    digits = len(name) - len(name.rstrip("0123456789"))
    return [(name[:-size], name[-size:]) for size in range(1, min(digits, 8) + 1) if name[:-size]]


def _overlap(stem_count: int, digits: str, own_count: int) -> bool:
    """Whether nodes stem0..stem(stem_count - 1) meet the node stem+digits, or stem+digits+0 onwards where there are several."""
    if stem_count == 1 or (digits[0] == "0" and (len(digits) > 1 or own_count > 1)):
        return False
    return int(digits) * (1 if own_count == 1 else 10) < stem_count


def _check_size(groups: list[Group], spots: list[Spot]) -> None:
    total = 0
    for group, spot in zip(groups, spots, strict=True):
        total += group.devices
        if total > MOST_DEVICES:
            raise spot.error(
                f"the cluster has at least {total:,} devices; more than {MOST_DEVICES:,} are not supported",
                "Check both `count`s.",
            )


def _check_networks(groups: list[Group], spots: list[Spot]) -> None:
    if sum(group.count for group in groups) == 1:
        return
    for group, spot in zip(groups, spots, strict=True):
        if group.network is UNUSED_LINK:
            raise spot.error(
                f"node {group.name!r} has no network, and there are several nodes",
                "Add `network: {bandwidth: 25 Gb/s, latency: 30 us}` with the numbers of its uplink.",
            )


def _check_currency(groups: list[Group], spots: list[Spot]) -> None:
    """Prices are added up."""
    priced = [(group, group.price, spot) for group, spot in zip(groups, spots, strict=True) if group.price]
    for group, price, spot in priced:
        first, other, _ = priced[0]
        if price.currency != other.currency:
            raise spot.error(
                f"{group.name!r} is priced in {price.currency}, {first.name!r} in {other.currency}",
                "Convert all prices of the file to one currency.",
            )


def _digest(groups: tuple[Group, ...], exceptions: tuple[tuple[tuple[int, int], Link], ...]) -> str:
    """Of what the file means for a run, whatever its comments, order of keys and units; prices and power are not in it."""
    described = [
        (
            group.name,
            group.count,
            group.devices_per_node,
            [
                device.name,
                device.memory_bytes,
                device.memory_bandwidth_bytes_per_s,
                device.launch_s,
                device.kind,
                *_message_cpu(device),
                *_filling(device),
            ],
            sorted(device.flops.items()),
            *([device.measured.digest] if device.measured else []),
            astuple(group.interconnect),
            astuple(group.network),
        )
        for group in groups
        for device in [group.device]
    ]
    text = json.dumps([described, [(pair, astuple(link)) for pair, link in exceptions]])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _filling(device: DeviceType) -> list[object]:
    """How products fill it, where the file says so and not the catalogue."""
    known = catalogue().get(device.name)
    said = [device.units, device.cache_bandwidth_bytes_per_s, sorted(device.reached.items())]
    unsaid = [known.units, known.cache_bandwidth_bytes_per_s, sorted(known.reached.items())] if known else [0, 0.0, []]
    return [] if said == unsaid else said


def _message_cpu(device: DeviceType) -> list[float]:
    """What messages take from computing, where they do."""
    return [device.message_cpu_s, device.byte_cpu_s] if device.message_cpu_s or device.byte_cpu_s else []
