"""Cluster files with what was measured: links by `autopart profile --links`, devices by `autopart profile`; or with less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from autopart.cluster.load import load_cluster

INGREDIENTS: Mapping[str, str] = {
    "devices": "devices are their share of a core of the catalogue, not as measured",
    "launch": "nor do ops have a fixed cost",
    "messages": "messages take nothing from computing",
    "contention": "messages do not wait for each other on an uplink",
    "links": "links are as the hosts are limited, not as measured",
}
UNLIMITED = "1000 TB/s"


def calibrated(nominal: Path, links: Path, costs: Mapping[str, Path], without: Sequence[str]) -> str:
    """A cluster file with the measured links and costs files by device type, less some ingredients."""
    file = yaml.safe_load((nominal if "links" in without else links).read_text())
    measured = yaml.safe_load(links.read_text())["types"]
    for name, described in file["types"].items():
        described.update({key: measured[name][key] for key in ("message_cpu", "byte_cpu")})
        if "messages" in without:
            described.update(message_cpu="0 us", byte_cpu="0 ns")
        if "launch" in without:
            described.update(launch="0 us")
        elif "devices" not in without:
            described.update(measured=str(costs[name].absolute()))
    if "contention" in without:
        _endless_uplinks(file, links)
    text: str = yaml.safe_dump(file, sort_keys=False)
    return text


def _endless_uplinks(file: dict[str, Any], links: Path) -> None:
    """Every path keeps its rate, as an exception; what a node's paths share has no limit."""
    cluster = load_cluster(links)
    pairs = [(a, b) for b in range(len(cluster.groups)) for a in range(b)]
    file["links"] = [
        {
            "between": [cluster.groups[a].name, cluster.groups[b].name],
            "bandwidth": f"{cluster.network(a, b).bandwidth_bytes_per_s:.6g} B/s",
            "latency": f"{cluster.network(a, b).latency_s * 1e6:.6g} us",
        }
        for a, b in pairs
    ]
    for node in file["nodes"]:
        node["network"]["bandwidth"] = UNLIMITED
