"""Quantities as people write them: "300 GB/s" is bytes, "25 Gb/s" bits, "80 GiB" binary. Inside: bytes, seconds, FLOP/s.

A number without a unit is an error, so is a unit of another quantity, and case counts: b is a bit, B a byte.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Quantity:
    """One kind of quantity: its units by factor, the range that any machine lies in, and an example."""

    what: str
    example: str
    units: Mapping[str, float]
    low: float
    high: float


_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_BYTES = {f"{prefix}B": factor for prefix, factor in (_DECIMAL | _BINARY).items()}
_BITS = {f"{prefix}b": factor / 8 for prefix, factor in _DECIMAL.items()}


def _per_second(units: Mapping[str, float]) -> dict[str, float]:
    return {f"{unit}/s": factor for unit, factor in units.items()}


MEMORY = Quantity("memory", "16 GiB", _BYTES, 2.0**20, 2.0**50)
MEMORY_BANDWIDTH = Quantity("memory bandwidth", "900 GB/s", _per_second(_BYTES), 1e3, 1e18)
BANDWIDTH = Quantity("bandwidth", "25 Gb/s or 300 GB/s", _per_second(_BYTES | _BITS), 1e2, 1e18)
TIME = Quantity("time", "10 us", {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}, 0.0, 3600.0)
POWER = Quantity("power", "400 W", {"W": 1.0, "kW": 1e3}, 1e-3, 1e6)
FLOPS = Quantity("speed", "15.7 TFLOP/s", {f"{prefix}FLOP/s": factor for prefix, factor in _DECIMAL.items()}, 1e3, 1e21)

_ALL = (MEMORY, BANDWIDTH, TIME, FLOPS, POWER)
_NUMBER = re.compile(r"\s*([-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+|\.?inf|\.?nan)(?:e[-+]?[0-9]+)?)\s*(.*?)\s*", re.IGNORECASE)


class QuantityError(ValueError):
    """A text that is no such quantity: what is wrong, and what to write."""

    def __init__(self, what: str, remedy: str) -> None:
        """Both are sentences without the place, which the reader of the file knows."""
        super().__init__(what)
        self.what, self.remedy = what, remedy


def parse(text: str, quantity: Quantity) -> float:
    """The quantity in bytes, bytes/s, seconds or FLOP/s; QuantityError where the text is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise QuantityError(f"{text!r} is not a {quantity.what}", f"Write a number and a unit, such as {quantity.example}.")
    number, unit = match[1].replace("_", "").replace(".nan", "nan").replace(".inf", "inf"), match[2]
    if not unit:
        raise QuantityError(f"{text!r} is a number without a unit", f"Write the unit too, such as {quantity.example}.")
    if unit not in quantity.units:
        raise QuantityError(f"{unit!r} is not a unit of {quantity.what}", _unit_remedy(unit, quantity))
    return _checked(_times(number, quantity.units[unit]), text, quantity)


def parse_price(text: str) -> tuple[float, str]:
    """What an hour costs, and the currency by its three letters: "3.67 USD/h" is (3.67, "USD")."""
    match = _NUMBER.fullmatch(text)
    unit = match[2] if match else ""
    asked = f"{unit[:3].upper()}/h" if re.fullmatch(r"[A-Za-z]{3}/[hH]", unit) else "USD/h"
    return parse(text, Quantity("price", f"3.67 {asked}", {asked: 1.0}, 1e-6, 1e6)), asked[:3]


def _times(number: str, factor: float) -> float:
    """The float nearest to the product: "50 us" is 5e-05 and not the next one."""
    value = float(number)
    return float(Decimal(number) * Decimal(repr(factor))) if math.isfinite(value) else value


