"""The chosen plan against the baselines, and the answer no."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from autopart.cluster.cluster import Cluster, Group
from autopart.errors import Infeasible, InputError
from autopart.planner.baselines import baselines
from autopart.planner.best import best_plan
from autopart.planner.choose import with_memory
from autopart.planner.meshes import Index, make_index
from autopart.planner.pins import check_pins
from autopart.planner.price import price, propose
from autopart.planner.score import formula_fullness, score
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Settings
from cost_models.hardware import DeviceType, Link
from tests.unit.planner.test_prices import three_layers

FAST = DeviceType("fast", 2**34, 1e11, {"float32": 1e9}, 1e-6)
SLOW = DeviceType("slow", 2**34, 1e10, {"float32": 1e8}, 1e-5)
INSIDE, NETWORK = Link(1e-7, 1e9), Link(1e-6, 1e8)


def index_of(*devices: tuple[DeviceType, int], batch_size: int = 64) -> Index:
    groups = tuple(Group(device.name, 1, device, count, INSIDE, NETWORK) for device, count in devices)
    return make_index(three_layers(), Cluster("c.yaml", "", groups), batch_size, Settings(), ModelRef("m.py"))


def test_chosen_is_never_slower_than_a_baseline_and_shows_them_all() -> None:
    plan = best_plan(index_of((FAST, 2), (SLOW, 2)))
    assert plan.estimate is not None
    times = [row.step_time_s for row in plan.baselines if row.step_time_s is not None]
    assert len(plan.baselines) == 9
    assert plan.estimate.step_time_s <= min(times)
    assert all((row.step_time_s is None) == bool(row.infeasible) for row in plan.baselines)


def test_same_input_same_plan() -> None:
    assert best_plan(index_of((FAST, 2), (SLOW, 1))) == best_plan(index_of((FAST, 2), (SLOW, 1)))


def test_an_impossible_baseline_says_why() -> None:
    rows = {row.name: row for row in baselines(index_of((FAST, 2), (SLOW, 2), batch_size=2))}
    assert rows["data parallel, even"].reason == "4 devices, but 2 samples"
    assert rows["even pipeline"].reason == "4 devices, but 3 blocks"
    assert rows["fastest device alone"].best is not None


def test_an_expert_splits_ops_inside_nodes() -> None:
    """Every node a stage, of all its devices' columns; their parameters are split."""
    (row,) = (row for row in baselines(index_of((FAST, 2), (SLOW, 2))) if row.name == "tensor in nodes, pipeline across")
    assert row.best is not None
    stages = row.best.plan.stages
    assert [(stage.ranks, stage.data, stage.tensor, stage.zero) for stage in stages] == [((0, 1), 1, 2, 0), ((2, 3), 1, 2, 0)]
    assert {layout[0] for stage in stages for name, layout in stage.layouts.items() if name.endswith("weight")} == {"S"}
    odd = {row.name: row for row in baselines(index_of((FAST, 3), (SLOW, 1), batch_size=1))}
    assert odd["tensor in nodes, pipeline across"].reason == "3 replicas, but 1 samples"
    assert "tensor in nodes, pipeline across" not in {row.name for row in baselines(index_of((FAST, 1), (SLOW, 1)))}


def test_pins_hold() -> None:
    plan = best_plan(index_of((FAST, 2), (SLOW, 2)), Pins(stages=2, data=2, microbatches=4))
    assert len(plan.stages) == 2
    assert {stage.data for stage in plan.stages} == {2}
    assert plan.schedule.microbatches == 4


