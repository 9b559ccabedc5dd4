"""The machine that is measured: its name and its memory."""

from __future__ import annotations

import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

from autopart.cgroups import groups
from autopart.errors import InputError
from cost_models.hardware import DeviceType


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


def _left_in_cgroup() -> float:
    left = float("inf")
    for folder in groups("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with suppress(OSError, ValueError):
                left = min(left, float((folder / limit).read_text()) - float((folder / used).read_text()))
    return left
