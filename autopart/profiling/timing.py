"""Seconds of a forward and a backward: the minimum of repeats or, under a CPU quota, the mean of a sustained load.

A process under a quota (CFS bandwidth control) runs at full speed until its share of a period is used up, then not at all: a
short op is never or always interrupted, and a minimum of repeats would hide the waiting. What counts there is throughput, the
mean over many periods.

Of ops on one thread the minimum is of CPU time, which is that of a machine with nothing else to do: other processes do not show.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch

T = TypeVar("T")
LEAST_S = 1e-3  # of a repeat: what the clock's own cost does not show in
MOST_S = 4.0  # of all repeats of one sample
FEWEST = 2  # repeats, however long
READS = 100  # of the clock, to find out what one takes


@dataclass(frozen=True)
class Stopwatch:
    """``sustained_s``: how long forward and backward each run on for a mean; 0 for the minimum of ``repeats``. ``cpu_time``: the
    time that this process got, in place of the time that passed.
    """

    device: torch.device
    repeats: int = 5
    sustained_s: float = 0.0
    cpu_time: bool = False

    def seconds(self, forward: Callable[[], T], backward: Callable[[T], object] | None) -> tuple[float, float]:
        """Of a forward and of the backward of its results, in turns as training has them; once more before, to warm up."""
        self._turn(forward, backward)
        first = self._turn(forward, backward)
        turn_s = max(sum(first), 1e-9)
        if self.sustained_s:
            return self._mean(forward, backward, 2 * self.sustained_s)
        turns, read_s = max(1, math.ceil(LEAST_S / turn_s)), self._read_s()
        repeats = max(FEWEST, min(self.repeats, math.floor(MOST_S / (turns * turn_s))))
        times = [self._turns(forward, backward, turns) for _ in range(repeats)]
        return max(0.0, min(f for f, _ in times) - read_s), max(0.0, min(b for _, b in times) - read_s)

    def _mean(self, forward: Callable[[], T], backward: Callable[[T], object] | None, budget_s: float) -> tuple[float, float]:
        ahead = behind = 0.0
        turns, end = 0, time.perf_counter() + budget_s
        while time.perf_counter() < end or not turns:
            took = self._turn(forward, backward)
            ahead, behind, turns = ahead + took[0], behind + took[1], turns + 1
        return ahead / turns, behind / turns

    def _turns(self, forward: Callable[[], T], backward: Callable[[T], object] | None, turns: int) -> tuple[float, float]:
        """Mean of so many."""
        times = [self._turn(forward, backward) for _ in range(turns)]
        return sum(f for f, _ in times) / turns, sum(b for _, b in times) / turns

    def _turn(self, forward: Callable[[], T], backward: Callable[[T], object] | None) -> tuple[float, float]:
        start = self._now()
        made = forward()
        middle = self._now()
        if backward is None:
            return middle - start, 0.0
        backward(made)
        return middle - start, self._now() - middle

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.cpu_time else time.perf_counter()

    def _read_s(self) -> float:
        """What reading the clock takes: a third of a microsecond for CPU time."""
        reads = [self._now() for _ in range(READS)]
        return min(after - before for before, after in pairwise(reads))
