"""Prices of replicas of several devices, and of ZeRO, by hand: two columns of three linear layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.decode import build_plan
from autopart.planner.memory import holds_model
from autopart.planner.meshes import Index, Mesh, make_index
from autopart.planner.packing import slots
from autopart.planner.price import price_option, propose
from autopart.planner.problem import Array, Choice, Part, Setting, Tie, step_s
from autopart.planner.score import parts_of, schedule_bound_s, score
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Schedule, Settings, Stage
from autopart.pricing import zero
from autopart.pricing.network import counted_topology, side_by_side, tensor_topology
from autopart.pricing.stages import stage_costs
from autopart.pricing.table import BlockTable, Seconds
from autopart.program.reductions import BUCKET_BYTES
from cost_models.collective import Topology
from cost_models.hardware import Link
from tests.unit.planner.test_prices import DEVICE, LAUNCH, ROWS, three_layers

INSIDE, NETWORK = Link(1e-6, 1e8), Link(1e-4, 1e6)
ACROSS = Link(2e-4, 1e6)  # both uplinks
ELEMENTS = 16  # of each layer's weight


class Column(BlockTable):
    """One column, whose collectives take 1 ms forward and 2 ms backward for each block and row."""

    def tensor_seconds(self, rows: int, topology: Topology) -> Seconds:
        assert topology.nodes == 1, "columns of a replica are in one node"
        return Seconds(np.full(self.count, 1e-3 * rows), np.full(self.count, 2e-3 * rows))


class TwoColumns(Mesh):
    def ends_s(self, rows: int, topology: Topology) -> Array:
        return np.array([0.0, 0.5, 0.25, 0.0]) * rows


def nodes(count: int, devices: int) -> Cluster:
    return Cluster("c.yaml", "", (Group("n", count, DEVICE, devices, INSIDE, NETWORK),))


@pytest.fixture
def index() -> Index:
    return make_index(three_layers(), nodes(2, 4), ROWS, Settings(), ModelRef("m.py"))


@pytest.fixture
def mesh(index: Index) -> Mesh:
    """The first and the last layer's weight are shards."""
    table = Column(index.blocks, "float32", "adamw", ROWS)
    return TwoColumns(2, table, {"fc0.weight": "S(0)"}, np.array([16.0, 0.0, 16.0]))


def ring_s(ranks: int, nbytes: float, link: Link) -> float:
    return (ranks - 1) * (link.latency_s + nbytes / ranks / link.bandwidth_bytes_per_s)


def test_blocks_cost_their_ops_and_the_collectives_between_columns(index: Index, mesh: Mesh) -> None:
    """Once more only the collectives: what a linear layer makes is not needed again."""
    parts = (Part(0, (5, 3), tensor=2),)
    plain, again = (price_option(mesh, index.cluster, parts, recompute) for recompute in (False, True))
    seconds = index.table.seconds(DEVICE, 5)
    assert plain.time_s[0] == pytest.approx(seconds.total + 5 * 3e-3)
    assert again.time_s[0] == pytest.approx(seconds.total + 5 * 4e-3)
    assert plain.usage == (4,)
    assert plain.layouts == {"fc0.weight": "S(0)"}


def test_a_stage_pays_for_its_end_alone(index: Index, mesh: Mesh) -> None:
    option = price_option(mesh, index.cluster, (Part(0, (8,), tensor=2),), recompute=False)
    assert option.end_s == pytest.approx([0.0, 4.0, 2.0, 0.0])
    inside = float(option.time_s[0].sum())
    assert step_s(Setting("1f1b", 1, (option,)), [Choice(0, 3, 0)]) == pytest.approx(inside + option.exposed_s(0, 3))
    two = step_s(Setting("1f1b", 1, (option,)), [Choice(0, 1, 0), Choice(1, 3, 0)])
    assert two == pytest.approx(inside + 2 * option.boundary_s[1] + 4.0 + max(option.exposed_s(0, 1), option.exposed_s(1, 3)))


