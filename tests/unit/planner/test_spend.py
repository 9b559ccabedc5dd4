"""Plans that are to be cheap, against the baselines; prices that turn the choice."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from autopart.cluster.cluster import Price
from autopart.errors import Infeasible
from autopart.planner.best import best_plan
from autopart.planner.meshes import Index
from autopart.planner.spend import Wish
from autopart.planner.strategies import Pins
from tests.unit.planner.test_choose import FAST, SLOW, index_of


def priced(*prices: float) -> Index:
    """Two fast devices and two slow ones, ten times slower."""
    index = index_of((FAST, 2), (SLOW, 2))
    groups = zip(index.cluster.groups, prices, strict=True)
    return replace(index, cluster=replace(index.cluster, groups=tuple(replace(g, price=Price(p, "EUR")) for g, p in groups)))


@pytest.mark.parametrize(("prices", "name"), [((1.0, 1.0), "fast"), ((50.0, 1.0), "slow")])
def test_prices_turn_the_choice(prices: tuple[float, float], name: str) -> None:
    index = priced(*prices)
    plan = best_plan(index, wish=Wish("cost"))
    assert {index.cluster.device(rank).name for rank in plan.used_ranks} == {name}
    assert plan.estimate is not None
    assert plan.estimate.cost is not None
    assert plan.estimate.cost.unit == "EUR"


@pytest.mark.parametrize("factor", [math.inf, 1.0, 1.5])
def test_no_baseline_that_keeps_the_limit_is_cheaper(factor: float) -> None:
    index = priced(5.0, 1.0)
    fastest = best_plan(index).estimate
    assert fastest is not None
    limit_s = factor * fastest.step_time_s
    plan = best_plan(index, wish=Wish("cost", limit_s))
    assert plan.estimate is not None
    assert plan.estimate.step_time_s <= limit_s
    cost = plan.estimate.cost
    assert cost is not None
    assert cost.rate == sum(5.0 if rank < 2 else 1.0 for rank in plan.used_ranks)
    assert cost.value == pytest.approx(cost.rate * plan.estimate.step_time_s / 3600)
    assert cost.lower_bound <= cost.rate * plan.estimate.formula_s / 3600
    kept = [row.value for row in plan.baselines if row.step_time_s is not None and row.step_time_s <= limit_s]
    assert all(value is not None and value >= cost.value for value in kept)


def test_pins_hold_and_limits_are_explained() -> None:
    plan = best_plan(priced(5.0, 1.0), Pins(stages=2), wish=Wish("cost"))
    assert len(plan.stages) == 2
    with pytest.raises(Infeasible, match="no plan keeps a step of 1 ns"):
        best_plan(priced(5.0, 1.0), wish=Wish("cost", 1e-9))


def test_the_front_has_the_chosen_plan_and_nothing_dominated() -> None:
    plan = best_plan(priced(5.0, 1.0), with_front=True)
    assert plan.estimate is not None
    assert plan.front[0].devices == 1
    assert plan.front[-1].step_time_s == plan.estimate.step_time_s
    pairs = [(point.devices, -point.step_time_s) for point in plan.front]
    assert pairs == sorted(set(pairs))
    assert {point.cost.unit for point in plan.front if point.cost} == {"EUR"}
    assert all(row.step_time_s is None or row.step_time_s >= plan.front[-1].step_time_s for row in plan.baselines)


def test_the_same_wish_has_the_same_plan() -> None:
    first, second = (best_plan(priced(5.0, 1.0), wish=Wish("cost"), with_front=True) for _ in range(2))
    assert first == second
