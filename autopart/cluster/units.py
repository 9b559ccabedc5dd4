"""The units of cluster files and reports; ``cost_models.units`` defines them once, for the device catalogue too."""

from __future__ import annotations

from cost_models.units import (
    BANDWIDTH,
    FLOPS,
    MEMORY,
    MEMORY_BANDWIDTH,
    POWER,
    TIME,
    Quantity,
    QuantityError,
    format_bytes,
    format_energy,
    format_flops,
    format_money,
    format_power,
    format_rate,
    format_seconds,
    parse,
    parse_price,
)

__all__ = [
    "BANDWIDTH",
    "FLOPS",
    "MEMORY",
    "MEMORY_BANDWIDTH",
    "POWER",
    "TIME",
    "Quantity",
    "QuantityError",
    "format_bytes",
    "format_energy",
    "format_flops",
    "format_money",
    "format_power",
    "format_rate",
    "format_seconds",
    "parse",
    "parse_price",
]
