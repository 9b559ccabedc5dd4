"""CPU quotas by the files of either version of cgroups, and what they make of the stopwatch."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from autopart.cgroups import cpu_quota, memory_limit
from autopart.profiling import session
from autopart.profiling.timing import Stopwatch
from cost_models.hardware import DeviceType

BOX = DeviceType("box-cpu", 2**31, 1e10, {"float32": 5e10}, launch_s=5e-6, kind="cpu")


def cgroups(folder: Path, own: str, files: dict[str, str]) -> Path:
    """A made-up /proc/self/cgroup and /sys/fs/cgroup."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text(own)
    root = folder / "sys/fs/cgroup"
    root.mkdir(parents=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "20000 100000\n", "a/cpu.max": "150000 100000\n"}, 0.2),
        ("4:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "8000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "20000\n"}, 0.4),
        ("1:cpu:/x\n0::/\n", {"cpu/x/cpu.cfs_quota_us": "-1\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, None),
        ("2:memory:/x\n", {"memory/x/cpu.max": "1 2\n"}, None),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_the_quota(own: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert cpu_quota(cgroups(tmp_path, own, files)) == quota


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"}, 2**30),
        ("0::/a/b\n", {"a/b/memory.max": "4096\n", "a/memory.max": "1073741824\n"}, 4096),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "8192\n"}, 8192),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ("5:memory:/x/y\n", {"memory/x/y/memory.limit_in_bytes": "8192\n", "memory/x/memory.limit_in_bytes": "4096\n"}, 4096),
        ("5:cpu:/x\n", {"cpu/x/memory.limit_in_bytes": "8192\n"}, None),
        ("0::/a\n", {"b/memory.max": "4096\n"}, None),
        ("0::/\n", {"memory.max": "nonsense\n"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_the_memory_limit(own: str, files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    """The tightest of the own group and those around it, of either version."""
    assert memory_limit(cgroups(tmp_path, own, files)) == limit


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert memory_limit(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "asked", "sustained"), [(None, None, False), (0.4, None, True), (0.4, False, False), (None, True, True)]
)
def test_under_a_quota_the_mean_counts(
    quota: float | None, asked: bool | None, sustained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "cpu_quota", lambda: quota)
    assert bool(session.stopwatch(BOX, 5, asked).sustained_s) == sustained


class Clock:
    """A clock that only what is timed moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)

    def takes(self, *seconds: float) -> object:
        """Something that takes these times in turn, the last one from then on."""
        left = list(seconds)

        def run(*_: object) -> None:
            self.now_s += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_the_least_of_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first turn of each way is to warm up, the second to choose the number of turns."""
    clock = Clock(monkeypatch)
    watch = Stopwatch(torch.device("cpu"), repeats=3)
    forward, backward = clock.takes(9, 0.2, 0.3, 0.1, 0.2), clock.takes(9, 0.5, 0.7, 0.6, 0.4)
    assert watch.seconds(forward, backward) == pytest.approx((0.1, 0.4))  # type: ignore[arg-type]


def test_the_mean_of_a_sustained_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota that stops every fourth forward for 0.3 s: the mean is what counts."""
    clock = Clock(monkeypatch)
    watch = Stopwatch(torch.device("cpu"), sustained_s=1.0)
    times = [0.1, 0.1, *[0.1, 0.1, 0.1, 0.4] * 50]
    found = watch.seconds(clock.takes(*times), None)  # type: ignore[arg-type]
    assert found[0] == pytest.approx(0.175, rel=0.15)
    assert found[1] == 0.0


def test_short_work_is_timed_in_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 us a turn: a hundred turns to a repeat, so that a clock of a microsecond is good enough."""
    clock = Clock(monkeypatch)
    before = clock.now_s
    found = Stopwatch(torch.device("cpu"), repeats=2).seconds(clock.takes(1e-5), None)  # type: ignore[arg-type]
    assert found[0] == pytest.approx(1e-5)
    assert clock.now_s - before == pytest.approx(2e-5 + 2 * 1e-3)


def test_long_work_is_repeated_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    Stopwatch(torch.device("cpu"), repeats=50).seconds(clock.takes(3.0), None)  # type: ignore[arg-type]
    assert clock.now_s == pytest.approx(4 * 3.0)
