"""One process for each used rank, all on this machine; what torchrun does over several."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from autopart.errors import RunError

POLL_S = 0.05
GRACE_S = 5.0  # that the others get to stop by themselves once one has failed
TAIL = 12  # lines of a failed rank's messages that are shown


def launch(script: Path, processes: int, arguments: Sequence[str] = (), *, quiet: bool = False) -> None:
    """Run ``python script arguments`` as ``processes`` ranks; their standard output is this process's, or nobody's if ``quiet``.

    Returns when all have ended well. The first that fails ends the others, and its last messages are the error. None of them
    outlives this call, however it ends.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="autopart-") as folder:
        started: list[subprocess.Popen[bytes]] = []
        logs = [Path(folder, f"rank{rank}") for rank in range(processes)]
        try:
            for rank, log in enumerate(logs):
                with log.open("wb") as errors:
                    started.append(_start([str(script), *arguments], place(rank, processes, port), errors, quiet))
            failed = _first_failure(started)
        finally:
            _end(started)
        if failed is not None:
            raise RunError(f"process {failed} of {processes} failed: {_message(logs[failed], started[failed].returncode)}")


def place(rank: int, processes: int, port: int) -> dict[str, str]:
    """The variables that torchrun sets."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _start(command: Sequence[str], variables: Mapping[str, str], errors: IO[bytes], quiet: bool) -> subprocess.Popen[bytes]:
    environment = {"OMP_NUM_THREADS": "1", **os.environ, **variables}
    stdout = subprocess.DEVNULL if quiet else None
    return subprocess.Popen([sys.executable, *command], env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors)


def _first_failure(started: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Which process failed first, once all have ended or one has failed."""
    while True:
        codes = [process.poll() for process in started]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed:
            return failed[0]
        if all(code == 0 for code in codes):
            return None
        time.sleep(POLL_S)


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs: asked first, then killed."""
    running = [process for process in started if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + GRACE_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _message(log: Path, code: int) -> str:
    """The last lines of what a failed process said."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    ended = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
    return "\n  ".join([ended, *(line.removeprefix("autopart: ") for line in lines[-TAIL:])])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
