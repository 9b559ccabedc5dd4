"""Every model of the zoo under plans drawn at random."""

from __future__ import annotations

import pytest

from tests.fronts import front
from tests.parity.drawn import assert_parity_under_drawn_plans
from tests.parity.test_zoo import RANDOM
from tests.zoo import ZOO


@pytest.mark.parametrize("name", [name for name in ZOO if name not in RANDOM])
def test_any_plan_trains_as_one_device(name: str) -> None:
    assert_parity_under_drawn_plans(front(name), name, plans=2)  # beside those of test_zoo
