"""From a costs file to a fuller one: which machine, how it is timed, what the file must agree with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from autopart.cgroups import cpu_quota
from autopart.cluster.costs import dump_costs, load_costs
from autopart.errors import CostsError
from autopart.jsonfile import replace_file
from autopart.profiling.machine import machine_name, torch_device
from autopart.profiling.timing import Stopwatch
from cost_models.hardware import DeviceType
from cost_models.measured import Measurements, Origin

SUSTAINED_S = 0.3
"""Of a forward, and of a backward: three of the kernel's default periods of 100 ms, fifteen of 20 ms."""


def stopwatch(device: DeviceType, repeats: int, sustained: bool | None) -> Stopwatch:
    """``sustained`` None: where the process is under a CPU quota."""
    place = torch_device(device)
    alone = place.type == "cpu" and torch.get_num_threads() == 1
    under_quota = place.type == "cpu" and cpu_quota() is not None
    if under_quota if sustained is None else sustained:
        return Stopwatch(place, repeats, SUSTAINED_S)
    return Stopwatch(place, repeats, cpu_time=alone)


def started(path: Path, device: DeviceType, watch: Stopwatch, *, compiled: bool) -> Measurements:
    """What the file has, if it is of this machine; nothing where there is no file. CostsError where it is of another."""
    origin = Origin(
        machine=machine_name(watch.device),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        method="mean" if watch.sustained_s else "minimum",
        compiled=compiled,
    )
    empty = Measurements("", replace(device, measured=None), origin)
    if not path.exists():
        return empty
    known = load_costs(path)
    for what, was, now in _traits(known, empty):
        if was != now:
            raise CostsError(
                f"this was measured with {what} {was}, now it is {now}",
                where=str(path),
                remedy="Name another file with -o, or remove this one to measure everything again.",
            )
    return replace(known, device=empty.device)


def _traits(known: Measurements, now: Measurements) -> list[tuple[str, object, object]]:
    """What samples of one file have in common."""
    names = {"machine": "the machine", "torch": "PyTorch", "threads": "threads", "method": "the method", "compiled": "--compile"}
    found = [(text, getattr(known.origin, name), getattr(now.origin, name)) for name, text in names.items()]
    return [("the type", known.device.name, now.device.name), *found]


def saver(path: Path) -> Callable[[Measurements], None]:
    """Writes the file, in place of the one before."""
    return lambda measured: replace_file(path, dump_costs(measured))
