"""Runs a command on every rank of a testbed and says what each rank used and how it ended.

The quotas start when all ranks have joined: importing torch takes two seconds of a whole core.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from benchmarks.testbed.cgroups import Cgroups, available, remove_cgroups, runs
from benchmarks.testbed.kernel import die_with_parent, enter_namespace
from benchmarks.testbed.namespaces import UPLINK, Network, namespaces, remove_namespaces
from benchmarks.testbed.spec import Testbed

PREFIX = "autopart-tb"
PORT = 29500
GRACE_S = 10.0  # that the others have when one rank failed
JOIN_S = 60.0  # ranks that never join get their quotas then
POLL_S = 0.1
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """Of one rank. ``stopped``: ended by the testbed, after another failed or in the end of the time."""

    rank: int
    host: str
    status: int
    stopped: bool
    oom_killed: bool
    peak_bytes: int
    cpu_s: float
    throttled: float
    output: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """Of a launch. ``failed``: the first rank that did; ``sent_bytes`` by host; ``idle`` is the machine's meanwhile."""

    outcomes: tuple[Outcome, ...]
    failed: int | None
    timed_out: bool
    sent_bytes: Mapping[str, int]
    idle: float

    @property
    def status(self) -> int:
        """As of a shell: that of the first rank that failed; 124 after the time."""
        if self.timed_out:
            return 124
        status = 0 if self.failed is None else self.outcomes[self.failed].status
        return status if status >= 0 else 128 - status

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def missing() -> str:
    """Why this machine can't run a testbed; empty where it can."""
    if sys.platform != "linux" or os.geteuid():
        return "a testbed needs root on Linux"
    return "" if available() else "a testbed needs cgroup version 1 with cpu, cpuacct and memory"


@dataclass(eq=False)
class _Process:
    """A rank under way: its lines so far, and the last one that is not whole."""

    rank: int
    popen: subprocess.Popen[bytes]
    lines: list[str] = field(default_factory=list)
    rest: bytes = b""
    stopped: bool = False

    @property
    def out(self) -> IO[bytes]:
        assert self.popen.stdout is not None, "a pipe was asked for"
        return self.popen.stdout


