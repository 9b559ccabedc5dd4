"""How fast a processor is just now. One that others share is a tenth or a fifth slower some minutes later, with the same code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

import torch

YARDSTICK = ".yardstick"  # what a file of its seconds ends in
SIDE, PRODUCTS = 256, 120
ELEMENTS, PASSES = 2**20, 90  # 4 MiB


def yardstick_s() -> float:
    """Processor seconds of some products of matrices and some passes over memory, of which training is made."""
    matrix, memory = torch.ones(SIDE, SIDE), torch.zeros(ELEMENTS)
    start_s = time.process_time()
    for _ in range(PRODUCTS):
        matrix @ matrix
    for _ in range(PASSES):
        memory.add_(1.0)
    return time.process_time() - start_s


@dataclass(frozen=True, slots=True)
class Measured:
    """Steps of a plan, seconds by round, and in each round the yardstick on every rank."""

    steps_s: Sequence[Sequence[float]]
    yardsticks_s: Sequence[Sequence[float]]

    @property
    def clock_s(self) -> float:
        """The median step by the clock."""
        return median(step for steps in self.steps_s for step in steps)

    def at(self, yardstick_s: float) -> float:
        """The median step of processors as fast as they were when the yardstick took so long."""
        each = zip(self.steps_s, self.yardsticks_s, strict=True)
        return median(step * yardstick_s / mean(now) for steps, now in each for step in steps)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
