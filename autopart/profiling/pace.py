"""Seconds of what ranks do together in the midst of computing: the median of repeats or, under a CPU quota, what it costs a load
where that is more.

A process under a quota (CFS bandwidth control) runs at full speed until its share of a period is used up, then not at all, and
ranks that wait for each other lose what is left of either's period. Between bursts of computing that comes and goes, so that a
median shows the one or the other. What counts in training is throughput: how much longer many bursts take with calls between
them than without, by the rank whose own bursts take longest. A long call takes its time all the same, though a part of it
passes while the load would have stood still.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WHOLE = 0.97  # of a core: a process that gets less is under a quota
SPIN_S = 0.2
BURSTS_S = (0.004, 0.006, 0.009, 0.013, 0.007, 0.011)  # unlike, so that calls come at every point of a period
ROUNDS = 10  # of bursts, to find out what they take
WARM_UP = 2
COMPUTED_S = 0.02  # before a call that is timed alone, as in training

Call = Callable[[], object]


@dataclass(frozen=True)
class Pace:
    """The share of a core that a process gets, and mean seconds of a burst."""

    share: float
    burst_s: float

    @property
    def limited(self) -> bool:
        return self.share < WHOLE


def own_pace() -> Pace:
    """Of this process."""
    start_s, used_s = time.perf_counter(), time.process_time()
    compute(SPIN_S)
    share = min(1.0, (time.process_time() - used_s) / (time.perf_counter() - start_s))
    burst_s, _ = _bursts(share, ROUNDS * len(BURSTS_S), lambda: None)
    return Pace(share, burst_s)


def seconds(call: Call, mine: Pace, of_all: Sequence[Pace], *, alone: int, sustained: int, before: Call) -> tuple[float, float]:
    """A call's seconds, and its processor seconds here. All ranks of it, whose paces are ``of_all``, ask at the same time.

    ``alone`` is how often it is timed after computing and ``before``; ``sustained``, under a quota, after how many bursts.
    """
    for _ in range(WARM_UP):
        call()
    took_s, used_s = _alone(call, alone, before)
    if not any(pace.limited for pace in of_all):
        return took_s, used_s
    loaded_s, used_s = _bursts(mine.share, sustained // len(BURSTS_S) * len(BURSTS_S), call)
    return max(took_s, loaded_s - max(pace.burst_s for pace in of_all), used_s / mine.share), used_s


def _alone(call: Call, repeats: int, before: Call) -> tuple[float, float]:
    times, used = [], []
    for _ in range(repeats):
        compute(COMPUTED_S)
        before()
        start_s, used_s = time.perf_counter(), time.process_time()
        call()
        times.append(time.perf_counter() - start_s)
        used.append(time.process_time() - used_s)
    return statistics.median(times), statistics.median(used)


def _bursts(share: float, count: int, call: Call) -> tuple[float, float]:
    """Mean seconds of a burst with a call after it, and processor seconds of the call."""
    called_s, start_s = 0.0, time.perf_counter()
    for number in range(count):
        _burn(BURSTS_S[number % len(BURSTS_S)] * share)
        used_s = time.process_time()
        call()
        called_s += time.process_time() - used_s
    return (time.perf_counter() - start_s) / count, called_s / count


def compute(seconds: float) -> None:
    """For so long."""
    start_s = time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        pass


def _burn(cpu_s: float) -> None:
    """So many processor seconds."""
    start_s = time.process_time()
    while time.process_time() - start_s < cpu_s:
        pass
