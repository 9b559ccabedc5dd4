"""The machine that is measured: its name, its memory, and the CPU quota that this process lives under."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

from autopart.errors import InputError
from cost_models.hardware import DeviceType

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def torch_device(device: DeviceType) -> torch.device:
    """Where ops of this type run here; InputError where it is an accelerator and there is none."""
    if device.kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError(
            f"{device.name} is an accelerator, and PyTorch finds none on this machine",
            remedy="Run `autopart profile` on a machine that has one, or name a CPU with --type.",
        )
    return torch.device("cuda", torch.cuda.current_device())


def machine_name(device: torch.device) -> str:
    """Of the GPU or the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def free_bytes(device: torch.device) -> float:
    """What a run may take; infinite where nobody says."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError):
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return min(float(found[1]) * 1024, _left_in_cgroup())
    return float("inf")


def cpu_quota(own: Path = OWN, root: Path = CGROUPS) -> float | None:
    """Cores' worth of time that the tightest cgroup around this process lets it have; None without a quota."""
    found = [quota for folder in _folders(own, root, "cpu") if (quota := _quota(folder)) is not None]
    return min(found, default=None)


def _quota(folder: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()  # cgroup v2
        return None if quota == "max" else float(quota) / float(period)
    with suppress(OSError, ValueError):
        limit = float((folder / "cpu.cfs_quota_us").read_text())
        return None if limit < 0 else limit / float((folder / "cpu.cfs_period_us").read_text())
    return None


def _left_in_cgroup() -> float:
    left = float("inf")
    for folder in _folders(OWN, CGROUPS, "memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                left = min(left, float((folder / limit).read_text()) - float((folder / used).read_text()))
    return left


def _folders(own: Path, root: Path, controller: str) -> Iterator[Path]:
    """Of the cgroup of this process and those around it, in version 1 and 2."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        top = root if number == "0" else root / controllers
        folder = top / path.lstrip("/")
        while folder != top:
            yield folder
            folder = folder.parent
        yield top
