"""The contenders of an overhead train the same thing, and the report counts what was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from autopart.runtime.launch import launch
from benchmarks.overheads import worker
from benchmarks.overheads.cases import CASES, OURS, Case, runs
from benchmarks.overheads.plans import cut_names
from benchmarks.overheads.report import failures, ratios, steps, tables
from benchmarks.overheads.startup import timed
from benchmarks.overheads.study import packaged
from benchmarks.pages import dated, filled

THIN = Case("pipelines", "thin", 16, 3)


def test_contenders_of_a_pipeline_have_the_same_loss(tmp_path: Path) -> None:
    """Of the same weights and batch; three stages, so that one has both neighbours."""
    cuts = [2, 5]
    job = {"model": "thin", "batch": THIN.batch_size, "warm_up": 3, "rounds": 2, "steps": 1}
    chosen = runs(THIN, packaged(THIN, cuts, tmp_path), cuts)
    (tmp_path / "job.json").write_text(json.dumps(job | {"runs": chosen}))
    launch(Path(worker.__file__), 3, [str(tmp_path / "job.json"), str(tmp_path / "result.json")], quiet=True, timeout_s=300)
    found = json.loads((tmp_path / "result.json").read_text())
    assert set(found) == {OURS, "by hand", "torch"}
    for name, each in found.items():
        assert each["losses"] == pytest.approx(found[OURS]["losses"], rel=1e-5)
        assert each["losses"][0] > each["losses"][-1], f"{name} does not train"
        assert len(each["cpu_s"]) == len(each["wall_s"]) == 2


def test_every_case_has_a_name_of_its_own_and_ours_first() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert next(run["name"] for run in runs(case, Path("package"), [1])) == OURS
        assert case.batch_size % case.microbatches == 0


def test_plans_are_cut_where_chains_are() -> None:
    names = ["blocks.0.a", "blocks.0.b", "blocks.1", "view", "blocks.2.x", "blocks.10", "loss"]
    assert cut_names(names, [1, 3]) == [["blocks.0.a", "blocks.0.b"], ["blocks.1", "view", "blocks.2.x"], ["blocks.10", "loss"]]
    assert cut_names(names, []) == [names]


def _record(*launches: dict[str, object]) -> dict[str, object]:
    head = {"part": "pipelines", "model": "thin", "batch_size": 16, "stages": 2, "microbatches": 8}
    return head | {"launches": list(launches)}


def _seconds(*cpu: float) -> dict[str, list[float]]:
    return {"cpu_s": list(cpu), "wall_s": [2 * each for each in cpu]}


def test_a_ratio_is_of_neighbours_in_time() -> None:
    """The machine got four times slower during the first launch."""
    record = _record(
        {OURS: _seconds(1.1, 2.4, 4.0), "torch": _seconds(1.0, 2.0, 4.0)}, {OURS: _seconds(3.0), "torch": _seconds(2.0)}
    )
    assert ratios(record, "torch", "cpu_s") == pytest.approx([1.1, 1.5])
    (row,) = steps([record])[2:]
    assert row.startswith("| thin, 16 samples, 2 stages | torch | 2000.0 | 1.30 (1.10-1.50)")


def test_what_failed_is_said_and_not_counted() -> None:
    good = {OURS: _seconds(1.0), "torch": _seconds(2.0)}
    record = _record(good, {OURS: _seconds(1.0), "torch": {"error": "no C++ compiler\nat all"}}, {"error": "hung"})
    assert ratios(record, "torch", "cpu_s") == [0.5]
    assert [failures(each) for each in record["launches"]] == [{}, {"torch": "no C++ compiler\nat all"}, {"": "hung"}]  # type: ignore[attr-defined]
    text = "\n".join(tables([record]))
    assert "failed: no C++ compiler |" in text
    assert "0.50 (0.50-0.50)" in text


def test_the_page_keeps_what_is_around_its_tables() -> None:
    raw = {"date": "2026-01-02", "cores": 2, "machine": "box", "torch": "2.13", "command": "make it"}
    start, stop = "<!-- overheads: written by the command -->", "<!-- overheads: end -->"
    lines = [dated(raw), "", *tables([_record()])]
    first = filled(f"# before\n{start}\nold\n{stop}\nafter\n", "overheads", lines)
    assert first.startswith(f"# before\n{start}\n")
    assert first.endswith(f"{stop}\nafter\n")
    assert "old" not in first
    assert "2026-01-02, 2 cores (box)" in first
    assert filled(first, "overheads", lines) == first


def test_a_command_that_does_not_get_there_has_no_time() -> None:
    found = timed((sys.executable, "-c", "print('made'); print('step    1  loss')"), b"step    1")
    assert found["wall_s"][0] > 0
    assert len(found["cpu_s"]) == 1
    with pytest.raises(SystemExit, match="ended with 0"):
        timed((sys.executable, "-c", "print('made')"), b"step    1")
    with pytest.raises(SystemExit, match="ended with 3"):
        timed((sys.executable, "-c", "raise SystemExit(3)"))
