"""What a cost model knows of hardware: device types and links. Seconds, bytes, FLOP/s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class DeviceType:
    """One kind of device. ``flops`` is by dtype name (dense, no sparsity)."""

    name: str
    memory_bytes: int
    memory_bandwidth_bytes_per_s: float
    flops: Mapping[str, float]
    launch_s: float  # time that one op costs whatever its size
    source: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A path between two devices: a message of n bytes takes latency_s + n / bandwidth_bytes_per_s."""

    latency_s: float
    bandwidth_bytes_per_s: float

    def transfer_s(self, nbytes: float) -> float:
        return self.latency_s + nbytes / self.bandwidth_bytes_per_s