def test_columns_sum_their_shards_and_all_ranks_what_is_whole(index: Index, mesh: Mesh) -> None:
    """Two replicas of two columns in one node: 2 x 16 elements between two ranks, 16 between four."""
    option = price_option(mesh, index.cluster, (Part(0, (4, 4), tensor=2),), recompute=False)
    split_s, whole_s = 2 * ring_s(2, 128, INSIDE), 2 * ring_s(4, 64, INSIDE)
    assert option.sync_s == pytest.approx(np.array([split_s / 2, whole_s, split_s / 2]) + 2 * LAUNCH / 3)
    alone = price_option(mesh, index.cluster, (Part(0, (8,), tensor=2),), recompute=False)
    assert alone.sync_s == pytest.approx(np.array([0, 2 * ring_s(2, 64, INSIDE) + LAUNCH, 0]) + LAUNCH / 3)


def test_columns_that_sum_at_once_share_the_uplink(index: Index) -> None:
    """Two replicas of four columns, each filling a node: of each column one rank on each of two nodes."""
    column = side_by_side(counted_topology(index.cluster, {0: 2}, 4), 4)
    assert column == Topology((1, 1), across=Link(2e-4, 1e6 / 4))
    assert counted_topology(index.cluster, {0: 2}, 4, columns=4) == Topology((4, 4), INSIDE, ACROSS)
    assert counted_topology(index.cluster, {0: 3}, 2) == Topology((2, 1), INSIDE, ACROSS)
    assert tensor_topology(index.cluster, 0, 4) == Topology((4,), INSIDE)
    assert tensor_topology(index.cluster, 0, 6) == Topology((4, 2), INSIDE, ACROSS)


def test_replicas_use_their_devices_and_slots_of_their_nodes(mesh: Mesh) -> None:
    """Two nodes of 3 have a slot of two each; nodes of a power of two, and a single node, have as many as their devices make."""
    odd = price_option(mesh, nodes(2, 3), (Part(0, (4, 4), tensor=2),), recompute=False)
    assert (odd.usage, odd.slots, slots(nodes(2, 3))) == ((4,), (2, 0), (2, 2))
    assert slots(nodes(2, 4)) == slots(nodes(1, 3)) == ()


STATE = {0: 16, 1: 8 + 8 / 4, 2: 4 + 12 / 4, 3: 16 / 4}
"""adamw in float32 on four ranks: parameter, gradient, two tensors of state."""


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_bytes_of_zero(level: int, index: Index) -> None:
    parts = (Part(0, (2, 2, 2, 2)),)
    plain, shared = (price_option(index.whole, index.cluster, parts, recompute=False, level=n) for n in (0, level))
    assert shared.static_bytes[0] == pytest.approx([ELEMENTS * STATE[level]] * 3)
    assert shared.static_bytes[1] == pytest.approx(shared.static_bytes[0] + ELEMENTS * 4 / (4 if level else 1))
    all_gradients, own = 3 * ELEMENTS * 4, ELEMENTS * 4  # every row that travels holds all three layers
    running = {0: all_gradients, 1: 2 * all_gradients, 2: 2 * all_gradients + own, 3: 3 * all_gradients + own}[level]
    assert shared.transient_bytes[0] - plain.transient_bytes[0] == pytest.approx([running - all_gradients] * 3)
    assert shared.zero == level


def test_bytes_of_zero_on_columns(index: Index, mesh: Mesh) -> None:
    """Optimizer state of a shard is shared out by two replicas, that of what is whole by four ranks."""
    option = price_option(mesh, index.cluster, (Part(0, (4, 4), tensor=2),), recompute=False, level=1)
    assert option.static_bytes[0] == pytest.approx([16 * (8 + 8 / 2), 16 * (8 + 8 / 4), 16 * (8 + 8 / 2)])


def test_what_travels_goes_in_rows() -> None:
    row, big = zero.ROW_BYTES, np.array([1e6, 1e8])
    assert row == BUCKET_BYTES
    assert zero.running_bytes(1, big, "float32", 2) == pytest.approx([2 * row, 2 * 4e8])
    assert zero.running_bytes(3, big, "float32", 2) == pytest.approx([4 * row + 4e6, 12e8 + 4.04e8])
    assert zero.running_bytes(0, big, "float32", 2) == pytest.approx([4.04e8] * 2), "two buckets, or all"
    assert not zero.running_bytes(0, big, "float32", 1).any()


