"""Slots in nodes: enough for what must be in a node, and no more; and plans that spread a stage say so in their formula."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from autopart.cluster.cluster import Cluster
from autopart.planner.decode import decode, place
from autopart.planner.meshes import make_index
from autopart.planner.packing import slots, slots_of, units
from autopart.planner.price import price, propose
from autopart.planner.problem import Candidate, Choice, Part, step_s
from autopart.planner.score import formula_step, parts_of
from autopart.plans import ModelRef, Settings
from cost_models.hardware import Link
from tests.unit.planner.test_decode import cluster
from tests.unit.planner.test_prices import three_layers

CASES = 1500


def random_stages(rng: Random, machines: Cluster, *, odd: bool) -> list[Part]:
    """As many as there are devices for; ``odd``: of tensor degrees that divide the node, too."""
    group, stages = machines.groups[0], []
    size, left = group.devices_per_node, group.devices
    degrees = [t for t in range(1, size + 1) if t & (t - 1) == 0 or (odd and size % t == 0)]
    while left and rng.random() < 0.95:
        tensor = rng.choice([t for t in degrees if t <= left])
        replicas = rng.randint(1, max(1, min(left // tensor, 4)))
        stages.append(Part(0, (1,) * replicas, tensor))
        left -= replicas * tensor
    return stages


def enough(stages: Sequence[Part], machines: Cluster) -> bool:
    """Whether the rows of the integer program hold."""
    used = [slots_of((part,), machines) for part in stages]
    return all(sum(row[size] for row in used) <= have for size, have in enumerate(slots(machines)))


def fits(stages: Sequence[Part], machines: Cluster) -> bool:
    """Exhaustively: whether every unit finds a node."""
    size = machines.groups[0].devices_per_node
    pieces = sorted((unit for part in stages for unit in units(part, size)), reverse=True)

    @cache
    def rest_fits(index: int, free: tuple[int, ...]) -> bool:
        if index == len(pieces):
            return True
        choices = {n for n in free if n >= pieces[index]}
        return any(rest_fits(index + 1, _without(free, node, pieces[index])) for node in choices)

    return rest_fits(0, (size,) * machines.groups[0].count)


def _without(free: tuple[int, ...], node: int, unit: int) -> tuple[int, ...]:
    left = list(free)
    left.remove(node)
    return tuple(sorted((*left, node - unit)))


def in_nodes(part: Part, ranks: tuple[int, ...], machines: Cluster) -> bool:
    """Whether all units of a stage are in a node each: the largest in the node that has most of it, and so on."""
    here = sorted(Counter(machines.ranks[rank].node for rank in ranks).values(), reverse=True)
    own = [unit for unit in units(part, machines.groups[0].devices_per_node) if unit > part.tensor]
    columns = [ranks[first : first + part.tensor] for first in range(0, len(ranks), part.tensor)]
    whole = all(len({machines.ranks[rank].node for rank in each}) == 1 for each in columns)
    return whole and all(unit <= most for unit, most in zip(own, here, strict=False))


def test_rows_hold_just_where_powers_of_two_fit() -> None:
    rng, held, broken = Random(3), 0, 0
    for _ in range(CASES):
        machines = cluster((rng.randint(2, 3), rng.randint(2, 8)))
        stages = random_stages(rng, machines, odd=False)
        assert enough(stages, machines) == fits(stages, machines)
        if not enough(stages, machines):
            broken += 1
            continue
        held += 1
        found = place([(part,) for part in stages], machines)
        assert found is not None
        for part, ranks in zip(stages, found, strict=True):
            assert in_nodes(part, ranks, machines)
    assert min(held, broken) > CASES // 20


def test_rows_are_necessary_for_all_degrees() -> None:
    """With degrees that are no powers of two they are not enough; but where everything fits a place is found, always."""
    rng, placeless, held = Random(4), 0, 0
    for _ in range(CASES):
        machines = cluster((rng.randint(2, 3), rng.choice((3, 5, 6, 7))))
        stages = random_stages(rng, machines, odd=True)
        possible = fits(stages, machines)
        if not enough(stages, machines):
            assert not possible
            continue
        held += 1
        found = place([(part,) for part in stages], machines)
        assert possible == (found is not None and all(in_nodes(*each, machines) for each in zip(stages, found, strict=True)))
        placeless += found is None
    assert placeless <= held // 25


def test_three_meshes_of_four_do_not_fit_two_nodes_of_six() -> None:
    machines = cluster((2, 6))
    four = Part(0, (1, 1, 1, 1))
    assert enough([four, four], machines)
    assert not enough([four, four, four], machines)


def test_a_stage_that_is_spread_has_the_formula_of_its_own_nodes() -> None:
    """Three devices of three stages on two nodes of 4: priced inside a node, but one is on both."""
    slow = Link(1e-3, 1e5)
    machines = replace(cluster((2, 4)), groups=tuple(replace(g, network=slow) for g in cluster((2, 4)).groups))
    index = make_index(three_layers(), machines, 6, Settings(), ModelRef("m.py"))
    problem = price(index, propose(index))
    number = next(n for n, setting in enumerate(problem.settings) if setting.microbatches == 1)
    setting = problem.settings[number]
    counts = {len(o.parts[0].samples): i for i, o in enumerate(setting.options) if o.parts[0].tensor == 1 and o.zero == 0}
    choices = (Choice(0, 1, counts[3]), Choice(1, 2, counts[3]), Choice(2, 3, counts[2]))
    candidate = Candidate(number, choices, step_s(setting, choices))
    plan = decode(candidate, problem, index)
    assert plan is not None
    assert [part.nodes for stage in plan.stages for part in parts_of(stage, index)] == [(), (2, 1), ()]
    assert formula_step(plan, index) > candidate.step_s * 1.1
    together = (Choice(0, 1, counts[3]), Choice(1, 3, counts[3]))
    apart = decode(Candidate(number, together, 0.0), problem, index)
    assert apart is not None
    assert formula_step(apart, index) == pytest.approx(step_s(setting, together), rel=1e-12)
