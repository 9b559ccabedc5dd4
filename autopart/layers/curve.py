"""Seconds over the microbatch size, through measured points.

Between two points a straight line. Above the last one the line of the last two, if it rises; a single point is proportional to
the samples. Below the first one the line of the first two, from where it meets zero samples: not below 0 seconds there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cost_models.measured import Model


@dataclass(frozen=True, slots=True)
class Curve:
    """Points with ascending ``batches``; ``update_s``, of the optimizer, is the same for all: their mean."""

    batches: tuple[int, ...]
    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]
    update_s: float

    def at(self, samples: int) -> tuple[float, float]:
        """Seconds forward and backward."""
        return through(self.batches, self.forward_s, samples), through(self.batches, self.backward_s, samples)

    def model(self, samples: int) -> Model:
        """Where the seconds come from."""
        if samples in self.batches:
            return "measured"
        return "interpolated" if self.covers(samples) else "extrapolated"

    def covers(self, samples: int) -> bool:
        """Whether points lie on both sides of it, or on it."""
        return self.batches[0] <= samples <= self.batches[-1]


def through(batches: Sequence[int], seconds: Sequence[float], samples: int) -> float:
    """The value of the line through these points."""
    if samples in batches:
        return seconds[batches.index(samples)]
    points = [(0, _at_none(batches, seconds)), *zip(batches, seconds, strict=True)]
    after = next((i for i, (batch, _) in enumerate(points) if batch > samples), None)
    (low, low_s), (high, high_s) = points[after - 1 : after + 1] if after else points[-2:]
    slope = (high_s - low_s) / (high - low)
    return low_s + (samples - low) * slope if after else high_s + (samples - high) * max(slope, 0.0)


def _at_none(batches: Sequence[int], seconds: Sequence[float]) -> float:
    """What is left where there are no samples: launches, latencies."""
    if len(batches) == 1:
        return 0.0
    slope = (seconds[1] - seconds[0]) / (batches[1] - batches[0])
    return min(max(seconds[0] - slope * batches[0], 0.0), seconds[0])
