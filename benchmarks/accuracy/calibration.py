"""Cluster files with what was measured: links by `autopart profile --links`, devices by steps of the whole model on every rank.

A device type gets two numbers for each model, by two batches that no plan uses: what an op costs whatever its size, and how much
slower than a core of the catalogue the rest of it is. An ablation takes one ingredient away and fits the rest again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from autopart.cluster.load import load_cluster
from autopart.pipeline import Front
from autopart.pricing.table import BlockTable
from benchmarks.accuracy.cases import Model
from benchmarks.accuracy.plans import SETTINGS
from cost_models.catalogue import catalogue
from cost_models.hardware import DeviceType

INGREDIENTS: Mapping[str, str] = {
    "launch": "ops have no fixed cost",
    "messages": "messages take nothing from computing",
    "contention": "messages do not wait for each other on an uplink",
    "links": "links are as the hosts are limited, not as measured",
    "devices": "devices are their share of a core of the catalogue, not as measured",
}
UNLIMITED = "1000 TB/s"


@dataclass(frozen=True, slots=True)
class Speed:
    """``launch_s`` of every op, and by how much the rest is slower than on the catalogue's core."""

    launch_s: float
    slowdown: float


def speed_of(model: Model, front: Front, measured: Mapping[int, float], *, launch: bool) -> Speed:
    """From seconds of a step by its rows."""
    few, many = model.calibration
    core = catalogue()["cpu-core"]
    free = replace(core, launch_s=0.0)
    work = {rows: _step_s(front, model, free, rows) for rows in (few, many)}
    launches = _step_s(front, model, replace(core, launch_s=1.0), few) - work[few]
    slowdown = (measured[many] - measured[few]) / (work[many] - work[few])
    fixed_s = measured[few] - slowdown * work[few]
    if launch and fixed_s > 0 and slowdown > 0:
        return Speed(fixed_s / launches, slowdown)
    return Speed(0.0, sum(measured[rows] / work[rows] for rows in work) / 2)


def _step_s(front: Front, model: Model, device: DeviceType, rows: int) -> float:
    table = BlockTable(front.blocks, SETTINGS.precision, SETTINGS.optimizer, model.batch_size)
    return float(table.seconds(device, rows).total.sum()) + table.update_s(device, table.trained_elements(0, table.count))


def calibrated(nominal: Path, links: Path, speeds: Mapping[str, Speed], without: Sequence[str]) -> str:
    """A cluster file with the measured links and these speeds by device type, less some ingredients."""
    file = yaml.safe_load((nominal if "links" in without else links).read_text())
    measured = yaml.safe_load(links.read_text())["types"]
    for name, described in file["types"].items():
        described.update({key: measured[name][key] for key in ("message_cpu", "byte_cpu")})
        if "messages" in without:
            described.update(message_cpu="0 us", byte_cpu="0 ns")
        if "devices" not in without:
            described.update(_type(speeds[name]))
        elif "launch" in without:
            described.update(launch="0 us")
    if "contention" in without:
        _endless_uplinks(file, links)
    text: str = yaml.safe_dump(file, sort_keys=False)
    return text


def _type(speed: Speed) -> dict[str, Any]:
    core = catalogue()["cpu-core"]
    return {
        "launch": f"{speed.launch_s * 1e6:.6g} us",
        "memory_bandwidth": f"{core.memory_bandwidth_bytes_per_s / speed.slowdown:.6g} B/s",
        "flops": {dtype: f"{flops / speed.slowdown:.6g} FLOP/s" for dtype, flops in core.flops.items()},
    }


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
