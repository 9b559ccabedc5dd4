"""The best plan over the orders that are tried, against the best over all convex partitions of small graphs.

Every partition of a graph into convex stages without a cycle between them is cut from some topological order: the oracle prices
all of them, in all orders, one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random
from statistics import mean

import pytest

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.blocks.orders import FEW, dependencies, every_order, in_order, orders
from autopart.cluster.cluster import Cluster, Group
from autopart.ir.graph import Ref
from autopart.planner import oracle
from autopart.planner.ilp import solve
from autopart.planner.meshes import Index, make_index
from autopart.planner.price import price, price_orders, propose
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Settings
from cost_models.hardware import DeviceType, Link
from tests.graphs import BATCH, Builder, placed

FAST = DeviceType("fast", 2**34, 1e11, {"float32": 2e9}, 1e-7)
SLOW = DeviceType("slow", 2**34, 5e10, {"float32": 1e9}, 1e-7)
PINS = Pins(data=1, microbatches=4, tensor=1)
SEEDS, MOST_ORDERS = range(24), 60
SAME = 1e-9


@dataclass(frozen=True)
class Found:
    """Steps by the formula: of the best plan as the oracle has it in every order of the graph (by the names of its blocks in
    order, the traced one first), and as the planner has it in those that it tries.
    """

    every: dict[tuple[str, ...], float]
    tried: tuple[tuple[str, ...], ...]
    planned_s: float
    bound_s: float


def branching(seed: int) -> Blocks:
    """Some linear layers, each on one earlier value or on two, in blocks as small as they can be."""
    rng, b = Random(seed), Builder()
    values = [b.input("x", (BATCH, rng.choice((16, 64, 256))))]
    unread: list[str] = []
    for layer in range(rng.randint(5, 7)):
        read = rng.sample(values[-4:], min(len(values), rng.choice((1, 1, 1, 2))))
        values.append(b.linear(joined(b, read), rng.choice((16, 64, 256)), f"layer{layer}"))
        unread = [name for name in unread if name not in read] + values[-1:]
    return group(placed(b, b.op("aten.sum.default", Ref(joined(b, unread)), shape=())), "op")


def joined(b: Builder, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    width = sum(b.width(name) for name in names)
    return b.op("aten.cat.default", tuple(Ref(name) for name in names), 1, shape=(BATCH, width))


def cluster(seed: int) -> Cluster:
    rng = Random(seed)
    link = Link(1e-7, rng.choice((1e7, 1e8, 1e9)))
    return Cluster("c.yaml", "", (Group("a", 1, FAST, 1, link, link), Group("b", 1, SLOW, rng.choice((1, 2)), link, link)))


def index_of(blocks: Blocks, seed: int) -> Index:
    return make_index(blocks, cluster(seed), 16, Settings(), ModelRef("m.py"))


def names_of(blocks: Blocks) -> tuple[str, ...]:
    return tuple(block.name for block in blocks.blocks)


@cache
def found(seed: int) -> Found | None:
    """None where there are too many orders, or but one. A third of the cases has to use two stages, a third three."""
    blocks = branching(seed)
    numbered = tuple(islice(every_order(dependencies(blocks)), MOST_ORDERS + 1))
    if not 1 < len(numbered) <= MOST_ORDERS:
        return None
    index, names = index_of(blocks, seed), names_of(blocks)
    stages = (None, 2, 3)[seed % 3] if len(index.cluster.ranks) == 3 else None
    sketches = propose(index, PINS)
    every = {}
    for order in ([names[number] for number in numbers] for numbers in numbered):
        best = oracle.best(price(index_of(in_order(blocks, order), seed), sketches, Pins(stages=stages)))
        assert best is not None
        every[tuple(order)] = best.step_s
    indices = index.in_every_order()
    solution = solve(price_orders(indices, sketches, Pins(stages=stages)), gap=0.0)
    return Found(every, tuple(names_of(i.blocks) for i in indices), solution.candidates[0].step_s, solution.lower_bound_s)


def cases() -> list[Found]:
    return [case for case in map(found, SEEDS) if case]


def test_the_planner_finds_the_best_of_the_orders_that_it_tries() -> None:
    assert len(cases()) > 12
    for case in cases():
        best_s = min(case.every[order] for order in case.tried)
        assert case.planned_s == pytest.approx(best_s, rel=SAME)
        assert case.bound_s == pytest.approx(best_s, rel=1e-6)


def test_no_plan_beats_the_best_convex_partition() -> None:
    for case in cases():
        assert case.planned_s >= min(case.every.values()) * (1 - SAME)


def test_a_graph_of_few_orders_is_planned_over_all_its_convex_partitions() -> None:
    few = [case for case in cases() if len(case.every) <= FEW]
    assert few
    for case in few:
        assert set(case.tried) == set(case.every)
        assert case.planned_s == pytest.approx(min(case.every.values()), rel=SAME)


def test_the_orders_beside_the_traced_one_close_most_of_the_distance() -> None:
    """Relative to the best convex partition, over all cases together."""
    best = [min(case.every.values()) for case in cases()]
    traced = mean(case.every[case.tried[0]] / least - 1 for case, least in zip(cases(), best, strict=True))
    several = mean(case.planned_s / least - 1 for case, least in zip(cases(), best, strict=True))
    assert 0 < several < traced / 2


def test_places_of_equal_towers_are_equal_and_what_is_read_comes_first() -> None:
    blocks = branching(3)
    for each in orders(blocks):
        done: set[int] = set()
        names = names_of(blocks)
        reads = dependencies(blocks)
        for name in names_of(each):
            assert reads[names.index(name)] <= done
            done.add(names.index(name))
        assert [op.name for op in each.sharded.graph.ops if op.name in each.block_of] == [
            op for block in each.blocks for op in block.ops
        ]
