"""A delay line between two TAP devices, as a process of its own, for kernels without netem.

Frames are read from one device, kept for the delay, and written to the other. A frame that finds a device full is lost, as on a
wire; TCP sends it again.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

from benchmarks.testbed.kernel import die_with_parent, enter_namespace, wake_exactly

TAP, NO_HEADER, SET_INTERFACE = 0x2, 0x1000, 0x400454CA  # linux/if_tun.h
LARGEST_FRAME, BURST = 65600, 64
READY = b"ready\n"

Queue = deque[tuple[float, bytes]]


def start_relay(ends: tuple[tuple[str, str], tuple[str, str]], delay_s: float) -> subprocess.Popen[bytes]:
    """Makes both devices, each a namespace and a name, and returns the process that moves frames between them."""
    arguments = [word for end in ends for word in end]
    command = [sys.executable, "-m", "benchmarks.testbed.relay", *arguments, str(delay_s)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None, "a pipe was asked for"
    with process.stdout as out:
        started = out.readline() == READY
    if not started:
        process.kill()
        process.wait()
        raise RuntimeError(f"the relay between {ends[0]} and {ends[1]} did not start")
    return process


def main() -> None:
    first_namespace, first, second_namespace, second, delay = sys.argv[1:]
    die_with_parent()
    wake_exactly()
    files = [_open_tap(first_namespace, first), _open_tap(second_namespace, second)]
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    _relay(files, float(delay))


def _open_tap(namespace: str, name: str) -> int:
    enter_namespace(namespace)
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, SET_INTERFACE, struct.pack("16sH", name.encode(), TAP | NO_HEADER))
    return file


def _relay(files: list[int], delay_s: float) -> None:
    queues: dict[int, Queue] = {file: deque() for file in files}
    target = dict(zip(files, reversed(files), strict=True))
    while True:
        due_s = min((queue[0][0] for queue in queues.values() if queue), default=None)
        ready, _, _ = select.select(files, [], [], None if due_s is None else max(0.0, due_s - time.monotonic()))
        for file in ready:
            _read(file, queues[file], delay_s)
        now_s = time.monotonic()
        for file, queue in queues.items():
            while queue and queue[0][0] <= now_s:
                _write(target[file], queue.popleft()[1])


def _read(file: int, queue: Queue, delay_s: float) -> None:
    """What has arrived, with the time at which it goes on."""
    try:
        for _ in range(BURST):
            frame = os.read(file, LARGEST_FRAME)
            queue.append((time.monotonic() + delay_s, frame))
    except BlockingIOError:
        return
    except OSError:  # the device is not up yet
        time.sleep(0.001)


def _write(file: int, frame: bytes) -> None:
    try:
        os.write(file, frame)
    except OSError:  # full or down: the frame is lost
        return


if __name__ == "__main__":
    main()
