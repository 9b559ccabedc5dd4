"""A traced model's own prices, written down as a layer profile, are planned and priced as the traced model is."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from autopart.layers.table import LayerTable
from autopart.planner.best import best_plan
from autopart.planner.meshes import Index, make_index, own_layouts
from autopart.planner.score import formula_step, score
from autopart.planner.strategies import Pins
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.pricing.table import BlockTable, Seconds
from cost_models.collective import Topology
from cost_models.hardware import Link
from tests.layers import FAST, index_of, matrices, two_types, written_down

CASES = 12
EXACT = 1e-9  # sums in another order


def traced(seed: int) -> Index:
    rng = Random(seed)
    settings = Settings(optimizer=rng.choice(("sgd", "adamw")))
    return make_index(matrices(rng), two_types(rng), rng.choice((4, 6, 12)), settings, ModelRef("m.py"))


def single(index: Index) -> dict[int, dict[str, dict[int, Seconds]]]:
    """Of single devices at every number of samples."""
    devices = {group.device.name: group.device for group in index.cluster.groups}
    samples = range(1, index.batch_size + 1)
    return {1: {name: {n: index.table.seconds(device, n) for n in samples} for name, device in devices.items()}}


@pytest.mark.parametrize("seed", range(CASES))
def test_the_plan_is_that_of_the_traced_model(seed: int) -> None:
    index, pins = traced(seed), Pins(tensor=1)
    layers = index_of(written_down(index, single(index)), index.cluster, index.batch_size, index.settings)
    model, profile = (best_plan(each, pins, gap=1e-6) for each in (index, layers))
    assert profile.estimate is not None
    assert model.estimate is not None
    assert profile.estimate.step_time_s == pytest.approx(model.estimate.step_time_s, rel=EXACT)
    assert profile.estimate.formula_s == pytest.approx(model.estimate.formula_s, rel=EXACT)
    assert profile.estimate.lower_bound_s == pytest.approx(model.estimate.lower_bound_s, rel=1e-5)
    assert (profile.stages, profile.schedule) == (model.stages, model.schedule)
    for one, other in zip(model.baselines, profile.baselines, strict=True):
        if "tensor" not in one.name:
            assert other.step_time_s == (one.step_time_s and pytest.approx(one.step_time_s, rel=EXACT)), one.name


@pytest.mark.parametrize("seed", range(CASES))
def test_any_plan_has_the_step_of_the_traced_model(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with ZeRO and recomputation, which the best plan seldom has; a profile's layers are run again to their ends."""
    monkeypatch.setattr(BlockTable, "again_s", LayerTable.again_s)
    index, rng = traced(seed), Random(seed)
    layers = index_of(written_down(index, single(index)), index.cluster, index.batch_size, index.settings)
    names, ranks = [block.name for block in index.blocks.blocks], range(len(index.cluster.ranks))
    cut, first = rng.randrange(1, len(names)), rng.randrange(1, len(ranks))
    rows = index.batch_size // 2 if len(ranks) <= index.batch_size // 2 else index.batch_size
    stages = [
        drawn_stage(rng, number, tuple(own), tuple(held), rows)
        for number, (own, held) in enumerate(((names[:cut], ranks[:first]), (names[cut:], ranks[first:])))
    ]
    plan = plan_of(index, stages, rows)
    assert score(plan, layers).step_s == pytest.approx(score(plan, index).step_s, rel=EXACT)
    assert formula_step(plan, layers) == pytest.approx(formula_step(plan, index), rel=EXACT)


def drawn_stage(rng: Random, number: int, names: tuple[str, ...], ranks: tuple[int, ...], rows: int) -> Stage:
    shares = (rows - len(ranks) + 1,) + (1,) * (len(ranks) - 1)
    zero = rng.choice((0, 1, 2, 3)) if len(ranks) > 1 else 0
    return Stage(number, names, ranks, shares, data=len(ranks), zero=zero, recompute=rng.random() < 0.5)


def plan_of(index: Index, stages: list[Stage], rows: int) -> Plan:
    schedule = Schedule("1f1b", index.batch_size // rows)
    return Plan(index.model, ClusterRef("two.yaml"), index.batch_size, index.settings, schedule, tuple(stages))


@pytest.mark.parametrize("seed", range(6))
def test_columns_cost_what_was_measured_on_columns(seed: int) -> None:
    """Rows of tensor 2 are those of a layout that splits every matrix, its collectives among them."""
    rng = Random(seed)
    blocks, cluster = matrices(rng), two_types(rng)
    fast = replace(cluster.groups[0], count=1, devices_per_node=4, interconnect=Link(1e-9, 1e11))
    index = make_index(blocks, replace(cluster, groups=(fast,)), 8, Settings(), ModelRef("m.py"))
    mesh = max(index.meshes(0, 2), key=lambda each: float(each.split_trained.sum()))
    assert mesh.split_trained.sum() == mesh.table.trained.sum(), "every matrix is split"

    def columns(samples: int) -> Seconds:
        own = mesh.table.seconds(FAST, samples)
        between = mesh.table.tensor_seconds(samples, Topology((2,), fast.interconnect))
        return Seconds(own.forward + between.forward, own.backward + between.backward)

    measured = {**single(index), 2: {"fast": {n: columns(n) for n in range(1, 9)}}}
    layers = index_of(written_down(index, measured), index.cluster, 8)
    names = tuple(block.name for block in blocks.blocks)
    stage = Stage(0, names, (0, 1, 2, 3), (2, 2), data=2, tensor=2)
    laid_out = replace(stage, layouts=own_layouts(mesh.layouts, blocks, 0, len(names)))
    step_s = score(plan_of(index, [laid_out], 4), index).step_s
    assert score(plan_of(index, [stage], 4), layers).step_s == pytest.approx(step_s, rel=EXACT)
