"""A testbed on this machine: its limits as the kernel reads them back, how ranks end, and that nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.testbed.cgroups import runs
from benchmarks.testbed.launch import PREFIX, clean, missing, opened
from benchmarks.testbed.namespaces import namespaces
from benchmarks.testbed.spec import Host, Testbed

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "it can")

MIB = 2**20
START_S = 60.0

LIMITS = """
import os, subprocess, time
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
group = [line.split(":")[2] for line in open("/proc/self/cgroup") if line.split(":")[1] == "cpu"][0].strip()
quota, period = "/sys/fs/cgroup/cpu" + group + "/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu" + group + "/cpu.cfs_period_us"
while open(quota).read().strip() == "-1":
    time.sleep(0.05)
print("share", int(open(quota).read()) / int(open(period).read()))
print("shaped", subprocess.run(["tc", "qdisc", "show", "dev", "eth0"], capture_output=True, text=True).stdout)
message, rank = torch.ones(2**18), dist.get_rank()
dist.barrier()
start = time.perf_counter()
dist.send(message, 1 - rank) if rank == 0 else dist.recv(message, 1 - rank)
dist.recv(message, 1 - rank) if rank == 0 else dist.send(message, 1 - rank)
print("seconds", time.perf_counter() - start)
dist.destroy_process_group()
"""


def left(name: str) -> set[str]:
    """What there is of a run."""
    return {each for each in runs(PREFIX) if each == name} | set(namespaces(name))


def values(lines: tuple[str, ...], key: str) -> list[str]:
    return [line.removeprefix(f"{key} ") for line in lines if line.startswith(f"{key} ")]


def test_ranks_have_the_limits_of_their_hosts() -> None:
    fast = Host("fast", 1, 0.5, bandwidth_bytes_per_s=25e6)
    slow = Host("slow", 1, 0.25, 512 * MIB, bandwidth_bytes_per_s=12.5e6, latency_s=0.02)
    with opened(Testbed((fast, slow))) as running:
        result = running.launch([sys.executable, "-c", LIMITS], timeout_s=180, echo=False)
        assert left(running.name)
    assert not left(running.name)
    first, second = (each.output for each in result.outcomes)
    assert result.status == 0, "\n".join(first + second)
    assert [float(values(each, "share")[0]) for each in (first, second)] == [0.5, 0.25]
    rates = [re.search(r"rate (\S+)", values(each, "shaped")[0]) for each in (first, second)]
    assert [rate and rate[1] for rate in rates] == ["200Mbit", "100Mbit"]
    # Nothing is faster than its delay line and its rate: there and back take two latencies, a megabyte each way 80 ms.
    assert float(values(first, "seconds")[0]) > 2 * 0.02 + 2 * 0.08
    assert all(nbytes > MIB for nbytes in result.sent_bytes.values())
    assert all(each.cpu_s > 0 and each.peak_bytes > 50 * MIB for each in result.outcomes)


def test_a_rank_that_takes_too_much_memory_is_seen_killed() -> None:
    script = "import os\nif os.environ['RANK'] == '1':\n    bytearray(256 << 20)\n    print('too much')\n"
    with opened(Testbed((Host("roomy", 1), Host("tight", 1, memory_bytes=64 * MIB)))) as running:
        result = running.launch([sys.executable, "-c", script], timeout_s=60, echo=False)
    assert [each.oom_killed for each in result.outcomes] == [False, True]
    assert result.failed == 1
    assert result.status == 128 + signal.SIGKILL
    assert not left(running.name)


def test_the_others_are_stopped_when_the_time_is_over() -> None:
    with opened(Testbed((Host("a", 1),))) as running:
        result = running.launch([sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=1, echo=False)
    assert result.timed_out
    assert result.status == 124
    assert result.outcomes[0].stopped


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A testbed in a process of its own, whose one rank sleeps and has said its pid."""
    hosts, script = tmp_path / "hosts.yaml", tmp_path / "sleep.py"
    hosts.write_text("hosts:\n  - {name: a, ranks: 1, cpu: 0.5, latency: 1 ms}\n")
    script.write_text("import os, time\nprint(os.getpid())\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "benchmarks.testbed", "run", str(hosts), str(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        clean()


def rank_of(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline().split()[-1])


def test_a_signal_leaves_nothing(started: subprocess.Popen[str]) -> None:
    rank, name = rank_of(started), f"{PREFIX}-{started.pid}"
    assert left(name)
    started.send_signal(signal.SIGTERM)
    assert started.wait(START_S) == 130
    assert not left(name)
    assert not Path(f"/proc/{rank}").exists()


def test_what_a_killed_one_left_is_cleaned(started: subprocess.Popen[str]) -> None:
    rank, name = rank_of(started), f"{PREFIX}-{started.pid}"
    started.send_signal(signal.SIGKILL)
    started.wait(START_S)
    assert left(name)
    done = subprocess.run([sys.executable, "-m", "benchmarks.testbed", "clean"], capture_output=True, text=True, check=True)
    assert f"removed {name}" in done.stdout
    assert not left(name)
    gone_by = time.monotonic() + START_S
    while Path(f"/proc/{rank}").exists() and time.monotonic() < gone_by:
        time.sleep(0.05)
    assert not Path(f"/proc/{rank}").exists()


def test_one_that_runs_is_not_cleaned() -> None:
    with opened(Testbed((Host("a", 1),))) as running:
        assert f"{PREFIX}-{os.getpid()}" not in clean()
        assert left(running.name)
