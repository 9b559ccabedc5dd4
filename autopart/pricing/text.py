"""What blocks cost, for people: one a line, on every device type, for one sample."""

from __future__ import annotations

from collections.abc import Iterable

from autopart.cluster.units import format_bytes, format_seconds
from autopart.pricing.table import BlockTable
from cost_models.hardware import DeviceType


def format_costs(table: BlockTable, devices: Iterable[DeviceType]) -> str:
    """Forward and backward seconds by device type, parameters and their state, activations kept."""
    types = list(dict.fromkeys(devices))
    lines = [f"block  {', '.join(f'{device.name} forward + backward' for device in types)}, static, kept"]
    for index, block in enumerate(table.blocks.blocks):
        each = [table.seconds(device, 1) for device in types]
        times = [f"{format_seconds(float(s.forward[index]))} + {format_seconds(float(s.backward[index]))}" for s in each]
        kept = float(table.kept(types[0], 1, recompute=False).inflight[index])
        static = format_bytes(float(table.static[index]))
        lines.append(f"{index:5}  {', '.join(times)}, {static}, {format_bytes(kept)}  {block.name}")
    return "\n".join(lines) + "\n"
