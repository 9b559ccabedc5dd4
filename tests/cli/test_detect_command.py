"""`autopart devices --detect`: this machine's cores, really measured, in a file that `plan` takes; what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopart.cluster.detect import detect as detection
from autopart.cluster.detect.found import Speed, Surroundings, Wire
from autopart.cluster.load import load_cluster
from tests.commands import MODEL, assert_refused, run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own; no tool is found, and nobody has allocated anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    return tmp_path


def test_the_file_of_this_machine_is_planned_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(capsys, "devices", "--detect", "-o", "cluster.yaml")
    assert (done.status, done.out) == (0, ""), done
    (group,) = load_cluster("cluster.yaml").groups
    assert group.device.kind == "cpu"
    assert group.device.source == "measured by autopart devices --detect"
    Path("model.py").write_text(MODEL)
    planned = run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "4")
    assert planned.status == 0, planned.err


def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores of 8 GiB together, not measured, and no card that says how fast it is."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8388608 kB\n")
    speed = Speed(70e9, 8e9, Wire(2e9, 1e-5, "measured"))
    monkeypatch.setattr(detection, "here", lambda: Surroundings(lambda _: None, {}, tmp_path, 2, "box", lambda _: speed))


def test_it_is_printed(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    another(here, monkeypatch)
    done = run(capsys, "devices", "--detect")
    assert done.status == 0, done.err
    assert "devices: {type: box-cpu, count: 2}" in done.out


def test_what_is_missing_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there, with a comment in the place of what nobody knows, and can't be used as it is."""
    another(here, monkeypatch)
    Path("hosts").write_text("box slots=2\nother slots=2\n")
    done = run(capsys, "devices", "--detect", "--hostfile", "hosts", "-o", "cluster.yaml")
    assert done.status == 1
    assert "taken to be like box, not looked at: other" in done.err
    line = 1 + next(
        n for n, text in enumerate(Path("cluster.yaml").read_text().splitlines()) if text.startswith("    # network:")
    )
    assert f"autopart: cluster.yaml: line {line}: the network of node is not known" in done.err
    Path("model.py").write_text(MODEL)
    refused = run(capsys, "plan", "model.py", "--devices", "cluster.yaml", "--batch-size", "4")
    assert_refused(refused, "node 'node' has no network")
    filled = Path("cluster.yaml").read_text().replace("# network:", "network:")
    Path("cluster.yaml").write_text(filled)
    (group,) = load_cluster("cluster.yaml").groups
    assert (group.count, group.devices_per_node) == (2, 2)


def test_what_belongs_to_detect(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(run(capsys, "devices", "-o", "cluster.yaml"), "--output is for --detect")
    assert_refused(run(capsys, "devices", "--hostfile", "hosts"), "--hostfile is for --detect")
    assert_refused(run(capsys, "devices", "--detect", "--hostfile", "hosts"), "hosts", "can't be read")
    Path("hosts").write_text("a slots=x\n")
    assert_refused(run(capsys, "devices", "--detect", "--hostfile", "hosts"), "hosts:1", "is not a host and its slots")
    assert_refused(run(capsys, "devices", "--detect", "-o", "missing/cluster.yaml"), "there is no directory missing")
