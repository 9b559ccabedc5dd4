"""The ranks' limits: of every rank one cgroup under each of the version 1 hierarchies cpu, cpuacct and memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from benchmarks.testbed.spec import Testbed

ROOT = Path("/sys/fs/cgroup")
HIERARCHIES = ("cpu", "cpuacct", "memory")
SHARES = 16384  # of the testbed, where anything else on the machine has 1024: it gets what its quotas say on a busy machine too
RELAY_SHARES = 8192
COMMUNICATION = ("gloo", "pt_gloo")  # how the threads are named that a rank has once it joined
KILL_POLL_S, KILL_POLLS = 0.02, 250


class Cgroups:
    """All cgroups of a run, under ``name``; ``close`` kills what is in them and removes them."""

    def __init__(self, name: str, testbed: Testbed) -> None:
        self._name, self._testbed = name, testbed
        self.started = False  # the quotas

    def of(self, rank: int) -> Mapping[str, Path]:
        """The rank's cgroup by hierarchy."""
        return {hierarchy: ROOT / hierarchy / self._name / f"rank{rank}" for hierarchy in HIERARCHIES}

    def open(self) -> None:
        for hierarchy in HIERARCHIES:
            (ROOT / hierarchy / self._name).mkdir()
        (ROOT / "cpu" / self._name / "cpu.shares").write_text(str(SHARES))
        for rank, (host, _) in enumerate(self._testbed.ranks):
            groups = self.of(rank)
            for group in groups.values():
                group.mkdir()
            memory_bytes = self._testbed.hosts[host].memory_bytes
            if memory_bytes:
                limit_memory(groups["memory"], memory_bytes)

    def add_relays(self, pids: list[int]) -> None:
        """They run beside the ranks and before other work."""
        group = ROOT / "cpu" / self._name / "relays"
        group.mkdir()
        (group / "cpu.shares").write_text(str(RELAY_SHARES))
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))

    def enter(self, rank: int) -> None:
        """Puts this process among the rank's."""
        for group in self.of(rank).values():
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def start_quotas(self) -> None:
        """From now on every rank has its share of a core."""
        for rank, (host, _) in enumerate(self._testbed.ranks):
            share = self._testbed.hosts[host].cpu
            if share:
                period_us = round(self._testbed.period_s * 1e6)
                (self.of(rank)["cpu"] / "cpu.cfs_period_us").write_text(str(period_us))
                (self.of(rank)["cpu"] / "cpu.cfs_quota_us").write_text(str(round(period_us * share)))
        self.started = True

    def joined(self) -> bool:
        """Whether every rank has threads for messages."""
        return all(
            any(name.startswith(COMMUNICATION) for name in self._threads(rank)) for rank in range(len(self._testbed.ranks))
        )

    def _threads(self, rank: int) -> Iterator[str]:
        for thread in (self.of(rank)["cpu"] / "tasks").read_text().split():
            with suppress(OSError):  # it has ended
                yield Path(f"/proc/{thread}/comm").read_text()

    def used(self, rank: int) -> tuple[float, int, bool, float]:
        """Cpu seconds, peak bytes, whether it was killed for its memory, and the fraction of periods in which it was held up."""
        groups = self.of(rank)
        cpu_s = int((groups["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
        peak = int((groups["memory"] / "memory.max_usage_in_bytes").read_text())
        killed = _table(groups["memory"] / "memory.oom_control").get("oom_kill", 0) > 0
        periods = _table(groups["cpu"] / "cpu.stat")
        return cpu_s, peak, killed, periods["nr_throttled"] / max(1, periods["nr_periods"])

    def close(self) -> None:
        remove_cgroups(self._name)


def limit_memory(group: Path, nbytes: int) -> None:
    """Whoever takes more is killed; nothing is swapped out."""
    (group / "memory.limit_in_bytes").write_text(str(nbytes))
    with suppress(OSError):  # a kernel without swap accounting
        (group / "memory.memsw.limit_in_bytes").write_text(str(nbytes))


def _table(path: Path) -> Mapping[str, int]:
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def available() -> bool:
    """Whether this machine has the hierarchies, with quotas."""
    return all((ROOT / name / "cgroup.procs").exists() for name in HIERARCHIES)


def remove_cgroups(name: str) -> None:
    """All of a run, with the processes in them."""
    for hierarchy in HIERARCHIES:
        _remove(ROOT / hierarchy / name)


def runs(prefix: str) -> set[str]:
    """The names of runs that have cgroups."""
    return {path.name for hierarchy in HIERARCHIES for path in (ROOT / hierarchy).glob(f"{prefix}-*")}


def _remove(group: Path) -> None:
    if not group.exists():
        return
    for child in [path for path in group.iterdir() if path.is_dir()]:
        _remove(child)
    for _ in range(KILL_POLLS):
        with suppress(OSError):
            for pid in (group / "cgroup.procs").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            group.rmdir()
        except OSError:  # its processes are not gone yet
            time.sleep(KILL_POLL_S)
        else:
            return
    raise RuntimeError(f"could not remove {group}")