@pytest.mark.parametrize(
    ("pins", "what", "remedy"),
    [
        (Pins(microbatches=7), "can't be cut into 7", "--microbatches 4 or 8"),
        (Pins(data=5), "5 replicas", "between 1 and 4"),
        (Pins(data=3, stages=2), "3 replicas", "between 1 and 2"),
        (Pins(stages=4), "4 stages of 3 blocks", "between 1 and 3"),
        (Pins(stages=0), "0 stages", "between 1 and 3"),
        (Pins(tensor=5), "5 columns for each replica: a node has 2 devices at most", "--tensor 1 or 2 or 3 or 4"),
        (Pins(tensor=2, data=3), "3 replicas of each stage: there is room for 2, 64 samples and --tensor 2", "between 1 and 2"),
        (Pins(tensor=2, stages=3), "3 stages of 3 blocks on 4 devices, 2 for each replica", "between 1 and 2"),
        (Pins(zero=2, data=1), "ZeRO level 2, but no stage can have two replicas", "Leave out --zero"),
        (Pins(zero=1, microbatches=64), "ZeRO level 1, but no stage", "Leave out --zero"),
        (Pins(layouts={"fc0*": "S(0)"}, tensor=1), "--layout, but every replica is one device", "--tensor 2"),
    ],
)
def test_impossible_pins_are_the_users_mistake(pins: Pins, what: str, remedy: str) -> None:
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        check_pins(index_of((FAST, 2), (SLOW, 2)), pins)
    assert remedy in caught.value.remedy


def test_the_answer_no_has_numbers_and_a_change_that_helps() -> None:
    small = replace(FAST, memory_bytes=2**28 + 2**27, kind="cpu")  # less than the 256 MiB reserve and 5% leaves 100 MiB
    blocks = three_layers()
    heavy = replace(blocks, sharded=replace(blocks.sharded, graph=_wider(blocks.sharded.graph, 2000)))
    cluster = Cluster("c.yaml", "", (Group("box", 1, small, 1, INSIDE, NETWORK),))
    with pytest.raises(Infeasible) as caught:
        best_plan(make_index(heavy, cluster, 4, Settings(), ModelRef("m.py")))
    assert re.search(r"take \d+ MiB, all devices together have \d+ MiB", caught.value.what)
    found = re.search(r"([\d.]+) MiB on each fast", caught.value.remedy)
    assert found
    roomier = replace(small, memory_bytes=int(float(found[1]) * 2**20) + 2**21)
    larger = Cluster("c.yaml", "", (Group("box", 1, roomier, 1, INSIDE, NETWORK),))
    assert best_plan(make_index(heavy, larger, 4, Settings(), ModelRef("m.py"))).stages


def _wider(graph, width):
    """The same graph with every size of 4 turned into ``width``."""

    def value(old):
        return replace(old, shape=tuple(width if size == 4 else size for size in old.shape))

    ops = tuple(replace(op, outputs=tuple(map(value, op.outputs))) for op in graph.ops)
    parameters = tuple(replace(p, value=value(p.value)) for p in graph.parameters)
    return replace(graph, inputs=tuple(replace(i, value=value(i.value)) for i in graph.inputs), parameters=parameters, ops=ops)


def test_less_memory_scales_every_line() -> None:
    index = index_of((FAST, 1))
    problem = price(index, propose(index))
    halved = with_memory(problem, 0.5)
    assert (halved.settings[0].options[0].capacity_bytes * 2 == problem.settings[0].options[0].capacity_bytes).all()


def test_no_bound_is_above_a_plan_that_fits() -> None:
    """The formula counts all gradients beside all that is kept, so where memory just suffices it has no room for a plan that fits
    when simulated. Its bound must speak of that plan, too.
    """
    blocks = three_layers()
    heavy = replace(blocks, sharded=replace(blocks.sharded, graph=_wider(blocks.sharded.graph, 400)))

    def having(memory_bytes: int) -> Index:
        group = Group("fast", 1, replace(FAST, memory_bytes=memory_bytes), 2, INSIDE, NETWORK)
        return make_index(heavy, Cluster("c.yaml", "", (group,)), 4000, Settings(), ModelRef("m.py"))

    pins = Pins(microbatches=1)
    roomy = best_plan(having(2**34), pins)
    too_little, enough = 0, 2**34
    while enough - too_little > 2**10:
        middle = (too_little + enough) // 2
        too_little, enough = (middle, enough) if score(roomy, having(middle)).overfull else (too_little, middle)
    tight = having(enough)
    assert formula_fullness(roomy, tight) > 1.0
    plan = best_plan(tight, pins)
    assert plan.stages == roomy.stages
    assert plan.estimate is not None
    assert 0.0 < plan.estimate.lower_bound_s <= plan.estimate.formula_s * (1 + 1e-9)
