"""Counts of devices become ranks: replicas in one node where they fit, neighbours close."""

from __future__ import annotations

from random import Random

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.decode import place
from autopart.planner.problem import Part
from tests.programs import DEVICE, FREE


def cluster(*groups: tuple[int, int]) -> Cluster:
    """Groups of (nodes, devices a node)."""
    return Cluster("c.yaml", "", tuple(Group(f"g{i}", n, DEVICE, size, FREE, FREE) for i, (n, size) in enumerate(groups)))


def parts(*devices: int) -> tuple[Part, ...]:
    """So many devices of each group."""
    return tuple(Part(group, (1,) * count) for group, count in enumerate(devices) if count)


def test_stages_fill_nodes_in_the_order_of_the_chain() -> None:
    assert place([parts(1), parts(1), parts(2), parts(4)], cluster((2, 4))) == ((4,), (5,), (6, 7), (0, 1, 2, 3))


def test_a_stage_of_two_groups_has_ascending_ranks() -> None:
    assert place([parts(0, 2), parts(1, 1)], cluster((1, 2), (1, 3))) == ((2, 3), (0, 4))


def test_powers_of_two_never_straddle_nodes_that_they_fit_into() -> None:
    rng = Random(1)
    for _ in range(300):
        nodes = rng.randint(1, 4)
        left, stages = 8 * nodes, []
        while left and rng.random() < 0.95:
            devices = rng.choice([n for n in (1, 2, 4, 8, 16) if n <= left])
            stages.append(parts(devices))
            left -= devices
        machines = cluster((nodes, 8))
        for ranks in place(stages, machines):
            used = {machines.ranks[rank].node for rank in ranks}
            assert len(used) == max(1, len(ranks) // 8)


def test_what_fits_into_no_node_is_spread_over_the_freest() -> None:
    found = place([parts(3), parts(3), parts(2)], cluster((2, 4)))
    assert found[:2] == ((0, 1, 2), (4, 5, 6))
    assert found[2] == (3, 7)
