"""Joined steps: m >= 2 parts that need each other in a circle, P before Q before P, as one step of a chain on m devices.

Convexity of each part alone allows such circles, a chain of plain parts does not. All parts of a circle lie between two ideals.
Of what they have to carry, a joined step counts what they carry together:

* every op on the cheapest of their types, and every tie that the rest of the graph shares with them, once;
* m tensors among themselves, at both ends: each part of the circle makes one that another part reads;
* at least m + 1 forward ops, 4 for two parts: if each part had one, the graph would have a circle, and if one of two parts
  had one, that op would lie on a path between two ops of the other part;
* no pivot, an op x with a path to or from every other forward op: each other part would lie wholly before x or wholly after it,
  or x were between two of its ops; an edge from what is after x back to what is before it, or to x's part, would close a
  circle or leave x's part and enter it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from autopart.profiled.groups import Groups
from autopart.profiled.problem import Array, Ints, Problem
from autopart.profiled.units import Units, main_ops


@dataclass(frozen=True, eq=False)
class Circle:
    """What is counted of a joined step on ``use`` devices of each type; loads are divided by ``share``."""

    use: tuple[int, ...]
    time_s: Array  # by unit
    forbidden: Array  # by unit: groups that none of the types can run
    tie_s: Array  # by tie
    inner_s: Array  # by number of pivots before the step: what m tensors among the parts cost
    share: float

    @property
    def least_ops(self) -> int:
        """Forward ops of the parts together, at least."""
        return max(4, sum(self.use) + 1)


def circles(problem: Problem, groups: Groups, units: Units, price: Array, *, summed: bool) -> Iterator[Circle]:
    """All sets of two devices and more. ``price``: what a second of each type is worth in a mean of loads."""
    devices = [len(ranks) for ranks in problem.kind_ranks]
    times = groups.time_s[:, [ranks[0] for ranks in problem.kind_ranks]]
    spans, tensors = _tensors(problem, groups, units)
    for use in product(*(range(count + 1) for count in devices)):
        kinds = np.flatnonzero(use)
        many = sum(use)
        worth = np.ones(len(kinds)) if summed else price[kinds]
        total = float(worth @ np.array(use)[kinds])
        if many < 2 or units.forward.sum() < many + 1:
            continue
        each, able = times[:, kinds], np.isfinite(times[:, kinds])
        none = ~able.any(axis=1)
        least = np.where(able, np.where(able, each, 0.0) * worth, np.inf).min(axis=1)
        yield Circle(
            use=use,
            time_s=units.gather(np.where(none, 0.0, least)),
            forbidden=units.gather(none.astype(float)),
            tie_s=(units.tie_s[:, kinds] * worth).min(axis=1) if len(units.ties) else np.zeros(0),
            inner_s=_inner(spans, (tensors[:, kinds] * worth).min(axis=1), many, int(units.pivot.sum()) + 1),
            share=total if total > 0 and not summed else 1.0,
        )


def _tensors(problem: Problem, groups: Groups, units: Units) -> tuple[Ints, Array]:
    """Of every tensor that forward ops of another group read: pivots before its producer, and its least cost by type."""
    main = main_ops(problem)
    unit = {group: place for place, each in enumerate(units.members) for group in each}
    crossing = [
        op
        for op in range(problem.count)
        if main[op] and any(main[reader] and groups.of[reader] != groups.of[op] for reader in problem.readers[op])
    ]
    spans = np.array([int(units.span[unit[groups.of[op]]]) for op in crossing], dtype=np.int64)
    return spans, problem.kind_transfer_s[crossing]


def _inner(spans: Ints, seconds: Array, many: int, count: int) -> Array:
    """The ``many`` cheapest tensors of each span, at both ends; infinite where there are fewer."""
    found = np.full(count, np.inf)
    for span in range(count):
        here = np.sort(seconds[spans == span])
        if len(here) >= many:
            found[span] = 2.0 * here[:many].sum()
    return found
