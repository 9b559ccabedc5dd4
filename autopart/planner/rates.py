"""What the devices of a plan draw while it runs, money or power, in whole units that a solver can add up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import product
from math import gcd, lcm, prod

from autopart.planner.problem import Budget, Candidate, Problem

MOST_UNITS = 10**7  # of all devices together: more are rounded down to fewer
EVERY_SUM = 50_000  # combinations of devices beyond which their sums are not listed


@dataclass(frozen=True, slots=True)
class Rates:
    """``each[g]`` is what one device of group g draws; ``units[g]`` of ``unit`` each are that, or a little less where there would
    be more than ``MOST_UNITS`` of them.
    """

    each: tuple[float, ...]
    units: tuple[int, ...]
    unit: float

    def budget(self, limit: int, unit_s: float = 0.0) -> Budget:
        return Budget(self.units, limit, unit_s)

    def of(self, problem: Problem, candidate: Candidate) -> float:
        """What a pipeline draws."""
        options = problem.settings[candidate.setting].options
        parts = [part for choice in candidate.choices for part in options[choice.option].parts]
        return sum(part.devices * self.each[part.group] for part in parts)


def make_rates(each: Sequence[float], devices: Sequence[int]) -> Rates:
    """Of devices that draw as much, all above zero, ``devices[g]`` of each group. Numbers of few decimals come out exactly."""
    exact = [Fraction(Decimal(repr(rate))) for rate in each]
    whole = lcm(*(rate.denominator for rate in exact))
    units = [int(rate * whole) for rate in exact]
    common = reduce(gcd, units)
    unit = Fraction(common, whole)
    total = sum(n * count // common for n, count in zip(units, devices, strict=True))
    unit *= max(1, -(-total // MOST_UNITS))
    return Rates(tuple(each), tuple(int(rate / unit) for rate in exact), float(unit))


def possible_sums(units: Iterable[int], devices: Sequence[int]) -> tuple[int, ...] | None:
    """What any numbers of devices draw together, ascending, without none at all; None where they are too many to list."""
    if prod(count + 1 for count in devices) > EVERY_SUM:
        return None
    parts = [[count * each for count in range(most + 1)] for each, most in zip(units, devices, strict=True)]
    return tuple(sorted({sum(part) for part in product(*parts)} - {0}))
