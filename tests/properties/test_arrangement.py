"""The exchange of equal devices that keeps most state in place, against every exchange there is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from random import Random

from autopart.cluster.cluster import Cluster, Group
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.replan.arrange import arranged
from tests.programs import DEVICE, FREE

SHAPES = ((1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (1, 4), (2, 3))


def drawn(rng: Random) -> tuple[Plan, dict[tuple[int, int], int], dict[int, int], Cluster]:
    """A plan on one or two groups, old ranks with bytes of what its ranks do, and which of them are still there."""
    shapes = [rng.choice(SHAPES) for _ in range(rng.randint(1, 2))]
    groups = tuple(Group(f"g{i}", nodes, DEVICE, size, FREE, FREE) for i, (nodes, size) in enumerate(shapes))
    cluster = Cluster("c.yaml", "", groups)
    count = len(cluster.ranks)
    ranks = rng.sample(range(count), rng.randint(1, count))
    cut = rng.randint(0, len(ranks) - 1)
    stages = [
        Stage(i, (f"b{i}",), tuple(own), (1,) * len(own), len(own)) for i, own in enumerate((ranks[cut:], ranks[:cut])) if own
    ]
    plan = Plan(ModelRef("m.py"), ClusterRef(""), 8, Settings(), Schedule("1f1b", 1), tuple(stages))
    old = rng.sample(range(count + 2), rng.randint(0, count))
    same = dict(zip(rng.sample(range(count), len(old)), old, strict=True))
    few = rng.random() < 0.3  # many ties
    held = {(was, rank): rng.choice((1, 2)) if few else rng.randint(0, 9) for was, rank in product(old, ranks)}
    return plan, held, same, cluster


def exchanges(cluster: Cluster) -> Iterator[dict[int, int]]:
    """Every exchange of equal nodes, and of the devices of a node."""
    ways = []
    for group in range(len(cluster.groups)):
        nodes: dict[int, list[int]] = {}
        for rank in cluster.ranks:
            if rank.group == group:
                nodes.setdefault(rank.node, []).append(rank.rank)
        own = list(nodes.values())
        size = range(len(own[0]))
        ways.append(
            [
                {
                    task: node[i]
                    for tasks, node, order in zip(own, turned, inside, strict=True)
                    for task, i in zip(tasks, order, strict=True)
                }
                for turned in permutations(own)
                for inside in product(permutations(size), repeat=len(own))
            ]
        )
    for parts in product(*ways):
        yield {task: device for part in parts for task, device in part.items()}


def kept(ranks: dict[int, int], plan: Plan, held: dict[tuple[int, int], int], same: dict[int, int]) -> int:
    """Bytes in place where ``ranks[r]`` does what rank r of the plan does."""
    used = [rank for stage in plan.stages for rank in stage.ranks]
    return sum(held.get((same.get(ranks[task], -1), task), 0) for task in used)


def test_no_exchange_keeps_more() -> None:
    rng = Random(3)
    for _ in range(150):
        plan, held, same, cluster = drawn(rng)
        found = arranged(plan, held, same, cluster)
        pairs = [zip(old.ranks, new.ranks, strict=True) for old, new in zip(plan.stages, found.stages, strict=True)]
        ranks = {old: new for each in pairs for old, new in each}
        every = list(exchanges(cluster))
        assert any(ranks.items() <= each.items() for each in every), "nodes or groups were torn apart"
        assert kept(ranks, plan, held, same) == max(kept(each, plan, held, same) for each in every)
        used = set(ranks.values())
        assert found.unused_ranks == tuple(rank for rank in range(len(cluster.ranks)) if rank not in used)


def test_where_nothing_is_gained_ranks_stay() -> None:
    rng = Random(4)
    for _ in range(50):
        plan, _, same, cluster = drawn(rng)
        ranks = [rank for stage in plan.stages for rank in stage.ranks]
        assert arranged(plan, {}, same, cluster).stages == plan.stages
        alike = dict.fromkeys(product(same.values(), ranks), 5)
        if len(same) == len(cluster.ranks):
            assert arranged(plan, alike, same, cluster).stages == plan.stages
