"""How well predictions match: errors, and whether they put plans in the right order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt


@dataclass(frozen=True, slots=True)
class Pair:
    """A plan: its step as measured and as predicted, in seconds."""

    key: str
    measured_s: float
    predicted_s: float

    @property
    def error(self) -> float:
        """Relative to what was measured."""
        return self.predicted_s / self.measured_s - 1


def mean_error(pairs: Sequence[Pair]) -> float:
    """Of absolute relative errors."""
    return sum(abs(pair.error) for pair in pairs) / len(pairs)


def worst(pairs: Sequence[Pair]) -> Pair:
    return max(pairs, key=lambda pair: abs(pair.error))


def kendall(pairs: Sequence[Pair]) -> float:
    """Kendall's tau-b: 1 where both orders are the same, -1 where they are opposite; ties count for neither."""
    agree = ties_measured = ties_predicted = 0
    couples = list(combinations(pairs, 2))
    for one, other in couples:
        measured = _sign(one.measured_s - other.measured_s)
        predicted = _sign(one.predicted_s - other.predicted_s)
        agree += measured * predicted
        ties_measured += not measured
        ties_predicted += not predicted
    scale = sqrt((len(couples) - ties_measured) * (len(couples) - ties_predicted))
    return agree / scale if scale else 0.0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
