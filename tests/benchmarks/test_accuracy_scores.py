"""Errors and orders of predictions, by hand."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.scores import Pair, kendall, mean_error, worst


def pairs(*both: tuple[float, float]) -> list[Pair]:
    return [Pair(f"model {number}", measured, predicted) for number, (measured, predicted) in enumerate(both)]


def test_errors() -> None:
    found = pairs((1.0, 1.1), (2.0, 1.0), (4.0, 4.0))
    assert [pair.error for pair in found] == pytest.approx([0.1, -0.5, 0.0])
    assert mean_error(found) == pytest.approx(0.2)
    assert worst(found).key == "model 1"


def test_orders() -> None:
    assert kendall(pairs((1, 10), (2, 20), (3, 30))) == 1
    assert kendall(pairs((1, 30), (2, 20), (3, 10))) == -1
    assert kendall(pairs((1, 10), (2, 30), (3, 20))) == pytest.approx(1 / 3)


def test_ties_count_for_neither_order() -> None:
    """Of three couples one is tied in prediction: 2 agree, out of sqrt(3 * 2)."""
    assert kendall(pairs((1, 10), (2, 10), (3, 20))) == pytest.approx(2 / 6**0.5)


def test_the_picture_has_a_point_for_every_plan() -> None:
    drawn = draw(pairs((0.1, 0.11), (0.5, 0.4)))
    assert drawn.count("<title>") == 2
    assert "model 1 -20%" in drawn
