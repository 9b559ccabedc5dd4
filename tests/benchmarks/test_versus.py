"""The contenders train the same thing, and the expert's cut is the best one."""

from __future__ import annotations

import json
import random
from itertools import combinations, pairwise
from pathlib import Path

import pytest

from autopart import pipeline
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.runtime.launch import launch
from benchmarks.testbed.spec import parse_testbed
from benchmarks.versus import cases, scaling, worker
from benchmarks.versus.balance import balanced, block_seconds, even
from benchmarks.versus.exhaustive import every
from benchmarks.versus.report import best_family, failures, geometric_mean, ratios, summary, table
from benchmarks.versus.study import plan_line
from benchmarks.versus.work import Work

CLUSTER = """\
nodes:
  - name: box
    devices: {type: cpu-core, count: 2}
    interconnect: {bandwidth: 4 GB/s, latency: 30 us}
"""
BATCH = 64


@pytest.mark.parametrize("seed", range(40))
def test_the_balanced_cut_is_the_best_of_all(seed: int) -> None:
    rng = random.Random(seed)
    seconds = [rng.uniform(0.1, 3.0) for _ in range(rng.randint(3, 9))]
    speeds = [rng.uniform(0.2, 2.0) for _ in range(rng.randint(1, min(4, len(seconds))))]

    def slowest(cuts: tuple[int, ...]) -> float:
        edges = pairwise((0, *cuts, len(seconds)))
        return max(sum(seconds[start:stop]) / speed for (start, stop), speed in zip(edges, speeds, strict=True))

    best = min(map(slowest, combinations(range(1, len(seconds)), len(speeds) - 1)))
    assert slowest(tuple(balanced(seconds, speeds))) == pytest.approx(best)


def test_even_cuts_leave_no_stage_empty() -> None:
    for blocks in range(2, 12):
        for stages in range(1, blocks + 1):
            sizes = [stop - start for start, stop in pairwise((0, *even(blocks, stages), blocks))]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 1