def test_seconds_of_zero(index: Index) -> None:
    parts = (Part(0, (2, 2, 2, 2)),)
    plain, *levels = (price_option(index.whole, index.cluster, parts, recompute=False, level=n) for n in range(4))
    once_s, layer_s = ring_s(4, 3 * 64, INSIDE), ring_s(4, 64, INSIDE)
    launches_s = 2 * LAUNCH  # gradients are packed, then there is the update
    assert plain.sync_s.sum() == pytest.approx(2 * once_s + launches_s)
    assert [option.sync_s.sum() for option in levels] == pytest.approx([2 * once_s + launches_s, once_s + launches_s, launches_s])
    more = [option.time_s[0] - plain.time_s[0] for option in levels]
    assert [float(each[1]) for each in more] == pytest.approx([0, layer_s, 3 * layer_s], abs=1e-12)
    assert levels[0].overlap is not None
    assert levels[0].overlap.reduce_s.sum() == pytest.approx(once_s), "the gather of parameters comes after the update"
    assert levels[2].overlap is None


def test_a_tie_gives_back_what_one_stage_shares_out(index: Index) -> None:
    tied = _tied(index)
    (tie,) = tied.table.ties
    assert tie == (0, 2, 16.0 * ELEMENTS)
    parts = (Part(0, (4, 4)),)
    option = price_option(tied.whole, tied.cluster, parts, recompute=False, level=1)
    assert option.static_bytes[0] == pytest.approx([16 * ELEMENTS, 12 * ELEMENTS, 16 * ELEMENTS]), "its blocks may part"
    assert option.tied_bytes == pytest.approx([(16 + 4) * ELEMENTS]), "together they keep 12 bytes an element of it"
    small = replace(option, capacity_bytes=0 * option.capacity_bytes + 24.5 * ELEMENTS + _activations(option))
    assert holds_model(small, 1, (Tie(*tie),))
    assert not holds_model(replace(small, tied_bytes=None), 1, (Tie(*tie),))


def _activations(option):
    return (option.inflight_bytes.sum(axis=1) + option.output_bytes.max(axis=1) + option.transient_bytes.max(axis=1)).max()


def _tied(index: Index) -> Index:
    """The last layer has the first one's weight."""
    return make_index(three_layers(tied=True), index.cluster, index.batch_size, index.settings, index.model)


def concrete(index: Index, **changes: object) -> Stage:
    return replace(Stage(0, tuple(b.name for b in index.blocks.blocks), (0, 1, 2, 3), (5, 3), data=2, tensor=2), **changes)


def test_ranks_of_a_plan_pay_what_the_option_does(index: Index, mesh: Mesh) -> None:
    """One stage on two replicas of two columns, at every level."""
    for level in range(4):
        stage = concrete(index, zero=level)
        plan = build_plan(index, Schedule("1f1b", 1), (stage,))
        costs = stage_costs(lambda _stage, _column: mesh.table, plan, index.cluster, {"fc0.weight", "fc2.weight"})
        assert parts_of(stage, index) == (Part(0, (5, 3), tensor=2),)
        option = price_option(mesh, index.cluster, parts_of(stage, index), recompute=False, level=level)
        ranks = [costs.of[0, rank] for rank in stage.ranks]
        assert [rank.forward_s for rank in ranks[:2]] == [ranks[0].forward_s] * 2
        assert ranks[0].forward_s + ranks[0].backward_s == pytest.approx(option.time_s[0].sum())
        assert ranks[2].forward_s < ranks[0].forward_s
        assert ranks[0].static_bytes == pytest.approx(option.static_bytes[0].sum(), abs=1)
        # The planner adds up what the simulated rank lets go of in time.
        kept = option.inflight_bytes[0].sum() + option.output_bytes[0, -1]
        assert ranks[0].inflight_bytes <= kept
        needs = max(ranks[0].transient_bytes, *ranks[0].backward_bytes.values())
        assert ranks[0].inflight_bytes + needs <= kept + option.transient_bytes[0].max() + 1
        assert ranks[0].static_bytes + ranks[0].update_bytes == pytest.approx(option.static_bytes[1].sum(), abs=2)
        summed_s = sum(reduction.seconds for reduction in costs.reductions)
        assert summed_s + ranks[0].update_s == pytest.approx(option.sync_s.sum())
        assert [reduction.ranks for reduction in costs.reductions] == ([(0, 1, 2, 3)] if level < 2 else [])


