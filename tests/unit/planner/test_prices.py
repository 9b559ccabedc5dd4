"""Prices of three linear layers on two devices, computed by hand; and how prices move."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from autopart.blocks.blocks import Block, Blocks
from autopart.cluster.cluster import Cluster, Group
from autopart.ir.graph import Ref, Size
from autopart.planner.decode import build_plan
from autopart.planner.meshes import Index, make_index
from autopart.planner.price import price_option, propose
from autopart.planner.problem import Choice, Part, Setting, step_s
from autopart.planner.routes import half_s
from autopart.planner.score import estimate, formula_step, score
from autopart.plans import ModelRef, Plan, Schedule, Settings, Stage
from autopart.pricing.table import Cut
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Replicate, Shard
from cost_models.hardware import DeviceType, Link
from cost_models.memory import usable_bytes
from cost_models.price import memory_byte_s
from tests.graphs import Builder

LAUNCH, FLOPS, LATENCY, BANDWIDTH = 1e-3, 1e9, 1e-5, 1e6
DEVICE = DeviceType("box", 2**34, 1e30, {"float32": FLOPS}, LAUNCH)
LINK = Link(LATENCY, BANDWIDTH)
ROWS = 8


def three_layers(*, tied: bool = False) -> Blocks:
    """X [b, 4] through three 4 x 4 matrices; the last block also sums the loss. ``tied``: the last matrix is the first."""
    b = Builder()
    x = b.input("x", (Size("b"), 4))
    weights = [b.parameter(f"fc{layer}.weight", (4, 4)) for layer in range(2 if tied else 3)]
    for layer in range(3):
        weight = weights[layer % len(weights)]
        x = b.op("aten.linear.default", Ref(x), Ref(weight), shape=(Size("b"), 4), module=f"fc{layer}")
    b.op("aten.sum.default", Ref(x), shape=(), module="loss")
    graph = b.graph(b.ops[-1].outputs[0].name)
    names = [op.name for op in graph.ops]
    parts = [names[:1], names[1:2], names[2:]]
    blocks = tuple(Block(f"fc{i}", i, tuple(part), f"fc{i}") for i, part in enumerate(parts))
    placements = {name: Replicate() if name in graph.parameter_of else Shard(0) for name in graph.values}
    placements[graph.loss] = Partial()
    return Blocks(ShardedGraph(graph, placements), blocks, ())


def one_node(devices: int = 2, device: DeviceType = DEVICE) -> Cluster:
    return Cluster("c.yaml", "", (Group("n", 1, device, devices, LINK, LINK),))


@pytest.fixture
def index() -> Index:
    return make_index(three_layers(), one_node(), ROWS, Settings(), ModelRef("m.py"))


def matmul_s(times: int, rows: int = ROWS) -> float:
    """Seconds of ``times`` products of [rows, 4] with [4, 4] in one op: 2 flops each, 70% of the peak."""
    return LAUNCH + times * 2 * rows * 16 / (0.7 * FLOPS)


def test_a_block_costs_its_ops(index: Index) -> None:
    seconds = index.table.seconds(DEVICE, ROWS)
    assert seconds.forward[:2] == pytest.approx([matmul_s(1), matmul_s(1)])
    # the first layer's input has no gradient, the second layer has one for its input and one for its weight
    assert seconds.backward[:2] == pytest.approx([matmul_s(1), matmul_s(2)])


def test_memory_counts_state_and_what_the_backward_needs(index: Index) -> None:
    kept, again = (index.table.kept(DEVICE, ROWS, recompute) for recompute in (False, True))
    activation = ROWS * 4 * 4
    assert index.table.static == pytest.approx([16 * 16] * 3)  # 16 elements: itself, gradient, two states of 4 bytes
    assert kept.inflight == pytest.approx([0, activation, activation])  # a graph input is there anyway
    assert again.inflight == pytest.approx([0, activation, activation])  # here all that is kept are the blocks' inputs
    assert kept.output == pytest.approx([0, activation, activation, 0])
    assert (again.transient >= kept.transient).all()


def test_a_stage_pays_half_of_its_boundaries_and_all_of_its_sum(index: Index) -> None:
    option = price_option(index.whole, index.cluster, (Part(0, (5, 3)),), recompute=False)
    one_way_s = LATENCY + 5 * 4 * 4 / BANDWIDTH
    assert option.boundary_s == pytest.approx([0, one_way_s, one_way_s, 0])  # half of there and back
    assert option.time_s[0, 1] == pytest.approx(matmul_s(3, rows=5) + LAUNCH)
    all_reduce_s = 2 * (LATENCY + 3 * 64 / 2 / BANDWIDTH)
    assert option.sync_s == pytest.approx([(all_reduce_s + 2 * LAUNCH) / 3] * 3), "gradients are packed, then there is the update"
    assert option.usage == (2,)
    assert option.capacity_bytes == pytest.approx([usable_bytes(DEVICE)] * 2)


def test_recomputation_runs_the_forward_again(index: Index) -> None:
    """Of three linear layers the inputs of the last two are made once more."""
    layers = three_layers()
    names = tuple(op.name for op in layers.sharded.graph.ops)
    whole = make_index(replace(layers, blocks=(Block("fc", 0, names, ""),)), index.cluster, ROWS, Settings(), ModelRef("m.py"))
    plain, again = (price_option(whole.whole, index.cluster, (Part(0, (8,)),), recompute) for recompute in (False, True))
    one_s = float(index.table.seconds(DEVICE, ROWS).forward[0])
    assert again.time_s[0] - plain.time_s[0] == pytest.approx(2 * one_s)


def two_stages(index: Index, microbatches: int) -> Plan:
    rows = index.batch_size // microbatches
    stages = (Stage(0, ("fc0",), (0,), (rows,)), Stage(1, ("fc1", "fc2"), (1,), (rows,)))
    return build_plan(index, Schedule("1f1b", microbatches), stages)


def test_formula_of_a_plan_is_the_sum_and_the_slowest_stage(index: Index) -> None:
    plan = two_stages(index, 4)
    seconds = index.table.seconds(DEVICE, 2)
    message_s = LATENCY + 2 * 16 / BANDWIDTH
    adding_s = 3 * 64 * memory_byte_s(DEVICE) * 3 / 4  # of a block's gradients, to those of another microbatch in 3 of 4
    times = [seconds.total[0] + adding_s + message_s, seconds.total[1:].sum() + 2 * adding_s + message_s]
    update_s = [LAUNCH / 3, 2 * LAUNCH / 3]
    assert formula_step(plan, index) == pytest.approx(sum(times) + 3 * max(times) + max(update_s))


def test_bounds_enclose_the_simulation(index: Index) -> None:
    scored = score(two_stages(index, 4), index)
    found = estimate(scored, index, 0.5 * scored.step_s)
    assert found.schedule_bound_s <= found.step_time_s
    assert found.gap == pytest.approx(1 - found.lower_bound_s / found.formula_s)
    assert sum(found.breakdown.values()) == pytest.approx(found.step_time_s)
    assert math.isnan(estimate(scored, index).gap)


def test_very_many_microbatches_continue_the_steady_state(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    many = make_index(index.blocks, index.cluster, 512, index.settings, index.model)
    whole = score(two_stages(many, 256), many)
    monkeypatch.setattr("autopart.planner.score.ACTIONS", 64)
    fewer = score(two_stages(many, 256), many)
    assert fewer.program.microbatches == 32
    assert fewer.step_s == pytest.approx(whole.step_s, rel=1e-9)
    assert fewer.timeline.peak_bytes == whole.timeline.peak_bytes
    assert sum(fewer.breakdown.values()) == pytest.approx(fewer.step_s)


def test_slower_devices_and_more_rows_never_cost_less(index: Index) -> None:
    half = replace(DEVICE, flops={"float32": FLOPS / 2})
    previous = np.zeros(3)
    for rows in range(1, 9):
        total = index.table.seconds(DEVICE, rows).total
        assert (total >= previous).all()
        assert (index.table.seconds(half, rows).total >= total).all()
        previous = total


def test_a_full_nodes_boundaries_leave_it_and_a_part_shares_the_way() -> None:
    inside, network = Link(0.0, 8e6), Link(0.0, 1e6)
    cluster = Cluster("c.yaml", "", (Group("n", 2, DEVICE, 4, inside, network),))
    whole = Cut(np.array([0.0, 4e6, 0.0]), np.zeros(3))
    assert half_s((Part(0, (1,) * 4),), cluster, whole, 4) == pytest.approx([0, 4.0 / 2, 0])  # four messages over one uplink
    assert half_s((Part(0, (4,)),), cluster, whole, 4)[1] == pytest.approx((0.25 * 4.0 + 0.75 * 0.5) / 2)
    assert half_s((Part(0, (4,)),), one_node(), whole, 4)[1] == pytest.approx((LATENCY + 4e6 / BANDWIDTH) / 2)


def test_shares_fill_every_microbatch(index: Index) -> None:
    slow = replace(DEVICE, name="slow", launch_s=3e-3)
    groups = (*one_node(3).groups, Group("m", 1, slow, 2, LINK, LINK))
    mixed = make_index(index.blocks, Cluster("c.yaml", "", groups), 60, index.settings, index.model)
    settings = propose(mixed)
    assert {s.microbatches for s in settings} == {1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60}
    for setting in settings:
        assert setting.options
        for option in setting.options:
            assert sum(sum(part.samples) for part in option.parts) == 60 // setting.microbatches
            assert min(min(part.samples) for part in option.parts) >= 1


def test_formula_takes_the_slowest_part() -> None:
    index = make_index(three_layers(), one_node(), ROWS, Settings(), ModelRef("m.py"))
    uneven = price_option(index.whole, index.cluster, (Part(0, (7, 1)),), recompute=False)
    busiest = index.table.seconds(DEVICE, 7).total.sum()
    assert step_s(Setting("1f1b", 1, (uneven,)), [Choice(0, 3, 0)]) == pytest.approx(busiest + uneven.sync_s.sum())
