"""Runs a script in several processes on this machine, as torchrun would: what ``autopart run`` uses.

If one process fails the others are killed and its error is raised. On Ctrl-C, or if the launcher itself is killed, none is
left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

import torch.distributed as dist

from autopart.errors import RunError
from autopart.runtime import child

POLL_S, GRACE_S = 0.05, 1.0
SHOWN_LINES = 30
AFTERMATH = "stopped while"  # how a rank says that another one died


def launch(
    script: Path,
    processes: int,
    arguments: Sequence[str] = (),
    *,
    quiet: bool = False,
    timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Returns when all processes have ended well. The first one's standard output is this process's own, unless ``quiet``."""
    store = _store()
    with tempfile.TemporaryDirectory(prefix="autopart-") as folder:
        logs = [Path(folder) / f"{rank}.err" for rank in range(processes)]
        running: list[subprocess.Popen[bytes]] = []
        try:
            for rank, log in enumerate(logs):
                with log.open("wb") as stderr:
                    variables = _variables(rank, processes, store.port) | dict(environment or {})
                    running.append(_start(script, arguments, variables, stderr, quiet=quiet or rank > 0))
            _wait(running, logs, timeout_s)
        finally:
            _kill(running)


def _store() -> dist.TCPStore:  # type: ignore[name-defined]
    """Where the processes meet; on a port that is free and stays so."""
    timeout = timedelta(seconds=300)
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timeout)  # type: ignore[attr-defined]


def _variables(rank: int, processes: int, port: int) -> dict[str, str]:
    """torchrun's, for processes that meet at the launcher's store over the loopback interface."""
    root = str(Path(__file__).resolve().parents[2])
    return {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo" if sys.platform == "linux" else "lo0",
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
        child.PARENT: str(os.getpid()),
    }


def _start(
    script: Path, arguments: Sequence[str], variables: Mapping[str, str], stderr: IO[bytes], *, quiet: bool
) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches the launcher alone."""
    command = [sys.executable, child.__file__, str(script), *arguments]
    stdout = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(
        command, env=dict(variables), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True
    )


def _wait(running: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], timeout_s: float | None) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while any(process.poll() is None for process in running):
        if any(process.poll() for process in running):
            time.sleep(GRACE_S)  # the others may be about to say more
            break
        if deadline is not None and time.monotonic() > deadline:
            raise RunError(f"the run did not end within {timeout_s:.0f} s", remedy="Give it more time, or fewer steps.")
        time.sleep(POLL_S)
    failed = [rank for rank, process in enumerate(running) if process.poll()]
    if failed:
        raise _failure(running, logs, failed)


def _failure(running: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], failed: Sequence[int]) -> RunError:
    """The error of the process that failed first: killed ones, then those that do not merely miss another."""
    said = {rank: logs[rank].read_text(errors="replace").strip() for rank in failed}
    rank = min(failed, key=lambda rank: (running[rank].returncode > 0, AFTERMATH in said[rank], rank))
    status = running[rank].returncode
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    text = said[rank][said[rank].rfind("autopart: ") :] if "autopart: " in said[rank] else said[rank]
    lines = text.splitlines()[-SHOWN_LINES:]
    remedy = "It may have run out of memory." if status == -signal.SIGKILL else ""
    return RunError("\n  ".join([f"process {rank} {how}", *lines]), remedy=remedy)


def _kill(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """All of them with whatever they started, and waits until they are gone."""
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for process in running:
        process.wait()
