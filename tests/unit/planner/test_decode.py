"""Counts of devices become ranks: replicas in one node where they fit, neighbours close."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from autopart.cluster.cluster import Cluster, Group
from autopart.planner.decode import decode, place
from autopart.planner.meshes import make_index, own_layouts
from autopart.planner.price import price_option
from autopart.planner.problem import Candidate, Choice, Part, Problem, Setting
from autopart.plans import ModelRef, Settings, Stage
from tests.programs import DEVICE, FREE
from tests.unit.planner.test_prices import three_layers


def cluster(*groups: tuple[int, int]) -> Cluster:
    """Groups of (nodes, devices a node)."""
    return Cluster("c.yaml", "", tuple(Group(f"g{i}", n, DEVICE, size, FREE, FREE) for i, (n, size) in enumerate(groups)))


def parts(*devices: int) -> tuple[Part, ...]:
    """So many devices of each group."""
    return tuple(Part(group, (1,) * count) for group, count in enumerate(devices) if count)


def team(replicas: int, tensor: int) -> tuple[Part, ...]:
    return (Part(0, (1,) * replicas, tensor),)


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
    """Never a power of two: two devices are priced inside a node, and so are three, but these needn't be."""
    assert place([parts(3), parts(3), parts(2)], cluster((2, 4))) == ((4, 5, 6), (0, 1, 7), (2, 3))


def test_replicas_of_several_devices_stay_in_a_node() -> None:
    """Placed by size, two stages of three would leave one device on each node; so the pair comes first."""
    assert place([parts(3), parts(3), team(1, 2)], cluster((2, 4))) == ((4, 5, 6), (0, 1, 7), (2, 3))
    assert place([team(3, 2), parts(1)], cluster((2, 3))) is None
    assert place([team(2, 2), parts(2)], cluster((2, 3))) == ((0, 1, 3, 4), (2, 5))


def test_columns_never_straddle_nodes() -> None:
    """Whatever fits by numbers of devices, for tensor degrees that divide each other and the node."""
    rng, placed = Random(2), 0
    for _ in range(400):
        size, nodes = rng.choice((2, 4, 8)), rng.randint(1, 4)
        machines, left, stages = cluster((nodes, size)), nodes * size, []
        while left and rng.random() < 0.95:
            tensor = rng.choice([t for t in (1, 2, 4, 8) if t <= min(size, left)])
            replicas = rng.randint(1, left // tensor)
            stages.append(team(replicas, tensor))
            left -= replicas * tensor
        found = place(stages, machines)
        assert found is not None
        ranks = [rank for own in found for rank in own]
        assert len(set(ranks)) == len(ranks)
        for (part,), own in zip(stages, found, strict=True):
            assert len(own) == part.devices
            for first in range(0, len(own), part.tensor):
                columns = own[first : first + part.tensor]
                assert len({machines.ranks[rank].node for rank in columns}) == 1
                placed += part.tensor > 1
    assert placed > 400


def test_layouts_of_other_blocks_stay_out() -> None:
    blocks = three_layers()
    first, last = blocks.blocks[0].ops[0], blocks.blocks[2].ops[-1]
    layouts = {"fc0.weight": "S(0)", "fc2.weight": "S(1)", first: "R", last: "P", "*.glob": "R"}
    assert own_layouts(layouts, blocks, 0, 1) == {"fc0.weight": "S(0)", first: "R", "*.glob": "R"}
    assert own_layouts(layouts, blocks, 0, 3) == layouts


def test_an_option_becomes_a_stage_of_its_mesh() -> None:
    index = make_index(three_layers(), cluster((1, 4)), 8, Settings(), ModelRef("m.py"))
    mesh = replace(index.whole, tensor=1, layouts={"fc0.weight": "S(0)", "fc2.weight": "S(1)"})
    single = price_option(mesh, index.cluster, (Part(0, (5, 3)),), recompute=True, level=2)
    option = replace(single, parts=(Part(0, (5, 3), tensor=2),))
    problem = Problem((0, 1, 2), (4,), (Setting("1f1b", 1, (option,)),))
    plan = decode(Candidate(0, (Choice(0, 3, 0),), 1.0), problem, index)
    assert plan is not None
    names = tuple(block.name for block in index.blocks.blocks)
    layouts = {"fc0.weight": "S(0)", "fc2.weight": "S(1)"}
    assert plan.stages == (Stage(0, names, (0, 1, 2, 3), (5, 3), 2, 2, zero=2, recompute=True, layouts=layouts),)