class Running:
    """An open testbed, for one ``launch``: what a rank used is counted from its beginning. Use ``opened``."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed
        self.name = f"{PREFIX}-{os.getpid()}"
        self.network, self.cgroups = Network(self.name, testbed), Cgroups(self.name, testbed)
        self._processes: list[_Process] = []

    def launch(self, command: Sequence[str], *, timeout_s: float | None = None, echo: bool = True) -> Result:
        """``command`` on every rank, to its end."""
        before = _machine_ticks()
        self._processes = [_Process(rank, self._start(rank, command)) for rank in range(len(self.testbed.ranks))]
        failed, timed_out = self._watch(timeout_s, echo)
        idle, total = (after - start for after, start in zip(_machine_ticks(), before, strict=True))
        outcomes = tuple(self._outcome(process) for process in self._processes)
        return Result(outcomes, failed, timed_out, self.network.sent_bytes(), idle / max(1, total))

    def _start(self, rank: int, command: Sequence[str]) -> subprocess.Popen[bytes]:
        host, _ = self.testbed.ranks[rank]

        def between_fork_and_exec() -> None:
            die_with_parent()
            os.setsid()  # Ctrl-C reaches the testbed alone
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            self.cgroups.enter(rank)
            enter_namespace(self.network.namespace(host))

        return subprocess.Popen(
            command,
            env=self._variables(rank),
            preexec_fn=between_fork_and_exec,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _variables(self, rank: int) -> Mapping[str, str]:
        """torchrun's, and those that bind a rank to its host's uplink and to one thread."""
        host, local = self.testbed.ranks[rank]
        return {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "RANK": str(rank),
            "WORLD_SIZE": str(len(self.testbed.ranks)),
            "LOCAL_RANK": str(local),
            "LOCAL_WORLD_SIZE": str(self.testbed.hosts[host].ranks),
            "GROUP_RANK": str(host),
            "GROUP_WORLD_SIZE": str(len(self.testbed.hosts)),
            "MASTER_ADDR": self.network.address(0),
            "MASTER_PORT": str(PORT),
            "GLOO_SOCKET_IFNAME": UPLINK,
            "TORCH_CPP_LOG_LEVEL": "ERROR",  # addresses have no names here, and c10d says so at length
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
        }

    def _watch(self, timeout_s: float | None, echo: bool) -> tuple[int | None, bool]:
        """Until all ranks have ended and said all: the first that failed, and whether the time was over first."""
        start_s = time.monotonic()
        end_s = None if timeout_s is None else start_s + timeout_s
        failed: int | None = None
        timed_out = False
        with selectors.DefaultSelector() as selector:
            for process in self._processes:
                selector.register(process.out, selectors.EVENT_READ, process)
            while selector.get_map() or any(process.popen.poll() is None for process in self._processes):
                self._read(selector, echo)
                now_s = time.monotonic()
                if not self.cgroups.started and (self.cgroups.joined() or now_s - start_s > JOIN_S):
                    self.cgroups.start_quotas()
                bad = [process.rank for process in self._processes if process.popen.poll()]
                if bad and failed is None and not timed_out:
                    failed, end_s = bad[0], min(end_s or now_s + GRACE_S, now_s + GRACE_S)
                if end_s is not None and now_s > end_s:
                    timed_out, end_s = failed is None, None
                    self._stop()
        return failed, timed_out

    def _read(self, selector: selectors.BaseSelector, echo: bool) -> None:
        for key, _ in selector.select(POLL_S):
            process: _Process = key.data
            data = os.read(process.out.fileno(), 65536)
            *lines, process.rest = (process.rest + data).split(b"\n")
            if not data:
                selector.unregister(process.out)
                process.out.close()
                lines += [process.rest] if process.rest else []
            for line in lines:
                process.lines.append(line.decode(errors="replace"))
                if echo:
                    host, _ = self.testbed.ranks[process.rank]
                    print(f"[{process.rank} {self.testbed.hosts[host].name}] {process.lines[-1]}", flush=True)

    def _stop(self) -> None:
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.kill()
                process.stopped = True

    def _outcome(self, process: _Process) -> Outcome:
        cpu_s, peak_bytes, killed, throttled = self.cgroups.used(process.rank)
        name = self.testbed.hosts[self.testbed.ranks[process.rank][0]].name
        status = process.popen.returncode
        return Outcome(process.rank, name, status, process.stopped, killed, peak_bytes, cpu_s, throttled, tuple(process.lines))

    def close(self) -> None:
        """Removes everything, after a start that failed half-way too."""
        self._stop()
        for process in self._processes:
            process.popen.wait()
            process.out.close()
        with ExitStack() as stack:
            stack.callback(self.network.close)
            stack.callback(self.cgroups.close)


@contextmanager
def opened(testbed: Testbed) -> Iterator[Running]:
    """A testbed that is there inside of the ``with`` and gone after it, on SIGINT, SIGTERM and SIGHUP too."""
    running = Running(testbed)
    with _signals_raise():
        try:
            running.network.open()
            running.cgroups.open()
            running.cgroups.add_relays([relay.pid for relay in running.network.relays])
            yield running
        finally:
            running.close()


@contextmanager
def _signals_raise() -> Iterator[None]:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clean() -> list[str]:
    """Removes what testbeds left behind whose process is gone; their names."""
    found = runs(PREFIX) | {"-".join(name.split("-")[:3]) for name in namespaces(PREFIX)}
    dead = [name for name in sorted(found) if not Path(f"/proc/{name.split('-')[2]}").exists()]
    for name in dead:
        remove_cgroups(name)
        remove_namespaces(name)
    return dead


def _machine_ticks() -> tuple[int, int]:
    """Idle and all, of all cores since the machine started; stolen time and waiting for disks is not idle."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3], sum(ticks)
