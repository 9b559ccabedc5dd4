"""A machine without an accelerator: cores as affinity and quota allow, their memory, what they measure."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from autopart.cgroups import cpu_quota, groups
from autopart.cluster.detect.found import Machine, OwnType, Speed, Surroundings, Wire
from cost_models.compute import EFFICIENCY

UNLIMITED = 2**60  # version 1 writes a number near 2**63 where there is no limit

# One process a core, all at once, one thread each: what a rank gets while its neighbours work too.
PROGRAM = """
import time, numpy
a = numpy.ones((512, 512), numpy.float32)
b = numpy.ones((8 << 20,), numpy.float64)
c = numpy.empty_like(b)
def best(work, seconds):
    least, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        least = min(least, time.perf_counter() - start)
    return least
a @ a
c[:] = b
print(2 * 512**3 / best(lambda: a @ a, 0.5), 2 * b.nbytes / best(lambda: numpy.copyto(c, b), 0.5))
"""
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_machine(around: Surroundings) -> Machine:
    """All cores, each a device of a type of this machine's own."""
    quota = cpu_quota(around.root)
    cores = max(1, min(around.affinity, int(quota))) if quota else around.affinity
    memory = memory_bytes(around.root) // cores
    speed = around.measure(cores)
    peak, wide = speed.flops / EFFICIENCY["matmul"].flops, speed.bandwidth_bytes_per_s / EFFICIENCY["elementwise"].bandwidth
    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '-', around.host)}-cpu"
    lines = {
        "memory": f"{memory // 2**20} MiB",
        "memory_bandwidth": f"{wide / 1e9:.3g} GB/s",
        "flops": f"{{float32: {peak / 1e9:.3g} GFLOP/s}}",
        "kind": "cpu",
        "source": "measured by autopart devices --detect",
    }
    did = f"{speed.flops / 1e9:.3g} GFLOP/s of a float32 matmul and {speed.bandwidth_bytes_per_s / 1e9:.3g} GB/s of a copy"
    taken = f"{EFFICIENCY['matmul'].flops:.0%} and {EFFICIENCY['elementwise'].bandwidth:.0%}"
    remarks = (
        f"{name}: one of {cores} core{'s' * (cores != 1)}, all at work: measured {did};",
        f"the cost model takes {taken} of what the file says.",
    )
    return Machine((name,) * cores, speed.loopback if cores > 1 else None, (OwnType(name, lines),), remarks)


# Quotas


def memory_bytes(root: Path) -> int:
    """What the machine has, or the control groups allow."""
    total = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    found = [int(total[1]) * 1024] if total else []
    for group in groups("memory", root):
        limits = (_text(group / name) for name in ("memory.max", "memory.limit_in_bytes"))
        found += [int(limit) for limit in limits if limit.isdigit() and int(limit) < UNLIMITED]
    assert found, "a machine has memory"
    return min(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


# Measuring


def measure(cores: int) -> Speed:
    """About two seconds of all cores."""
    environ = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    command = [sys.executable, "-c", PROGRAM]
    started = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
    rates = [process.communicate()[0].split() for process in started]
    flops, copied = (min(float(rate[place]) for rate in rates) for place in (0, 1))
    return Speed(flops, copied, loopback())


def loopback(nbytes: int = 64 * 2**20, trips: int = 200) -> Wire:
    """Between two ends of a TCP connection of this machine, the way that gloo goes."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as near:
        far, _ = server.accept()
        with far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answering = threading.Thread(target=_answer, args=(far, nbytes, trips))
            answering.start()
            start = time.perf_counter()
            for _ in range(trips):
                near.sendall(b"x")
                near.recv(1)
            latency_s = (time.perf_counter() - start) / trips / 2
            start = time.perf_counter()
            near.sendall(bytes(nbytes))
            near.recv(1)
            seconds = time.perf_counter() - start
            answering.join()
    return Wire(nbytes / seconds, latency_s, "measured over a TCP connection of this machine to itself")


def _answer(end: socket.socket, nbytes: int, trips: int) -> None:
    """Sends every byte back, then one for a whole message."""
    for _ in range(trips):
        end.sendall(end.recv(1))
    left, room = nbytes, bytearray(2**20)
    while left:
        left -= end.recv_into(room, min(left, len(room)))
    end.sendall(b"x")
