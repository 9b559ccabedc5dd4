"""Sets of a tensor's elements that ranks hold: shards over columns, parts of flat rows, and what two of them have in common.

An element is its position in the flattened tensor. A shard along a dim is the same window in every period: a dim of n sizes
(or of ``outer`` slices of n each) in front of dims of p elements has a period of n * p. The elements of a shard are in the same
order in its own flattened form and in the tensor's, so that a part of a shard is a window in an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lcm, prod

from autopart.sharding.placement import Shard


@dataclass(frozen=True, slots=True)
class Elements:
    """x with start <= x < stop and low <= x mod period < high."""

    start: int
    stop: int
    period: int
    low: int
    high: int

    @property
    def count(self) -> int:
        return common(self, self)

    def part(self, first: int, last: int) -> Elements:
        """Of these elements in order, those from number ``first`` up to ``last``, of a whole tensor or a whole shard."""
        width = self.high - self.low
        if first >= last or not width:
            return Elements(0, 0, self.period, self.low, self.high)

        def position(number: int) -> int:
            return self.start + number // width * self.period + self.low + number % width

        return Elements(position(first), position(last - 1) + 1, self.period, self.low, self.high)


def whole(shape: tuple[int, ...]) -> Elements:
    """All of a tensor."""
    size = prod(shape)
    return Elements(0, size, max(size, 1), 0, size)


def shard(shape: tuple[int, ...], place: Shard, start: int, units: int) -> Elements:
    """Units [start, start + units) of a tensor that is split along a dim."""
    dim = place.dim % len(shape)
    period = shape[dim] // place.outer * prod(shape[dim + 1 :])
    unit = period // place.units
    return Elements(0, prod(shape), period, start * unit, (start + units) * unit)


@lru_cache(maxsize=2**16)
def common(a: Elements, b: Elements) -> int:
    """How many elements are in both."""
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    if start >= stop:
        return 0
    period = lcm(a.period, b.period)
    windows = [(at + a.low, at + a.high) for at in range(0, period, a.period)]

    def below(end: int) -> int:
        """Elements of ``b``'s windows before ``end``, all from 0 on."""
        rounds, rest = divmod(end, b.period)
        return rounds * (b.high - b.low) + min(max(rest - b.low, 0), b.high - b.low)

    def both_below(end: int) -> int:
        rounds, rest = divmod(end, period)
        full = sum(below(high) - below(low) for low, high in windows) if rounds else 0
        return rounds * full + sum(below(min(rest, high)) - below(low) for low, high in windows if low < rest)

    return both_below(stop) - both_below(start)