def test_contenders_start_from_the_same_loss(tmp_path: Path) -> None:
    """Of the same weights and batch, each by its own processes' sums."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    plan = pipeline.plan_files(
        "benchmarks/models/dlrm.py",
        str(tmp_path / "cluster.yaml"),
        batch_size=BATCH,
        settings=Settings(optimizer="sgd"),
        limits=pipeline.Limits(data=2, stages=1),
        say=pipeline.silent,
    )
    pipeline.compile_files(plan, tmp_path / "package")
    pipes = {"grid": [[0, 1]], "cuts": [3], "microbatches": 4}
    runs = {
        "single": ("single", {"rank": 0}),
        "ddp": ("ddp", {"shares": [32, 32]}),
        "uneven": ("ddp", {"shares": [45, 19], "bucket_mb": 1.0}),
        "fsdp": ("fsdp", {"shares": [32, 32]}),
        "gpipe": ("pipeline", pipes | {"schedule": "gpipe"}),
        "turned": ("pipeline", pipes | {"schedule": "1f1b", "grid": [[1, 0]]}),
        "interleaved": ("pipeline", pipes | {"schedule": "interleaved", "cuts": [3, 4, 5]}),
        "ours": ("ours", {"package": str(tmp_path / "package")}),
    }
    job = {"model": "dlrm", "batch": BATCH, "warm_up": 1, "steps": 1, "patience": 1e9}
    rows = [{"name": name, "kind": kind, "options": options} for name, (kind, options) in runs.items()]
    (tmp_path / "job.json").write_text(json.dumps(job | {"runs": rows}))
    launch(Path(worker.__file__), 2, [str(tmp_path / "job.json"), str(tmp_path / "result.json")], quiet=True, timeout_s=120)
    found = json.loads((tmp_path / "result.json").read_text())
    assert set(found) == set(runs)
    assert {name: each["loss"] for name, each in found.items()} == pytest.approx(
        dict.fromkeys(runs, found["single"]["loss"]), rel=1e-5
    )


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_setting_uses_what_the_case_has(case: cases.Case) -> None:
    blocks = len(Work(case.model, case.batch_size).model().blocks)
    found = list(cases.settings(case, [1.0] * blocks))
    families = {setting.family for setting in found}
    assert {"fastest device", "DDP even", "FSDP2", "even pipeline", "balanced pipeline"} <= families
    assert len({setting.key for setting in found}) == len(found)
    for setting in found:
        assert sum(setting.options.get("shares", [case.batch_size])) == case.batch_size
        ranks = [rank for row in setting.options.get("grid", []) for rank in row]
        assert len(ranks) == len(set(ranks))
        assert set(ranks) <= set(range(len(case.speeds)))
        assert case.testbed.cores <= 1.75, "two cores, less what the kernel needs"


def test_blocks_are_timed_one_by_one() -> None:
    seconds = block_seconds(Work("dlrm", BATCH), 8)
    assert len(seconds) == len(Work("dlrm", BATCH).model().blocks)
    assert all(each > 0 for each in seconds)


def test_the_report_counts_ratios() -> None:
    steps = {"autopart": [1.0, 2.0, 1.0], "DDP even": [2.0, 6.0, 4.0], "even pipeline": [1.5, 3.0, 2.0]}
    tried = {"FSDP2, even": {"error": "out of memory"}, "DDP even, 1 MB": {"step_s": 2.0}}
    record = {"case": {"name": "case", "uniform": False}, "steps_s": steps, "simulated_s": 1.0, "tried": tried}
    assert failures([record]) == ["* case, out of memory: FSDP2, even."]
    assert ratios(record, "DDP even") == [2.0, 3.0, 4.0]
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert any("3.00 times" in line and "DDP even" in line for line in summary([record]))


def test_a_contender_counts_where_it_ran_if_that_was_mostly() -> None:
    steps = {"autopart": [1.0, 1.0, 2.0], "DDP even": [2.0, 2.0, 2.0], "balanced pipeline": [0.5, None, None]}
    settings = {"DDP even": "buckets of 1 MB", "balanced pipeline": "gpipe"}
    record = {"case": {"name": "c", "uniform": False}, "steps_s": steps, "settings": settings, "tried": {}, "simulated_s": 1.0}
    assert best_family(record) == "DDP even"
    assert failures([record]) == ["* c, in 2 of 3 launches: balanced pipeline, gpipe."]
    steps["balanced pipeline"] = [0.5, None, 3.0]
    steps["DDP even"] = [5.0, 5.0, 5.0]
    assert best_family(record) == "balanced pipeline"
    assert ratios(record, "balanced pipeline") == [0.5, 1.5]
    assert "balanced pipeline, failed in 1 of 3" in table([record])[-1]


def test_plans_by_hand_are_all_different_and_use_the_whole_batch() -> None:
    blocks = ("a", "b", "c", "d")
    stage = Stage(0, blocks, (0,), (16,))
    settings, schedule = Settings(optimizer="sgd"), Schedule("1f1b", 1)
    made = list(every(Plan(ModelRef("m.py"), ClusterRef("c.yaml"), 16, settings, schedule, (stage,), unused_ranks=(1,))))
    assert len(made) == 2 + 7 + 3 * 2 * 2
    assert len({plan_line(plan) for plan in made}) == len(made)
    for plan in made:
        assert tuple(name for stage in plan.stages for name in stage.blocks) == blocks
        assert all(sum(stage.shares) * plan.schedule.microbatches == 16 for stage in plan.stages)
        assert sorted({rank for stage in plan.stages for rank in stage.ranks} | set(plan.unused_ranks)) == [0, 1]


def test_weak_scaling_has_hosts_for_every_measured_size() -> None:
    for ranks in scaling.MEASURED:
        testbed = parse_testbed(scaling.hosts(ranks // 2), "hosts")
        assert len(testbed.ranks) == ranks
        assert testbed.cores <= 1.7
