from __future__ import annotations

from random import Random

import pytest

from autopart.blocks.layout import dense, in_order_of, reshaped
from autopart.blocks.repeats import Repeat, repeats


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("abc", []),
        ("ehhhhf", [Repeat(1, 5, 1)]),
        ("clclclx", [Repeat(0, 6, 2)]),
        ("aabaabaab", [Repeat(0, 9, 3)]),
        ("clclc", [Repeat(0, 5, 2)]),
        ("hhhxgggg", [Repeat(0, 3, 1), Repeat(4, 8, 1)]),
    ],
)
def test_repeats(text: str, found: list[Repeat]) -> None:
    assert list(repeats([ord(c) for c in text], [1.0] * len(text))) == found


def test_the_heavier_of_two_readings_wins() -> None:
    light_pairs = repeats([1, 1, 2, 1, 1, 2], [1, 1, 9, 1, 1, 9])
    assert light_pairs == (Repeat(0, 6, 3),)


def test_units_count_from_an_offset() -> None:
    repeat = Repeat(0, 7, 2)
    assert [repeat.units(0), repeat.units(1)] == [3, 3]


def test_random_sequences_hold_what_is_claimed() -> None:
    rng = Random(0)
    for _ in range(300):
        symbols = [rng.randrange(3) for _ in range(rng.randrange(1, 24))]
        end = 0
        for repeat in repeats(symbols, [1.0] * len(symbols)):
            assert repeat.start >= end
            assert repeat.units(0) >= 2
            assert all(symbols[i] == symbols[i + repeat.period] for i in range(repeat.start, repeat.stop - repeat.period))
            end = repeat.stop


def test_reshaped_strides() -> None:
    assert reshaped((3, 4), (4, 1), (2, 6)) == (6, 1)
    assert reshaped((3, 4), (1, 3), (12,)) is None
    assert reshaped((2, 3, 4), (24, 4, 1), (2, 12)) == (24, 1)
    assert reshaped((2, 3, 4), (24, 8, 1), (2, 12)) is None
    assert reshaped((1, 4), (99, 1), (4, 1)) is not None


def test_elementwise_results_lie_in_the_order_of_their_input() -> None:
    assert in_order_of((2, 3, 4), dense((2, 3, 4))) == (12, 4, 1)
    assert in_order_of((2, 4, 3), (12, 1, 4)) == (12, 1, 4)
    assert in_order_of((2, 4, 3), (96, 2, 32)) == (12, 1, 4)
    assert in_order_of((2, 3), (0, 1)) == (3, 1)