def _checked(value: float, text: str, quantity: Quantity) -> float:
    if not math.isfinite(value):
        raise QuantityError(f"{text!r} is not a finite {quantity.what}", f"Write a finite number, such as {quantity.example}.")
    if value < 0 or (value == 0 and quantity.low > 0):
        wrong = "can't be negative" if quantity.low == 0 else "must be positive"
        raise QuantityError(f"{text!r}: a {quantity.what} {wrong}", f"Write one such as {quantity.example}.")
    if not quantity.low <= value <= quantity.high:
        size = "small" if value < quantity.low else "large"
        raise QuantityError(
            f"{text!r} is too {size} for a {quantity.what}", f"Check number and unit; an example is {quantity.example}."
        )
    return value


def _unit_remedy(unit: str, quantity: Quantity) -> str:
    """Which unit was meant: another case, a slip, or another quantity altogether."""
    same = [known for known in quantity.units if known.lower() == unit.lower()]
    if same:
        meanings = " or ".join(f"{known} ({_meaning(known)})" for known in same)
        return f"Case counts: write {meanings}."
    owners = [other.what for other in _ALL if unit in other.units and other is not quantity]
    if owners:
        return f"{unit} is a {_kind(unit, owners[0])}; write a {quantity.what} such as {quantity.example}."
    near = difflib.get_close_matches(unit, quantity.units, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}An example is {quantity.example}."


def _kind(unit: str, owner: str) -> str:
    return "number of bits a second" if unit.endswith("b/s") else f"unit of {owner}"


def _meaning(unit: str) -> str:
    if unit.endswith("FLOP/s") or unit in TIME.units:
        return unit
    return "bits" if "b" in unit else "bytes"


def format_bytes(nbytes: float) -> str:
    """Binary, three digits: "1.5 GiB"."""
    return _scaled(nbytes, (("B", 1.0), ("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30), ("TiB", 2.0**40), ("PiB", 2.0**50)))


def format_seconds(seconds: float) -> str:
    """Three digits: "12.3 ms"."""
    return _scaled(seconds, (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0)))


def format_rate(bytes_per_s: float) -> str:
    """Bytes a second, decimal, three digits: "3.13 GB/s"."""
    return _scaled(bytes_per_s, (("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9), ("TB/s", 1e12)))


def format_power(watts: float) -> str:
    """Three digits: "2.8 kW"."""
    return _scaled(watts, (("W", 1.0), ("kW", 1e3), ("MW", 1e6)))


def format_energy(joules: float) -> str:
    """Three digits: "1.25 kJ"."""
    return _scaled(joules, (("mJ", 1e-3), ("J", 1.0), ("kJ", 1e3), ("MJ", 1e6), ("GJ", 1e9)))


def format_money(amount: float, currency: str) -> str:
    """Three digits, two decimals at least: "41.20 USD", "0.0123 USD"."""
    decimals = max(2, 2 - math.floor(math.log10(amount))) if 0 < amount < math.inf else 2
    whole, _, part = f"{amount:.{decimals}f}".partition(".")
    return f"{whole}.{part.rstrip('0'):0<2} {currency}" if part else f"{whole} {currency}"


def format_flops(flops: float) -> str:
    """Operations a second, three digits: "15.7 TFLOP/s"."""
    return _scaled(flops, (("FLOP/s", 1.0), ("kFLOP/s", 1e3), ("MFLOP/s", 1e6), ("GFLOP/s", 1e9), ("TFLOP/s", 1e12)))


def _scaled(value: float, units: tuple[tuple[str, float], ...]) -> str:
    """With the largest unit that leaves at least 1 once rounded to three digits."""
    if not math.isfinite(value):
        return str(value)
    chosen = units[0]
    for unit in units[1:]:
        if float(f"{abs(value) / unit[1]:.3g}") >= 1:
            chosen = unit
    scaled = value / chosen[1]
    digits = f"{scaled:.3g}" if abs(scaled) < 999.5 else f"{scaled:.0f}"
    return f"{digits} {chosen[0]}" if value else f"0 {'s' if chosen[0] == 'ns' else chosen[0]}"
