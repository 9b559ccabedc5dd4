"""The few system calls that a testbed needs beside ``ip`` and ``tc``."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from pathlib import Path

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG, PR_SET_TIMERSLACK = 1, 29

_libc = ctypes.CDLL(None, use_errno=True)


def command(*words: object, namespace: str | None = None, check: bool = True) -> str:
    """What a command prints; RuntimeError with its complaint where it fails."""
    line = [*(("ip", "netns", "exec", namespace) if namespace else ()), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(line)}: {done.stderr.strip()}")
    return done.stdout


def enter_namespace(name: str) -> None:
    """The network of this process becomes that of the namespace."""
    file = os.open(NAMESPACES / name, os.O_RDONLY)
    try:
        if _libc.setns(file, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
    finally:
        os.close(file)


def die_with_parent() -> None:
    """The kernel kills this process when its parent ends, however that happens."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wake_exactly() -> None:
    """Timers of this process fire within a microsecond, not fifty."""
    _libc.prctl(PR_SET_TIMERSLACK, 1000)
