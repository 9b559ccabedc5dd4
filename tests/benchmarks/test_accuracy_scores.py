"""Errors and orders of predictions, by hand."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.picture import draw
from benchmarks.accuracy.scores import Pair, kendall, mean_error, worst
from benchmarks.accuracy.yardstick import Measured, yardstick_s


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


def test_steps_of_a_slower_moment_count_for_less() -> None:
    """A third round on a processor of half the speed."""
    found = Measured([[1.0, 1.1], [1.2, 0.9], [2.0, 2.2]], [[0.1, 0.1], [0.11, 0.09], [0.25, 0.15]])
    assert found.clock_s == pytest.approx(1.15)
    assert found.at(0.1) == pytest.approx(1.05)
    assert found.at(0.05) == pytest.approx(0.525)
    assert Measured(**found.to_json()) == found


def test_the_yardstick_is_processor_time() -> None:
    assert 0 < yardstick_s() < 10
