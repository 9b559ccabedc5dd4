"""Units, both ways."""

from __future__ import annotations

import pytest

from autopart.cluster.listing import format_catalogue
from autopart.cluster.tariffs import format_draw, format_draw_rate
from autopart.cluster.units import (
    BANDWIDTH,
    FLOPS,
    MEMORY,
    TIME,
    Quantity,
    QuantityError,
    format_bytes,
    format_flops,
    format_money,
    format_rate,
    format_seconds,
    parse,
    parse_price,
)
from cost_models.catalogue import catalogue


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("300 GB/s", BANDWIDTH, 300e9),
        ("200 Gb/s", BANDWIDTH, 25e9),
        ("1 GiB/s", BANDWIDTH, 2**30),
        ("80 GiB", MEMORY, 80 * 2**30),
        ("80 GB", MEMORY, 80e9),
        ("512MiB", MEMORY, 512 * 2**20),
        ("3 us", TIME, 3e-6),
        ("50 µs", TIME, 50e-6),
        ("0 s", TIME, 0.0),
        ("1.5 ms", TIME, 1.5e-3),
        ("7 ns", TIME, 7e-9),
        ("15.7 TFLOP/s", FLOPS, 15.7e12),
        ("50 GFLOP/s", FLOPS, 50e9),
        ("1e3 GB/s", BANDWIDTH, 1e12),
        (" 1_000 MB/s ", BANDWIDTH, 1e9),
    ],
)
def test_parse(text: str, quantity: Quantity, value: float) -> None:
    assert parse(text, quantity) == value


@pytest.mark.parametrize("text", ["", "GB/s", "1 2 GB/s", "one GB/s", "1,5 GB/s", "0x10 GB/s", "--1 GB/s", "1e GB/s"])
def test_not_a_quantity(text: str) -> None:
    with pytest.raises(QuantityError):
        parse(text, BANDWIDTH)


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1 MiB"),
        (1000 * 2**10, "1000 KiB"),
        (80 * 2**30, "80 GiB"),
        (1.234 * 2**40, "1.23 TiB"),
        (-1536, "-1.5 KiB"),
    ],
)
def test_format_bytes(nbytes: float, text: str) -> None:
    assert format_bytes(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (0.19, "190 ms"),
        (0.0123, "12.3 ms"),
        (5e-5, "50 us"),
        (7e-9, "7 ns"),
        (0.9999, "1 s"),
        (3600, "3600 s"),
    ],
)
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_format_unbounded() -> None:
    assert format_seconds(float("inf")) == "inf"


def test_format_rates() -> None:
    assert format_rate(25e9 / 8) == "3.12 GB/s"
    assert format_rate(2039e9) == "2.04 TB/s"
    assert format_flops(15.7e12) == "15.7 TFLOP/s"
    assert format_flops(989.5e12) == "990 TFLOP/s"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0.00 USD"),
        (41.2, "41.20 USD"),
        (1234.5678, "1234.57 USD"),
        (0.4, "0.40 USD"),
        (0.36, "0.36 USD"),
        (0.12345, "0.123 USD"),
        (0.0123, "0.0123 USD"),
        (1.04e-6, "0.00000104 USD"),
        (float("inf"), "inf USD"),
    ],
)
def test_format_money(amount: float, text: str) -> None:
    assert format_money(amount, "USD") == text


def test_format_draws() -> None:
    assert format_draw_rate(2800.0, "J") == "2.8 kW"
    assert format_draw_rate(41.2, "EUR") == "41.20 EUR/h"
    assert format_draw(1250.0, "J") == "1.25 kJ"
    assert format_draw(0.0025, "EUR") == "0.0025 EUR"


def test_prices() -> None:
    assert parse_price("3.67 USD/h") == (3.67, "USD")
    assert parse_price("0.5EUR/h") == (0.5, "EUR")
    for wrong in ("3.67", "3.67 USD", "USD/h", "3.67 usd/h", "3.67 DOLLARS/h", "0 USD/h", "-1 USD/h", "inf USD/h", "1e9 USD/h"):
        with pytest.raises(QuantityError):
            parse_price(wrong)


def test_listing_holds_every_type_and_fits_the_screen() -> None:
    lines = format_catalogue().splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert {line.split()[0] for line in lines[1 : 1 + len(catalogue())]} == set(catalogue())
