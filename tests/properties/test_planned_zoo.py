"""Every real model of the zoo is planned over unlike devices: the plan is valid, fits, and no baseline is faster."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopart.cluster.load import load_cluster
from autopart.pipeline import Limits, decide
from autopart.planfile import dump_plan, parse_plan
from autopart.plans import Settings
from autopart.program.check import check_plan
from tests.fronts import front
from tests.zoo import ZOO

MIXED = Path(__file__).parents[2] / "examples/clusters/mixed.yaml"
BATCH = 8
SPLIT = ("gpt2", "vit", "resnet", "dlrm", "mlp", "unet", "lstm", "gcn")  # the others are planned without splitting ops: quicker


@pytest.mark.parametrize("name", ZOO)
def test_the_plan_fits_and_beats_the_baselines(name: str) -> None:
    cluster, known = load_cluster(MIXED), front(name)
    limits = Limits(gap=0.05, time_limit_s=5.0, tensor=None if name in SPLIT else 1)
    plan = decide(known, cluster, BATCH, Settings(precision="float64"), limits)
    check_plan(plan, known.blocks, cluster)
    assert plan.estimate is not None
    assert all(peak <= cluster.device(rank).memory_bytes for rank, peak in plan.estimate.peak_bytes.items())
    assert plan.estimate.lower_bound_s <= plan.estimate.formula_s * (1 + 1e-9)
    assert plan.estimate.schedule_bound_s <= plan.estimate.step_time_s * (1 + 1e-9)
    times = [row.step_time_s for row in plan.baselines if row.step_time_s is not None]
    assert times
    assert plan.estimate.step_time_s <= min(times)
    assert parse_plan(dump_plan(plan), "plan.json") == plan
