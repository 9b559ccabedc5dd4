"""What a rank's tensors take falls with the tensor degree and the ZeRO level as the plan says."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import pytest

from benchmarks.tensor.memory import TENSOR, ZERO, Peak, gpt2, peak_of

CASES = {**TENSOR, **ZERO}
WITHIN = 0.1


@cache
def peak(title: str) -> Peak:
    return peak_of(gpt2(layers=2), CASES[title])


@pytest.mark.parametrize("title", CASES)
def test_peak_is_as_predicted(title: str) -> None:
    assert peak(title).measured == pytest.approx(peak(title).predicted, rel=WITHIN)


@pytest.mark.parametrize("cases", [TENSOR, ZERO], ids=["tensor", "zero"])
def test_peak_falls_as_predicted(cases: dict[str, object]) -> None:
    base, *others = map(peak, cases)
    for other in others:
        assert other.measured / base.measured == pytest.approx(other.predicted / base.predicted, rel=WITHIN)


def test_every_degree_and_every_level_takes_less() -> None:
    for titles in (["one rank", "tensor 2", "tensor 4"], [title for title in ZERO if "tensor" not in title]):
        for more, less in pairwise(titles):
            assert peak(less).measured < peak(more).measured
