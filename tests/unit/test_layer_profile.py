"""Layer profiles: what is read, what is between and beyond the measured points, what a stage of layers costs by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autopart.cluster.cluster import Cluster
from autopart.errors import PlanError, ProfileError
from autopart.layers.curve import Curve, through
from autopart.layers.index import check_layers
from autopart.layers.profile import LayerProfile
from autopart.planner.best import best_plan
from autopart.planner.score import score
from autopart.planner.strategies import Pins
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.check import check_plan
from cost_models.hardware import DeviceType, Link
from cost_models.price import memory_byte_s
from tests.layers import FAST, SLOW, index_of, layer, profile_of, row
from tests.programs import cluster_of

LINK = Link(0.5, 1e3)


def node(devices: int = 2, device: DeviceType = FAST) -> Cluster:
    return replace_devices(cluster_of(devices, inside=LINK, network=LINK), device)


def replace_devices(cluster: Cluster, *devices: DeviceType) -> Cluster:
    groups = zip(cluster.groups, devices, strict=True)
    return replace(cluster, groups=tuple(replace(group, device=device) for group, device in groups))


# Between and beyond the points


@pytest.mark.parametrize(
    ("samples", "seconds"),
    [
        (2, 0.10),  # measured
        (4, 0.16),
        (3, 0.13),  # half way
        (8, 0.26666666666666666),  # a third of the way from 0.16 at 4 to 0.48 at 16
        (1, 0.07),  # on the line of the first two, which meets no samples at 0.04
        (20, 0.5866666666666667),  # on that of the last two: 0.48 + 4 x 0.32 / 12
    ],
)
def test_lines_through_the_points(samples: int, seconds: float) -> None:
    assert through((2, 4, 16), (0.10, 0.16, 0.48), samples) == pytest.approx(seconds, rel=1e-12)


def test_a_single_point_is_proportional() -> None:
    assert [through((4,), (0.2,), n) for n in (1, 2, 8)] == pytest.approx([0.05, 0.1, 0.4])


def test_nothing_is_below_zero_and_nothing_falls_beyond_the_last() -> None:
    steep, falling = ((2, 4), (0.1, 0.4)), ((2, 4), (0.3, 0.2))
    assert through(*steep, 1) == pytest.approx(0.05), "a line that meets no samples below zero goes through zero"
    assert through(*falling, 9) == 0.2
    assert through(*falling, 1) == pytest.approx(0.3), "noise is not carried on"


def test_what_a_curve_covers() -> None:
    curve = Curve((2, 4), (1.0, 2.0), (2.0, 4.0), 0.5)
    assert [curve.covers(n) for n in (1, 2, 3, 4, 5)] == [False, True, True, True, False]
    assert curve.at(3) == (1.5, 3.0)


# By hand


def two_layers(**kept: object) -> LayerProfile:
    """Forward 1 s and backward 2 s a sample on a fast device for the first, twice that for the second; half on two columns."""
    first = [row("fast", n, n / t, 2 * n / t, 0.25 / t, t) for n in (1, 4) for t in (1, 2)]
    second = [row("fast", n, 2 * n / t, 4 * n / t, 0.75 / t, t) for n in (1, 4) for t in (1, 2)]
    return profile_of([layer("first", *first, **kept), layer("second", *second, **kept)])  # type: ignore[arg-type]


def plan_of(*stages: Stage, batch_size: int = 4, microbatches: int = 2, settings: Settings | None = None) -> Plan:
    schedule = Schedule("1f1b", microbatches)
    return Plan(ModelRef("layers.json"), ClusterRef(""), batch_size, settings or Settings(), schedule, stages)


def adding_s(nbytes: float) -> float:
    """Of gradients of two microbatches: read twice and written, once in the two."""
    return 3 * nbytes * memory_byte_s(FAST) / 2


def test_a_pipeline_of_two_layers() -> None:
    """Two microbatches of two samples over free links: stage 1 works 24 s, stage 0 before it 2 s, after it 4 s and an update."""
    cluster = replace_devices(cluster_of(2), FAST)
    index = index_of(two_layers(), cluster, 4)
    plan = plan_of(Stage(0, ("first",), (0,), (2,)), Stage(1, ("second",), (1,), (2,)))
    check_plan(plan, index.blocks, cluster)
    scored = score(plan, index)
    assert scored.step_s == pytest.approx(2 + 2 * (4 + 8) + 4 + 3 * adding_s(4e6) + 0.25)


def test_two_columns_run_their_rows_and_hold_half_of_the_parameters() -> None:
    cluster = node()
    index = index_of(two_layers(parameters=8e6, kept=1000.0), cluster, 4, Settings(optimizer="sgd"))
    columns = Stage(0, ("first", "second"), (0, 1), (2,), data=1, tensor=2)
    scored = score(plan_of(columns, settings=Settings(optimizer="sgd")), index)
    assert scored.step_s == pytest.approx(2 * 2 * (3 + 6) / 2 + 2 * adding_s((8e6 + 8e6) / 2) + (0.25 + 0.75) / 2)
    costs = scored.costs.of[0, 0]
    assert costs.static_bytes == 2 * (8e6 + 8e6) / 2, "parameters and gradients of two layers, half of each"
    assert costs.inflight_bytes == 2 * 2 * 1000 / 2, "activations of two layers and two samples"
    assert not scored.costs.reductions, "nobody else holds the same"


def test_activations_by_degree_are_of_one_device() -> None:
    index = index_of(two_layers(kept={"1": 1000, "2": 700}), node(), 4)
    columns = Stage(0, ("first", "second"), (0, 1), (2,), data=1, tensor=2)
    assert score(plan_of(columns), index).costs.of[0, 0].inflight_bytes == 2 * 2 * 700
    only_one = index_of(two_layers(kept={"1": 1000}), node(), 4)
    assert not only_one.meshes(0, 2), "nobody said what two columns keep"


def test_replicas_sum_all_bytes_of_their_gradients() -> None:
    index = index_of(two_layers(parameters=3000.0), node(), 4)
    replicas = Stage(0, ("first", "second"), (0, 1), (1, 1), data=2)
    (reduction,) = score(plan_of(replicas), index).costs.reductions
    assert reduction.nbytes == 6000
    assert reduction.seconds == pytest.approx(2 * (0.5 + 3000 / 1e3)), "a ring of two: two rounds of half of the bytes"


def test_layers_that_are_alike_are_of_one_kind() -> None:
    rows = (row("fast", 1, 1.0, 2.0),)
    chain = profile_of([layer(f"layer{i}", *rows) for i in range(5)])
    kinds = [block.kind for block in index_of(chain, node(), 4).blocks.blocks]
    assert kinds == [0, 1, 1, 1, 2], "the first reads samples, the last makes the loss"


def test_parameter_bytes_are_counted_in_the_precision_of_the_plan() -> None:
    doubles = index_of(two_layers(parameters=8e6), node(), 4, Settings(precision="float64"))
    assert doubles.table.trained.tolist() == [1e6, 1e6]
    assert doubles.table.static.tolist() == [4 * 8e6, 4 * 8e6]


# A graph


def test_a_branch_is_ordered_and_its_output_crosses_until_it_is_read() -> None:
    rows = (row("fast", 1, 1.0, 2.0),)
    names = ("head", "left", "right", "stem")
    edges = [["stem", "left"], ["stem", "right"], ["left", "head"], ["right", "head"]]
    profile = profile_of([layer(name, *rows, output=400) for name in names], edges)
    assert [each.name for each in profile.layers] == ["stem", "left", "right", "head"]
    assert profile.reads == ((), (0,), (0,), (1, 2))
    index = index_of(profile, node(), 4)
    assert index.table.cut(3).values.tolist() == [0, 1200, 2400, 2400, 0]
    assert {each.blocks.blocks[1].name for each in index.in_every_order()} == {"left", "right"}


# What can't be used


def mixed_cluster() -> Cluster:
    return replace_devices(cluster_of(2, 2, inside=LINK, network=LINK), FAST, SLOW)


def test_a_type_without_rows_is_left_out_and_that_is_said() -> None:
    index = index_of(two_layers(), mixed_cluster(), 4)
    plan = best_plan(index)
    assert set(plan.used_ranks) <= {0, 1}
    reasons = {each.name: each.infeasible for each in plan.baselines}
    assert reasons["data parallel, even"] == "there are no prices of slow"
    assert index.notes(plan) == ("can't be used: slow, of which no layer has a row",)


def test_a_type_that_only_columns_were_measured_of_runs_columns() -> None:
    rows = [row("slow", n, n / 2, n, 0.1, 2) for n in (1, 4)]
    index = index_of(profile_of([layer("first", *rows), layer("second", *rows)]), mixed_cluster(), 4)
    plan = best_plan(index)
    assert [(stage.tensor, set(stage.ranks)) for stage in plan.stages] == [(2, {2, 3})]
    assert plan.estimate is not None
    assert plan.estimate.step_time_s == pytest.approx(2 * (4 / 2 + 4) + 0.2)


def test_one_layer_without_a_row_is_enough() -> None:
    rows = row("fast", 1, 1.0, 2.0), row("slow", 1, 1.0, 2.0)
    index = index_of(profile_of([layer("first", *rows), layer("second", rows[0])]), mixed_cluster(), 4)
    assert index.notes(best_plan(index))[-1] == "can't be used: slow, of which second has no row"


def test_extrapolating_is_said() -> None:
    index = index_of(two_layers(), node(1), 8)
    plan = best_plan(index, Pins(microbatches=1))
    assert index.notes(plan) == ("extrapolated: fast with 8 samples, outside of what was measured of first, second",)
    assert not index.notes(best_plan(index, Pins(microbatches=2)))


def test_no_type_of_the_cluster() -> None:
    with pytest.raises(ProfileError) as caught:
        index_of(two_layers(), node(2, SLOW), 4)
    assert caught.value.what == "no device of test.yaml can be used: all layers have rows for fast, the cluster has slow"


@pytest.mark.parametrize(
    ("stage", "what"),
    [
        (Stage(0, ("first", "second"), (2,), (2,)), "rank 2 can't run it: slow with tensor 1, of which no layer has a row"),
        (Stage(0, ("first", "second"), (1, 2), (2,), tensor=2), "ranks 1, 2 share layers, but are of several types: that was"),
        (Stage(0, ("first", "second"), (0, 1), (2,), tensor=2, tensor_shares=(1, 3)), "tensor_shares, but layers of a profile"),
        (Stage(0, ("first", "second"), (0, 1), (2,), tensor=2, layouts={"*": "R"}), "layouts, but layers of a profile are split"),
    ],
)
def test_a_stage_that_nobody_measured(stage: Stage, what: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_layers(plan_of(stage), two_layers(), mixed_cluster())
    assert caught.value.what.startswith(what)


def test_a_faster_device_is_faster_in_everything_that_was_measured() -> None:
    cluster = node(1)
    index = index_of(two_layers(), cluster, 4)
    stage = plan_of(Stage(0, ("first", "second"), (0,), (2,)))
    twice = replace(FAST, memory_bandwidth_bytes_per_s=2 * FAST.memory_bandwidth_bytes_per_s)
    faster = replace(index, cluster=replace_devices(cluster, twice))
    assert score(stage, faster).step_s == pytest.approx(score(stage, index).step_s / 2)
