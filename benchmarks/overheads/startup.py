"""Seconds of starts and of imports, each command a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.overheads import plans
from benchmarks.overheads.cases import Case
from benchmarks.overheads.study import packaged, saved
from benchmarks.versus.balance import even
from benchmarks.versus.work import Work

MODEL = Case("startup", "unet", 16, 2)
"""Written in torch alone: importing a library of models is no part of a start."""

DDP = Path(__file__).parent / "plain_ddp.py"
FIRST_STEP = b"step    1"
PYTHON = (sys.executable, "-c")
IMPORTS = {
    "python": (*PYTHON, "pass"),
    "autopart --help": (sys.executable, "-m", "autopart", "--help"),
    "import autopart": (*PYTHON, "import autopart"),
    "import torch": (*PYTHON, "import torch.distributed"),
    "import autopart.runtime": (*PYTHON, "import autopart.runtime"),
}
HELP_WITHOUT_TORCH = """
import sys
from autopart.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
sys.exit("torch" in sys.modules)
"""


def starts(work: Path, launches: int) -> dict[str, Any]:
    """By command and launch: seconds until it says that the first step is done, and processor seconds until its end."""
    cuts = even(len(Work(MODEL.model, MODEL.batch_size).model().blocks), MODEL.stages)
    package = packaged(MODEL, cuts, work)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(MODEL.stages))
    data = (str(package / "weights.pt"), str(package / "batch.pt"))
    commands = {
        "torchrun train.py": (*torchrun, str(package / "train.py"), "--steps", "1", "--optimizer", "sgd", "--backend", "gloo"),
        "torchrun, plain DDP": (*torchrun, str(DDP), plans.model_file(MODEL.model), *data),
        "autopart run": (sys.executable, "-m", "autopart", "run", str(package.with_suffix(".json")), "--steps", "1"),
    }
    return _turns("startup", commands, FIRST_STEP, work, launches)


def imports(work: Path, launches: int) -> dict[str, Any]:
    """As ``starts``, until the end of each command."""
    bare = subprocess.run((*PYTHON, HELP_WITHOUT_TORCH), stdout=subprocess.DEVNULL, env=_environment(), check=False)
    return {**_turns("imports", IMPORTS, b"", work, launches), "help_imports_torch": bool(bare.returncode)}


def _turns(part: str, commands: Mapping[str, Sequence[str]], until: bytes, work: Path, launches: int) -> dict[str, Any]:
    each = [
        saved(work / f"{part}-{number}.json", lambda: {name: timed(command, until) for name, command in commands.items()})
        for number in range(launches)
    ]
    return {"part": part, "launches": each}


def timed(command: Sequence[str], until: bytes = b"") -> dict[str, list[float]]:
    """Seconds until the command prints a line that starts with ``until`` ("": until it ends), and processor seconds of it and
    of all that it started and waited for, until its end.
    """
    wall_s, start = 0.0, perf_counter()
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=_environment())
        assert process.stdout is not None, "a pipe was asked for"
        with process.stdout as stdout:
            for line in stdout:
                if until and not wall_s and line.startswith(until):
                    wall_s = perf_counter() - start
        _, status, used = os.wait4(process.pid, 0)
        stderr.seek(0)
        said = stderr.read()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or (until and not wall_s):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{said.decode(errors='replace')[-2000:]}")
    return {"wall_s": [wall_s or perf_counter() - start], "cpu_s": [used.ru_utime + used.ru_stime]}


def _environment() -> dict[str, str]:
    """One thread a process, messages over the loopback, and models that find their chain."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    return {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **os.environ, "PYTHONPATH": path}
