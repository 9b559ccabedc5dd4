"""The local launcher: results, failures, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autopart.errors import RunError
from autopart.runtime.launch import launch

MEET = """
import os, sys, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.tensor([float(os.environ["RANK"])])
dist.all_reduce(x)
open(sys.argv[1] + os.environ["RANK"], "w").write(f"{x.item()} {os.environ['OMP_NUM_THREADS']}")
dist.destroy_process_group()
"""


def test_processes_meet(tmp_path: Path) -> None:
    script = tmp_path / "meet.py"
    script.write_text(MEET)
    launch(script, 3, [str(tmp_path / "out")], timeout_s=60)
    assert [(tmp_path / f"out{rank}").read_text().split()[0] for rank in range(3)] == ["3.0"] * 3


def test_first_failure_is_raised_and_the_others_end(tmp_path: Path) -> None:
    script = tmp_path / "fail.py"
    script.write_text(
        "import os, sys, time\n"
        f"open(r'{tmp_path}/pid' + os.environ['RANK'], 'w').write(str(os.getpid()))\n"
        "while len([f for f in os.listdir(r'" + str(tmp_path) + "') if f.startswith('pid')]) < 3: time.sleep(0.01)\n"
        "if os.environ['RANK'] == '1': sys.exit('autopart: rank 1: the weights are missing')\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(RunError, match=r"process 1 ended with status 1\n  autopart: rank 1: the weights are missing"):
        launch(script, 3, timeout_s=50)
    assert not any(_alive(int((tmp_path / f"pid{rank}").read_text())) for rank in range(3))


def test_a_killed_process_is_named(tmp_path: Path) -> None:
    script = tmp_path / "die.py"
    script.write_text(
        "import os, signal, time\nif os.environ['RANK'] == '0': os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)\n"
    )
    with pytest.raises(RunError, match="process 0 was killed by SIGKILL"):
        launch(script, 2, timeout_s=50)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_launcher(tmp_path: Path, end: signal.Signals) -> None:
    script = tmp_path / "sleep.py"
    script.write_text(
        f"import os, time\nopen(r'{tmp_path}/pid' + os.environ['RANK'], 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background job ignores it
    program = f"{heard}; from pathlib import Path; from autopart.runtime.launch import launch; launch(Path(r'{script}'), 2)"
    launcher = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    files = [tmp_path / f"pid{rank}" for rank in range(2)]
    try:
        _until(lambda: all(file.exists() and file.read_text() for file in files), 40)
        launcher.send_signal(end)
        launcher.wait(20)
        _until(lambda: not any(_alive(int(file.read_text())) for file in files), 10)
    finally:
        launcher.kill()
        launcher.wait()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z"


def _until(condition, seconds: float) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
