"""From times of messages to the two numbers of a link: a + n/B (Hockney), by least squares of relative residuals.

A message of 64 bytes that is off by a tenth weighs as much as one of four megabytes that is, and twice too long as much as twice
too short. Each time is one of many already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cost_models.hardware import Link

ROUNDS = 30
LEAST_SLOPE, LEAST_S = 1e-15, 1e-12


@dataclass(frozen=True, slots=True)
class Fit:
    """Seconds of n bytes: ``fixed_s`` + n ``byte_s``; residuals are relative to what was measured."""

    fixed_s: float
    byte_s: float
    mean_residual: float
    worst_residual: float

    @property
    def link(self) -> Link:
        return Link(self.fixed_s, 1 / max(self.byte_s, LEAST_SLOPE))

    def seconds(self, nbytes: float) -> float:
        return self.fixed_s + nbytes * self.byte_s


def fit(nbytes: Sequence[float], seconds: Sequence[float]) -> Fit:
    """The line through these points, neither number below 0. Needs two sizes at least, and times above 0."""
    sizes, times = np.asarray(nbytes, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    assert len(set(sizes)) > 1, "a line needs two sizes"
    assert (times > 0).all(), "a message takes time"
    columns = np.stack([np.ones_like(sizes), sizes], axis=1)
    line, fitted = np.zeros(2), times
    for _ in range(ROUNDS):
        scale = 1 / np.sqrt(times * fitted)  # of (fitted - times)^2 / (fitted * times), with the fit of the round before
        line = _not_negative(columns * scale[:, None], times * scale)
        fitted = np.maximum(columns @ line, LEAST_S)
    residuals = np.abs(fitted / times - 1)
    return Fit(float(line[0]), float(line[1]), float(residuals.mean()), float(residuals.max()))


def _not_negative(rows: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of rows @ line = wanted with both numbers at least 0."""
    both, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    if (both >= 0).all():
        return np.asarray(both, dtype=np.float64)
    kept = int(both.argmax())
    found = np.zeros(2)
    found[kept] = (rows[:, kept] * wanted).sum() / (rows[:, kept] ** 2).sum()
    return found
