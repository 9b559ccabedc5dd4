"""What a cost model knows of hardware: device types and links. Seconds, bytes, FLOP/s."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cost_models.measured import Measurements

Kind = Literal["accelerator", "cpu"]


@dataclass(frozen=True)
class DeviceType:
    """One kind of device. ``flops`` is by dtype name (dense, no sparsity), with "tf32" where convolutions may use it.

    How products of matrices fill it (``cost_models.tiles``): ``units`` is the number of its multiprocessors,
    ``cache_bandwidth_bytes_per_s`` that of their common cache, ``reached`` the fraction of ``flops`` that the best shapes reach,
    by dtype, and "attention" in 16 bits. What is not known is 0 or left out.

    ``measured``: what somebody measured on it, or on a device like it; prices then come from there (``cost_models.price``).
    """

    name: str
    memory_bytes: int
    memory_bandwidth_bytes_per_s: float
    flops: Mapping[str, float] = field(hash=False)
    launch_s: float  # time that one op costs whatever its size
    source: str = ""
    kind: Kind = "accelerator"
    note: str = ""  # what a user of this type must know
    power_w: float | None = None  # of the whole board, at most; None: not known
    message_cpu_s: float = 0.0  # time that sending or receiving a message takes from computing: each,
    byte_cpu_s: float = 0.0  # and a byte
    units: int = 0
    cache_bandwidth_bytes_per_s: float = 0.0
    reached: Mapping[str, float] = field(default_factory=dict, hash=False)
    measured: Measurements | None = field(default=None, repr=False)

    def message_work_s(self, nbytes: float, messages: int = 1) -> float:
        """Time that one end of messages of ``nbytes`` together takes from computing."""
        return messages * self.message_cpu_s + nbytes * self.byte_cpu_s


@dataclass(frozen=True, slots=True)
class Link:
    """A path between two devices: a message of n bytes takes latency_s + n / bandwidth_bytes_per_s."""

    latency_s: float
    bandwidth_bytes_per_s: float

    def transfer_s(self, nbytes: float) -> float:
        """Seconds for one message that has the path to itself."""
        return self.latency_s + nbytes / self.bandwidth_bytes_per_s


UNUSED_LINK = Link(0.0, math.inf)
"""Stands where no message can pass: the interconnect of a single device, the network of a single node."""
