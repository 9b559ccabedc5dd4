"""Replicas over two groups of unlike devices: which are tried, what they cost, where their ranks lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.decode import decode, place
from autopart.planner.joined import RATIOS, TEAMS, joined_degrees, joined_parts
from autopart.planner.meshes import Index, Mesh, make_index
from autopart.planner.price import price_option, propose
from autopart.planner.problem import Candidate, Choice, Part, Problem, Setting
from autopart.planner.score import parts_of
from autopart.planner.shares import Parts, Pool
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Settings
from autopart.pricing.table import BlockTable, Seconds
from cost_models.collective import Topology
from cost_models.hardware import DeviceType, Link
from tests.unit.planner.test_choose import index_of
from tests.unit.planner.test_prices import three_layers

FAST = DeviceType("fast", 2**34, 1e30, {"float32": 4e9}, 1e-3)
SLOW = DeviceType("slow", 2**33, 1e30, {"float32": 1e9}, 1e-3)
INSIDE, NETWORK = Link(1e-6, 1e8), Link(1e-4, 1e6)
ACROSS = Link(2e-4, 1e6)  # both uplinks
PARTS = (Part(0, (5, 3), 2, (3, 3)), Part(1, (5, 3), 1, (1,)))


class Column(BlockTable):
    """Collectives between columns take 1 ms forward and 2 ms backward for each block and row."""

    def tensor_seconds(self, rows: int, topology: Topology) -> Seconds:
        assert topology == Topology((2, 1), INSIDE, ACROSS)
        return Seconds(np.full(self.count, 1e-3 * rows), np.full(self.count, 2e-3 * rows))


def pool(devices: int, sample_s: float, node_size: int = 1, fixed_s: float = 0.0) -> Pool:
    return Pool(devices, node_size, fixed_s, sample_s, 1.0)


def shapes(found: tuple[Parts, ...]) -> set[tuple[tuple[int, ...], ...]]:
    return {tuple(part.weights for part in parts) for parts in found}


def test_weights_go_by_speed() -> None:
    """At 2:1 the slow device takes as long as the fast one alone."""
    assert joined_parts([pool(1, 1.0), pool(1, 3.0)], 1) == ((Part(0, (1,), 1, (3,)), Part(1, (1,), 1, (1,))),)
    assert shapes(joined_parts([pool(1, 3.0), pool(1, 2.0)], 1)) == {((2,), (3,)), ((1,), (2,)), ((1,), (1,))}


def test_only_unlike_devices_of_small_clusters_are_joined() -> None:
    assert not joined_parts([pool(1, 1.0), pool(1, 1.0)], 8)
    assert not joined_parts([pool(1, 1.0), pool(16, 3.0, 16)], 8)
    assert not joined_parts([pool(1, 1.0), pool(1, 3.0, fixed_s=2.0)], 1), "the slow one takes longer for nothing at all"
    assert joined_parts([pool(1, 1.0), pool(1, 3.0, fixed_s=2.0)], 1, tensor=2), "unless somebody asks for it"


def test_columns_replicas_and_their_number() -> None:
    pools = [pool(4, 1.0, 4), pool(4, 3.0, 2)]
    assert joined_degrees(pools) == (2, 3, 4, 5, 6)
    assert joined_degrees([pool(4, 1.0, 4)]) == ()
    found = joined_parts(pools, 8)
    assert len(found) == TEAMS
    assert {part.tensor for parts in found for part in parts} <= {1, 2, 4}
    assert all(sum(part.samples) == 8 for parts in found for part in parts)
    pinned = joined_parts(pools, 8, tensor=3, data=2)
    assert {tuple(part.tensor for part in parts) for parts in pinned} == {(1, 2), (2, 1)}
    assert {part.samples for parts in pinned for part in parts} == {(4, 4)}
    assert len(pinned) <= 2 * RATIOS
    assert not joined_parts(pools, 8, tensor=3, data=5)
    assert not joined_parts(pools, 1, tensor=3, data=2)


@pytest.fixture
def index() -> Index:
    groups = (Group("a", 2, FAST, 4, INSIDE, NETWORK), Group("b", 1, SLOW, 4, INSIDE, NETWORK))
    return make_index(three_layers(), Cluster("c.yaml", "", groups), 8, Settings(), ModelRef("m.py"))


@pytest.fixture
def mesh(index: Index) -> Mesh:
    """The first and the last layer's weight are split, 12 elements on each large column, 4 on the small one (as if there
    were that many).
    """
    table = Column(index.blocks, "float32", "adamw", 8)
    large, small = (Mesh(3, table, {"fc0.weight": "S(0)"}, np.array([n, 0.0, n])) for n in (12.0, 4.0))
    return replace(large, columns={3: large, 1: small})


def test_each_part_has_the_time_of_its_device(index: Index, mesh: Mesh) -> None:
    plain, again = (price_option(mesh, index.cluster, PARTS, recompute) for recompute in (False, True))
    for line, device in ((0, FAST), (2, SLOW)):
        seconds = index.table.seconds(device, 5)
        assert plain.time_s[line] == pytest.approx(seconds.total + 5 * 3e-3)
        assert again.time_s[line] == pytest.approx(seconds.total + 5 * 4e-3), "what a linear layer makes is not needed again"
    assert plain.usage == (4, 2)
    assert len(set(plain.capacity_bytes.tolist())) == 2


def ring_s(ranks: int, nbytes: float, link: Link) -> float:
    return (ranks - 1) * (link.latency_s + nbytes / ranks / link.bandwidth_bytes_per_s)


def test_each_column_sums_its_own_shards(index: Index, mesh: Mesh) -> None:
    """The slow columns are all on one node, and so are the fast ones; what is whole goes over all six ranks."""
    option = price_option(mesh, index.cluster, PARTS, recompute=False)
    across = Topology((4, 2), INSIDE, ACROSS)
    whole = [16.0 - 12, 16.0, 16.0 - 12]  # of a large column
    largest = option.sync_s.sum()
    split_s, update_s = 2 * ring_s(2, 2 * 12 * 4, INSIDE), 2e-3  # to launch the packing of gradients, and the update
    summed_s = min(
        2 * ring_s(6, sum(whole) * 4, ACROSS), 2 * ring_s(4, sum(whole) * 4, INSIDE) + 2 * ring_s(2, sum(whole) * 4, ACROSS)
    )
    small_s = 2 * ring_s(2, 2 * 4 * 4, INSIDE) + min(
        2 * ring_s(6, 40 * 4, ACROSS), 2 * ring_s(4, 40 * 4, INSIDE) + 2 * ring_s(2, 40 * 4, ACROSS)
    )
    assert across.ranks == 6
    assert largest == pytest.approx(max(split_s + summed_s, small_s) + update_s)


def test_columns_stay_in_the_order_of_the_weights(index: Index, mesh: Mesh) -> None:
    assert place([PARTS, (Part(0, (8,)),)], index.cluster) == ((0, 1, 8, 2, 3, 9), (4,))
    option = price_option(mesh, index.cluster, PARTS, recompute=False)
    problem = Problem((0, 1, 2), (8, 4), (Setting("1f1b", 1, (option,)),))
    plan = decode(Candidate(0, (Choice(0, 3, 0),), 1.0), problem, index)
    assert plan is not None
    (stage,) = plan.stages
    assert (stage.ranks, stage.shares, stage.data, stage.tensor) == ((0, 1, 8, 2, 3, 9), (5, 3), 2, 3)
    assert stage.tensor_shares == (3, 3, 1)
    assert parts_of(stage, index) == PARTS
    alike = tuple(replace(part, weights=(1,) * part.tensor) for part in PARTS)
    even = decode(Candidate(0, (Choice(0, 3, 0),), 1.0), replace(problem, settings=_with(problem, alike)), index)
    assert even is not None
    assert even.stages[0].tensor_shares == ()
    assert parts_of(even.stages[0], index) == alike


def _with(problem: Problem, parts: Parts) -> tuple[Setting, ...]:
    (setting,) = problem.settings
    return (replace(setting, options=tuple(replace(option, parts=parts) for option in setting.options)),)


def test_pins_reach_joined_options() -> None:
    index = index_of((FAST, 2), (SLOW, 1))
    options = [option for setting in propose(index, Pins(tensor=3, microbatches=1)) for option in setting.options]
    assert {tuple(part.tensor for part in option.parts) for option in options} == {(2, 1)}
    assert all(option.parts[0].weights for option in options)
    unpinned = [option for setting in propose(index, Pins(tensor=1)) for option in setting.options]
    assert not any(part.weights for option in unpinned for part in option.parts)
