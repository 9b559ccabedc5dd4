"""The units of cluster files and reports; ``cost_models.units`` defines them once, for the device catalogue too."""

from __future__ import annotations

from cost_models.units import (
    BANDWIDTH,
    FLOPS,
    MEMORY,
    MEMORY_BANDWIDTH,
    TIME,
    Quantity,
    QuantityError,
    format_bytes,
    format_flops,
    format_rate,
    format_seconds,
    parse,
)

__all__ = [
    "BANDWIDTH",
    "FLOPS",
    "MEMORY",
    "MEMORY_BANDWIDTH",
    "TIME",
    "Quantity",
    "QuantityError",
    "format_bytes",
    "format_flops",
    "format_rate",
    "format_seconds",
    "parse",
]
