"""Bytes as straight lines over the samples of a microbatch: what is walked once is known at any number of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

FITTED, CHECKED = (2, 66), (1, 1021)  # samples; of one alone nothing is broadcast


@dataclass(frozen=True, slots=True)
class Line:
    """``constant + slope * samples``"""

    constant: float
    slope: float = 0.0

    def __add__(self, other: Line) -> Line:
        return Line(self.constant + other.constant, self.slope + other.slope)

    def __sub__(self, other: Line) -> Line:
        return Line(self.constant - other.constant, self.slope - other.slope)

    def times(self, factor: float) -> Line:
        return Line(self.constant * factor, self.slope * factor)

    def at(self, samples: int) -> float:
        return self.constant + self.slope * samples


NOTHING = Line(0.0)


def total(lines: Iterable[Line]) -> Line:
    return sum(lines, NOTHING)


def most(lines: Iterable[Line], samples: int) -> float:
    """The highest at so many samples."""
    return max(line.at(samples) for line in lines)


class NotAffineError(Exception):
    """A quantity that is no line."""


def through(quantity: Callable[[int], float]) -> Line:
    """The line that a quantity is; NotAffineError where it is none."""
    low, high = (quantity(samples) for samples in FITTED)
    slope = (high - low) / (FITTED[1] - FITTED[0])
    found = Line(low - slope * FITTED[0], slope)
    if any(found.at(samples) != quantity(samples) for samples in CHECKED):
        raise NotAffineError
    return found
