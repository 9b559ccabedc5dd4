"""Ideals of the units: sets that hold all producers of their members. A chain of them cuts the graph into convex parts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from autopart.profiled.units import Units

SEED = 0
ORDERS = 12


def all_ideals(units: Units, limit: int, late: Callable[[], bool]) -> list[int] | None:
    """Every ideal, or None where there are more than ``limit``, or it is late."""
    needs = [sum(1 << producer for producer in each) for each in units.producers]
    sources = [unit for unit, need in enumerate(needs) if not need]
    found = {0}
    front: dict[int, list[int]] = {0: sources}
    while front:
        wider: dict[int, list[int]] = {}
        for ideal, ready in front.items():
            for unit in ready:
                larger = ideal | 1 << unit
                if larger not in wider:
                    fresh = [reader for reader in units.readers[unit] if not needs[reader] & ~larger]
                    wider[larger] = [each for each in ready if each != unit] + fresh
        found |= wider.keys()
        if len(found) > limit or late():
            return None
        front = wider
    return sorted(found)


def some_ideals(units: Units, limit: int) -> list[int]:
    """Prefixes of several good orders, their unions and intersections: as many as the limit allows."""
    chains = [prefixes(order) for order in orders(units)]
    found = {ideal for chain in chains for ideal in chain}
    for first in range(len(chains)):
        for second in range(first):
            if len(found) > limit:
                return sorted(found)
            found |= _mixed(chains[first], chains[second])
    return sorted(found)


def _mixed(first: list[int], second: list[int]) -> set[int]:
    """Unions and intersections of prefixes of about equal length."""
    found = set()
    for shift in (0, 2, -2, 6, -6):
        for index, ideal in enumerate(first):
            other = second[min(max(index + shift, 0), len(second) - 1)]
            found |= {ideal | other, ideal & other}
    return found


def prefixes(order: Iterable[int]) -> list[int]:
    """The sets of the first 0, 1, ... units of an order."""
    found = [0]
    for unit in order:
        found.append(found[-1] | 1 << unit)
    return found


def orders(units: Units) -> list[list[int]]:
    """Topological orders: breadth first, depth first, by the lightest cut, and depth first in random order of branches."""
    rng = random.Random(SEED)
    ranks = [rng.sample(range(units.count), units.count) for _ in range(ORDERS)]
    found = [
        list(units.order.topological),
        depth_first(units, lambda unit: unit),
        depth_first(units, lambda unit: -unit),
        _lightest(units),
    ]
    return found + [depth_first(units, rank.__getitem__) for rank in ranks]


def depth_first(units: Units, rank: Callable[[int], int]) -> list[int]:
    """Of the units that are ready, one that became so last; of those the first by rank."""
    missing = [len(each) for each in units.producers]
    stack = sorted((unit for unit, count in enumerate(missing) if not count), key=rank, reverse=True)
    found: list[int] = []
    while stack:
        unit = stack.pop()
        found.append(unit)
        for reader in sorted(units.readers[unit], key=rank, reverse=True):
            missing[reader] -= 1
            if not missing[reader]:
                stack.append(reader)
    return found


def _lightest(units: Units) -> list[int]:
    """Of the units that are ready, the one after which the least has to cross."""
    weight = units.tie_s.min(axis=1) if len(units.ties) else []
    ties: list[list[int]] = [[] for _ in range(units.count)]
    for tie, ends in enumerate(units.ties):
        for unit in ends:
            ties[unit].append(tie)
    left = [len(ends) for ends in units.ties]
    missing = [len(each) for each in units.producers]
    ready = {unit for unit, count in enumerate(missing) if not count}
    found: list[int] = []

    def growth(unit: int) -> tuple[float, int]:
        opened = sum(weight[tie] for tie in ties[unit] if left[tie] == len(units.ties[tie]))
        closed = sum(weight[tie] for tie in ties[unit] if left[tie] == 1)
        return opened - closed, unit

    while ready:
        unit = min(ready, key=growth)
        ready.remove(unit)
        found.append(unit)
        for tie in ties[unit]:
            left[tie] -= 1
        for reader in units.readers[unit]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.add(reader)
    return found
