"""How many parts must read one tensor, at least, where a chain is cut: each but the first costs its maker another transfer.

Parts that carry what is outside of an ideal have so many devices, and no load above the cap. A convex part that reads nothing of
a tensor is small: if r1 < r2 < ... are readers that follow one another, it does not have something before and something after
any of them, so for some i it is among the units that are neither before r_i nor after r_(i+1). The largest such set bounds its
work. Where devices must be nearly full there is no room for many small parts, so all others read the tensor. A mask that every
layer of a transformer reads is sent to every other device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from autopart.profiled.groups import Groups
from autopart.profiled.order import mask_of
from autopart.profiled.problem import Array, Ints, Problem
from autopart.profiled.tables import unpacked
from autopart.profiled.units import Units


@dataclass(frozen=True, eq=False)
class Tensor:
    """Of one unit, read by at least two others; ``least_s`` by type."""

    maker: int  # a set of one unit
    readers: int  # units other than the maker
    least_s: Array


@dataclass(frozen=True, eq=False)
class Spread:
    """Tensors that are read all over: units that make them, what a transfer costs, the most work of a part that reads nothing."""

    makers: Ints
    least_s: Array  # by tensor and device type
    idle_work: Array  # by tensor


def shared_tensors(problem: Problem, groups: Groups, unit: dict[int, int]) -> list[Tensor]:
    """Tensors that at least two units read beside the one that makes them; ``unit`` is by group."""
    found = []
    for op in range(problem.count):
        if groups.of[op] in unit:
            maker = unit[groups.of[op]]
            readers = {unit[groups.of[each]] for each in problem.readers[op] if groups.of[each] in unit} - {maker}
            if len(readers) > 1:
                found.append(Tensor(1 << maker, mask_of(readers), problem.kind_transfer_s[op]))
    return found


def make_spread(units: Units, tensors: Iterable[Tensor], work: Array, most: float) -> Spread:
    """Of tensors without which no part has as much work as ``most``, that of the largest device; ``work`` is by unit."""
    chosen = [(each, idle) for each in tensors if (idle := _idle_work(units, each, work, most)) < most]
    return Spread(
        makers=np.array([each.maker.bit_length() - 1 for each, _ in chosen], dtype=np.int64),
        least_s=np.array([each.least_s for each, _ in chosen]).reshape(len(chosen), units.tie_s.shape[1]),
        idle_work=np.array([idle for _, idle in chosen]),
    )


def _idle_work(units: Units, tensor: Tensor, work: Array, most: float) -> float:
    """What a convex part without a reader of a tensor takes at most; ``most`` where that is no less."""
    every = (1 << units.count) - 1 & ~tensor.readers
    row = _in_a_row(units, tensor.readers)
    above = [0, *(units.order.above[reader] for reader in row)]
    below = [*(units.order.below[reader] for reader in row), 0]
    found = 0.0
    for before, after in zip(above, below, strict=True):
        found = max(found, float(unpacked([every & ~before & ~after], units.count)[0] @ work))
        if found >= most:
            return most
    return found


def _in_a_row(units: Units, readers: int) -> list[int]:
    """Readers of which each follows the one before."""
    found: list[int] = []
    for unit in units.order.topological:
        if readers >> unit & 1 and (not found or units.order.above[unit] >> found[-1] & 1):
            found.append(unit)
    return found


def more_readers(spread: Spread, rest: Array, worth: Array, left: Ints, slack: float) -> Array:
    """By ideal and tensor: readers beyond the first among the parts outside, at least.

    ``rest``: the work outside, by ideal; ``worth``: the most work of a device, ``left``: devices that do the rest, by type.
    """
    each = np.repeat(worth, left)
    room = float(each.sum()) - rest + slack
    found = np.zeros((len(rest), len(spread.makers)))
    for tensor, idle in enumerate(spread.idle_work):
        lost = np.cumsum(np.sort(np.maximum(each - idle, 0.0)))  # of room, by so many parts that do not read it
        found[:, tensor] = np.maximum(len(each) - np.searchsorted(lost, room, side="right") - 1, 0)
    return found
