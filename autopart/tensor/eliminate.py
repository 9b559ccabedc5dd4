"""The exact minimum of a sum of tables over discrete variables, by bucket elimination.

A variable is eliminated by adding up the tables that it is in and taking the minimum over its values, which leaves a table
over its neighbours (Dechter 1999). The order is greedy: next comes the variable whose elimination makes the smallest table.
The minimum is exact whatever the order; only time and memory depend on it. ``inf`` forbids a combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 2**27  # entries of a table: a gigabyte


class TooWideError(Exception):
    """The smallest table of the next step has more than ``LARGEST`` entries."""


@dataclass(frozen=True, eq=False)
class Table:
    """A cost for every combination of values of some variables: one dim a variable, in their order, each once."""

    variables: tuple[int, ...]
    cost: Array


@dataclass(frozen=True, eq=False)
class _Step:
    """How an eliminated variable follows from those that were left then."""

    variable: int
    others: tuple[int, ...]
    best: NDArray[np.int32]


def minimize(sizes: Sequence[int], tables: Sequence[Table]) -> tuple[float, tuple[int, ...]]:
    """The least total cost and values that have it; ``sizes[v]`` is the number of values of variable v."""
    left = {variable: [t for t in tables if variable in t.variables] for variable in range(len(sizes))}
    constant = sum(float(table.cost) for table in tables if not table.variables)
    entries = {variable: _entries(variable, own, sizes) for variable, own in left.items()}
    steps: list[_Step] = []
    while left:
        variable = min(entries, key=lambda v: (entries[v], v))
        del entries[variable]
        step, rest = _eliminated(variable, left.pop(variable), sizes)
        steps.append(step)
        for other in step.others:
            left[other] = [t for t in left[other] if variable not in t.variables] + [rest]
            entries[other] = _entries(other, left[other], sizes)
        constant += float(rest.cost) if not step.others else 0.0
    return constant, _values(steps, len(sizes))


def _others(variable: int, tables: Sequence[Table]) -> tuple[int, ...]:
    return tuple(sorted({v for table in tables for v in table.variables} - {variable}))


def _entries(variable: int, tables: Sequence[Table], sizes: Sequence[int]) -> int:
    """Of the table that eliminating the variable leaves."""
    return prod(sizes[v] for v in _others(variable, tables))


def _eliminated(variable: int, tables: Sequence[Table], sizes: Sequence[int]) -> tuple[_Step, Table]:
    """Value by value, so that no array is larger than what is left; of equal ones the first."""
    others = _others(variable, tables)
    if prod(sizes[v] for v in (variable, *others)) > LARGEST:
        raise TooWideError
    aligned = [_aligned(table, (variable, *others)) for table in tables]
    shape = [sizes[v] for v in others]
    least, best, cost = np.full(shape, np.inf), np.zeros(shape, np.int32), np.empty(shape)
    for value in range(sizes[variable]):
        cost.fill(0.0)
        for table in aligned:
            cost += table[value]
        better = cost < least
        np.copyto(least, cost, where=better)
        np.copyto(best, value, where=better)
    return _Step(variable, others, best), Table(others, least)


def _aligned(table: Table, axes: Sequence[int]) -> Array:
    """The table with a dim for every axis, of size 1 where it does not depend on it."""
    order = sorted(range(len(table.variables)), key=lambda i: axes.index(table.variables[i]))
    sizes = dict(zip(table.variables, table.cost.shape, strict=True))
    return table.cost.transpose(order).reshape([sizes.get(v, 1) for v in axes])


def _values(steps: Sequence[_Step], count: int) -> tuple[int, ...]:
    """Backwards: each eliminated variable given those after it."""
    found = [0] * count
    for step in reversed(steps):
        found[step.variable] = int(step.best[tuple(found[v] for v in step.others)])
    return tuple(found)
