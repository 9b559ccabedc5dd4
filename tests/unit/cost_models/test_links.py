"""Fitting a + n/B."""

from __future__ import annotations

import random

import pytest

from cost_models.links import fit

SIZES = (64, 2**16, 2**18, 2**20, 2**22)


def test_a_line_is_found() -> None:
    found = fit(SIZES, [1e-4 + n / 1e8 for n in SIZES])
    assert found.fixed_s == pytest.approx(1e-4)
    assert found.link.bandwidth_bytes_per_s == pytest.approx(1e8)
    assert found.worst_residual < 1e-6
    assert found.seconds(2**20) == pytest.approx(1e-4 + 2**20 / 1e8)


def test_small_messages_weigh_as_much_as_large_ones() -> None:
    """Noise of ten percent everywhere: both numbers come out within about as much."""
    draw = random.Random(0)
    for _ in range(50):
        found = fit(SIZES, [(1e-4 + n / 1e8) * draw.uniform(0.9, 1.1) for n in SIZES])
        assert found.fixed_s == pytest.approx(1e-4, rel=0.12)
        assert found.link.bandwidth_bytes_per_s == pytest.approx(1e8, rel=0.12)
        assert found.worst_residual < 0.25


def test_neither_number_is_negative() -> None:
    falling = fit((100, 200), (2.0, 1.0))
    assert falling.byte_s == 0
    assert 1.0 < falling.fixed_s < 2.0
    steep = fit((100, 200), (1.0, 4.0))
    assert steep.fixed_s == 0
    assert steep.byte_s > 0
