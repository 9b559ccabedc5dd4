"""The device catalogue as text, for ``autopart devices``."""

from __future__ import annotations

from collections.abc import Iterable

from autopart.cluster.units import format_bytes
from cost_models.catalogue import catalogue
from cost_models.hardware import DeviceType

_SPEEDS = ("float64", "float32", "tf32", "bfloat16")
_HEADER = ("type", "memory", "GB/s", *_SPEEDS, "W", "source")


def format_catalogue() -> str:
    """All of it: a table, at most 100 columns wide, and the notes."""
    return format_types(catalogue().values())


def format_types(types: Iterable[DeviceType]) -> str:
    """One line a type (speeds in TFLOP/s, dense; "-" where there is none or nobody says), then what must be known of some."""
    devices = tuple(types)
    rows = [_HEADER, *(_row(device) for device in devices)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = [_aligned(row, widths) for row in rows]
    notes = [f"{device.name}: {device.note}" for device in devices if device.note]
    return "\n".join([*lines, "", "Speeds in TFLOP/s, dense; float32 without TF32. W: at most, of the whole board.", *notes])


def _row(device: DeviceType) -> tuple[str, ...]:
    bandwidth = f"{device.memory_bandwidth_bytes_per_s / 1e9:.0f}"
    speeds = [f"{device.flops[dtype] / 1e12:.4g}" if dtype in device.flops else "-" for dtype in _SPEEDS]
    power = f"{device.power_w:.0f}" if device.power_w else "-"
    return (device.name, format_bytes(device.memory_bytes), bandwidth, *speeds, power, device.source)


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    """Names and sources to the left, numbers to the right."""
    first, *numbers, last = row
    cells = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
    return "  ".join([first.ljust(widths[0]), *cells, last]).rstrip()
