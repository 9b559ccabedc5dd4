"""`autopart profile --links` on processes of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopart.cli import main
from autopart.cluster.load import load_cluster
from autopart.runtime.launch import launch

FILE = """\
nodes:
  - name: box
    devices: {type: cpu-core, count: 2}
    interconnect: {bandwidth: 1 Mb/s, latency: 1 s}
"""
SCRIPT = "import sys\nfrom autopart.cli import main\nsys.exit(main(sys.argv[1:]))\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    Path("cluster.yaml").write_text(FILE)
    Path("run.py").write_text(SCRIPT)
    return tmp_path


def test_links_are_measured_and_written(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    launch(Path("run.py"), 2, ["profile", "--links", "--devices", "cluster.yaml", "-o", "measured.yaml"], timeout_s=120)
    link = load_cluster("measured.yaml").link(0, 1)
    assert link.latency_s < 0.1  # a second, says the file
    assert link.bandwidth_bytes_per_s > 1e6
    assert load_cluster("measured.yaml").device(0).message_cpu_s > 0
    shown = capfd.readouterr().out
    assert shown.count("inside box") == 1  # one rank speaks
    assert "all_reduce" in shown


def test_alone_it_says_how_to_start_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--links", "--devices", "cluster.yaml"]) == 1
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().err


def test_as_many_processes_as_ranks(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main(["profile", "--links", "--devices", "cluster.yaml"]) == 1
    assert "3 processes were started, the cluster has 2 ranks" in capsys.readouterr().err


def test_a_file_that_can_not_be_written_is_said_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--links", "--devices", "cluster.yaml", "-o", "nowhere/measured.yaml"]) == 2
    assert "there is no directory" in capsys.readouterr().err
