"""What calls between bursts of computing cost, by a clock that can be stopped."""

from __future__ import annotations

from itertools import cycle

import pytest

from autopart.profiling import pace
from autopart.profiling.pace import Pace, own_pace, seconds

LOOK_S = 2e-5  # of the processor, for every look at a clock


class Clock:
    """Of a process that is given ``quota_s`` of every ``period_s``; only computing takes processor time."""

    def __init__(self, quota_s: float, period_s: float = 0.02) -> None:
        self.quota_s, self.period_s = quota_s, period_s
        self.now_s = self.cpu_s = self.used_s = 0.0

    def perf_counter(self) -> float:
        self.compute(LOOK_S)
        return self.now_s

    def process_time(self) -> float:
        self.compute(LOOK_S)
        return self.cpu_s

    def compute(self, cpu_s: float) -> None:
        if self.used_s + cpu_s > self.quota_s:  # not before the next period
            self.wait(self.period_s - self.now_s % self.period_s + 1e-12)
        self.now_s, self.cpu_s, self.used_s = self.now_s + cpu_s, self.cpu_s + cpu_s, self.used_s + cpu_s

    def wait(self, wall_s: float) -> None:
        before = self.now_s // self.period_s
        self.now_s += wall_s
        if self.now_s // self.period_s > before:
            self.used_s = 0.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Two fifths of a core."""
    clock = Clock(0.008)
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_the_share_of_a_core(slow: Clock) -> None:
    mine = own_pace()
    assert mine.share == pytest.approx(0.4, rel=0.05)
    assert mine.limited
    assert mine.burst_s == pytest.approx(sum(pace.BURSTS_S) / len(pace.BURSTS_S), rel=0.05)


def test_a_whole_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "time", Clock(1.0, 1.0))
    assert own_pace().share == pytest.approx(1.0, rel=0.001)
    assert not own_pace().limited


def test_computing_costs_its_time_over_the_share(slow: Clock) -> None:
    """However it falls into the periods: 1 ms takes nothing more while there is quota left, else 12 ms."""
    mine = own_pace()
    took_s, used_s = seconds(lambda: slow.compute(0.001), mine, [mine], alone=5, sustained=600, before=lambda: None)
    assert used_s == pytest.approx(0.001, rel=0.05)
    assert took_s == pytest.approx(0.001 / 0.4, rel=0.1)


def test_what_is_waited_for_takes_its_time(slow: Clock) -> None:
    """A load loses less: it would have stood still for a part of it."""
    mine = own_pace()
    took_s, used_s = seconds(lambda: slow.wait(0.005), mine, [mine], alone=5, sustained=600, before=lambda: None)
    assert took_s == pytest.approx(0.005, rel=0.05)
    assert used_s < 1e-4


def test_the_slower_rank_sets_the_pace(slow: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_alone", lambda *_: (0.0, 0.0))
    mine = own_pace()
    slower = Pace(mine.share, mine.burst_s + 0.004)
    alone_s, beside_s = (
        seconds(lambda: slow.wait(0.05), mine, of_all, alone=1, sustained=600, before=lambda: None)[0]
        for of_all in ([mine], [mine, slower])
    )
    assert beside_s == pytest.approx(alone_s - 0.004, rel=0.02)


def test_the_median_on_whole_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1.0, 1.0)
    monkeypatch.setattr(pace, "time", clock)
    took = cycle((0.003, 0.003, 0.05))
    met = []
    took_s, used_s = seconds(
        lambda: clock.wait(next(took)), Pace(1.0, 0.01), [Pace(0.99, 0.01)], alone=9, sustained=0, before=lambda: met.append(1)
    )
    assert took_s == pytest.approx(0.003, rel=0.05)
    assert used_s < 1e-4
    assert len(met) == 9
