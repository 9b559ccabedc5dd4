"""Runs a script as one of the launcher's processes: it dies with the launcher, however that dies. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
from pathlib import Path

PARENT = "AUTOPART_PARENT"
PR_SET_PDEATHSIG = 1


def main() -> None:
    _die_with(int(os.environ.pop(PARENT)))
    script, *arguments = sys.argv[1:]
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


def _die_with(parent: int) -> None:
    """Asks Linux for a kill when the parent is gone; elsewhere only the launcher's own clean-up counts."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