def test_messages_of_zero_are_not_in_the_bound(index: Index) -> None:
    stage = concrete(index, shares=(2, 2, 2, 2), data=4, tensor=1)
    scored = [score(build_plan(index, Schedule("1f1b", 1), (replace(stage, zero=level),)), index) for level in (0, 3)]
    steps = [each.step_s for each in scored]
    bounds = [schedule_bound_s(each.program, each.costs, 1) for each in scored]
    assert bounds == pytest.approx([bounds[0]] * 2)
    assert bounds[0] <= min(steps)
    assert scored[1].costs.of[0, 0].beside_s == pytest.approx((3 * ring_s(4, 64, INSIDE), 6 * ring_s(4, 64, INSIDE)))


def test_what_several_stages_hold_is_not_shared_out(index: Index) -> None:
    tied = _tied(index)
    stages = (Stage(0, ("fc0",), (0, 1), (4, 4), data=2, zero=3), Stage(1, ("fc1", "fc2"), (2, 3), (4, 4), data=2, zero=3))
    plan = build_plan(tied, Schedule("1f1b", 1), stages)
    costs = stage_costs(lambda _stage, _column: tied.table, plan, tied.cluster)
    assert costs.of[0, 0].static_bytes == 16 * ELEMENTS
    assert costs.of[1, 2].static_bytes == (16 + 8) * ELEMENTS
    assert [(reduction.stages, reduction.ranks) for reduction in costs.reductions] == [((0, 1), (0, 1, 2, 3))]


def test_uneven_columns_wait_for_the_largest_shard(index: Index) -> None:
    """Column 1 has a weight of four times the size."""
    wide = Column(_wider(index.blocks), "float32", "adamw", ROWS)
    narrow = Column(index.blocks, "float32", "adamw", ROWS)
    plan = build_plan(index, Schedule("1f1b", 1), (concrete(index, tensor_shares=(1, 4)),))
    costs = stage_costs(lambda _stage, column: wide if column else narrow, plan, index.cluster, {"fc0.weight"})
    (reduction,) = costs.reductions
    assert reduction.nbytes == 4 * 64 + 2 * 64
    assert reduction.seconds == pytest.approx(2 * ring_s(2, 4 * 64, INSIDE) + 2 * ring_s(4, 2 * 64, INSIDE))
    assert costs.of[0, 1].static_bytes - costs.of[0, 0].static_bytes == 16 * 3 * ELEMENTS


def _wider(blocks):
    graph = blocks.sharded.graph
    first = graph.parameters[0]
    wider = replace(first, value=replace(first.value, shape=(16, 4)))
    return replace(blocks, sharded=replace(blocks.sharded, graph=replace(graph, parameters=(wider, *graph.parameters[1:]))))


def test_pins_of_columns_and_zero_reach_every_option(index: Index, monkeypatch: pytest.MonkeyPatch, mesh: Mesh) -> None:
    whole = index.whole
    monkeypatch.setattr(Index, "meshes", lambda _self, _group, tensor: {1: (whole,), 2: (mesh,)}.get(tensor, ()))
    options = [option for setting in propose(index, Pins(tensor=2, zero=1)) for option in setting.options]
    assert {part.tensor for option in options for part in option.parts} == {2}
    assert {option.zero for option in options if len(option.parts[0].samples) > 1} == {1}
    assert {option.zero for option in options if len(option.parts[0].samples) == 1} == {0}
    every = {part.tensor for setting in propose(index) for option in setting.options for part in option.parts}
    assert every == {1, 2}


def test_an_update_on_cpus_needs_no_more_than_the_option_says(index: Index, mesh: Mesh) -> None:
    """At every level; without one what three parameters of one size need is what it says."""
    group = index.cluster.groups[0]
    cores = replace(index.cluster, groups=(replace(group, device=replace(group.device, kind="cpu")),))
    for level in range(4):
        stage = concrete(index, zero=level)
        plan = build_plan(replace(index, cluster=cores), Schedule("1f1b", 1), (stage,))
        costs = stage_costs(lambda _stage, _column: mesh.table, plan, cores, {"fc0.weight", "fc2.weight"})
        option = price_option(mesh, cores, (Part(0, (5, 3), tensor=2),), recompute=False, level=level)
        most = option.static_bytes[1].sum() + option.transient_bytes[1].max()
        for rank in stage.ranks:
            found = costs.of[0, rank]
            assert found.update_bytes > 0
            assert found.static_bytes + found.update_bytes <= most + 1
            if level == 0:
                assert found.update_bytes == option.transient_bytes[1].max() == 3 * ELEMENTS * 4
