"""Which bound belongs to which plan, and how many devices a plan must use."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from autopart.pipeline import bound_of, priced
from autopart.planner.baselines import baseline_names, baselines
from autopart.planner.best import best_plan, search
from autopart.planner.strategies import Pins
from autopart.plans import Plan, Schedule
from tests.unit.planner.test_choose import FAST, SLOW, index_of


def planned(pins: Pins | None = None) -> Plan:
    return best_plan(index_of((FAST, 2), (SLOW, 2)), pins)


def edited(plan: Plan) -> Plan:
    """The same stages with more microbatches."""
    more = 2 * plan.schedule.microbatches
    stages = tuple(replace(stage, shares=(plan.batch_size // more,), ranks=stage.ranks[:1], tensor=1, layouts={}, zero=0, data=1)
                   for stage in plan.stages)  # fmt: skip
    return replace(plan, schedule=Schedule(plan.schedule.name, more), stages=stages)


def test_an_edit_of_the_same_problem_keeps_the_bound() -> None:
    index, plan = index_of((FAST, 2), (SLOW, 2)), planned()
    again = priced(edited(plan), index)
    assert again.estimate is not None
    assert plan.search is not None
    assert again.search == plan.search
    assert again.estimate.lower_bound_s == plan.search.lower_bound_s
    assert again.estimate.formula_s >= plan.search.lower_bound_s, "the bound holds for the edited plan too"


def test_another_problem_has_no_bound() -> None:
    plan = planned()
    for changed in (replace(plan, batch_size=32), replace(plan, settings=replace(plan.settings, optimizer="sgd"))):
        index = index_of((FAST, 2), (SLOW, 2), batch_size=changed.batch_size)
        index = replace(index, settings=changed.settings)
        stages = tuple(replace(s, shares=(32,), ranks=s.ranks[:1], tensor=1, layouts={}, zero=0) for s in changed.stages[:1])
        names = tuple(block.name for block in index.blocks.blocks)
        shares = (changed.batch_size,)
        again = priced(
            replace(changed, schedule=Schedule("1f1b", 1), stages=(replace(stages[0], blocks=names, shares=shares),)), index
        )
        assert again.search is None
        assert again.baselines == ()
        assert again.estimate is not None
        assert math.isnan(again.estimate.lower_bound_s)


def test_a_bound_under_pins_speaks_of_plans_that_have_them() -> None:
    index = index_of((FAST, 2), (SLOW, 2))
    plan = planned(Pins(stages=2))
    assert plan.search is not None
    assert plan.search.pins == {"stages": 2}
    assert bound_of(plan, index) == plan.search.lower_bound_s
    free = best_plan(index)
    assert math.isnan(bound_of(replace(free, search=plan.search), index)) == (len(free.stages) != 2)
    one = replace(plan, stages=(replace(plan.stages[0], blocks=plan.stages[0].blocks + plan.stages[1].blocks),))
    assert math.isnan(bound_of(one, index))


@pytest.mark.parametrize("least", [(0, 1), (0, 2), (2, 2), (1, 0)])
def test_devices_that_must_be_used_are_used(least: tuple[int, int]) -> None:
    index = index_of((FAST, 2), (SLOW, 2))
    found = search(index, Pins(least=least))
    assert found.scores
    for scored in found.scores:
        used = Counter(index.cluster.ranks[rank].group for stage in scored.plan.stages for rank in stage.ranks)
        assert all(used[group] >= count for group, count in enumerate(least))
    free = search(index, Pins())
    assert free.scores[0].step_s <= found.scores[0].step_s


def test_plans_are_ranked_and_each_stands_once() -> None:
    found = search(index_of((FAST, 2), (SLOW, 2)), Pins())
    steps = [scored.step_s for scored in found.scores]
    assert steps == sorted(steps)
    plans = [(scored.plan.stages, scored.plan.schedule) for scored in found.scores]
    assert all(plan not in plans[:place] for place, plan in enumerate(plans))


def test_baselines_by_name() -> None:
    index = index_of((FAST, 2), (SLOW, 2))
    every = baselines(index)
    assert tuple(row.name for row in every) == baseline_names(index)
    (only,) = baselines(index, only="fully sharded data parallel")
    assert only.row == next(row.row for row in every if row.name == only.name)
    assert only.best is not None
    assert {(stage.zero, stage.data, stage.ranks) for stage in only.best.plan.stages} == {(3, 4, (0, 1, 2, 3))}
    (tensor,) = baselines(index, only="pure tensor, fastest node")
    assert tensor.best is not None
    assert {(stage.tensor, stage.data, stage.ranks) for stage in tensor.best.plan.stages} == {(2, 1, (0, 1))}
    assert "fully sharded data parallel" not in baseline_names(index_of((FAST, 1)))
