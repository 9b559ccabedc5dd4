"""Chains of parts for a whole problem: which ideals to look at, which limits to search below, ranks for what comes out."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from autopart.profiled.chain import STATES, Chain, Field, best_chain, make_field
from autopart.profiled.ideals import all_ideals, orders, some_ideals
from autopart.profiled.order import bits, mask_of, topological
from autopart.profiled.problem import Goal
from autopart.profiled.relax import kind_capacities, price, work
from autopart.profiled.search import CLOSED, Search
from autopart.profiled.tables import make_tables
from autopart.profiled.units import Units

LADDER = (1.003, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0, float("inf"))  # times a bound: a low limit leaves few ideals to look at
ENTRIES = 40_000_000  # (ideals) x (units and ties) of a family at most
FEW, MOST = 3_000, 200_000  # ideals of the quick family, and of all
BOXES = 60


def make(search: Search, units: Units, ideals: Sequence[int]) -> Field:
    """The field of a family of ideals."""
    problem, groups = search.problem, search.groups
    prices = price(problem, groups, Goal("throughput"))
    times = np.where(units.forbidden > 0, np.inf, units.time_s)
    tables = make_tables(units, ideals, work(prices, times, units.memory_bytes))
    devices = tuple(len(ranks) for ranks in problem.kind_ranks)
    return make_field(units, tables, devices, kind_capacities(problem), prices, search.late)


def few_states(search: Search) -> bool:
    """Whether there are few enough ways to use so many devices of each type."""
    return float(np.prod([float(len(ranks) + 1) for ranks in search.problem.kind_ranks])) <= STATES


def quick(search: Search, units: Units) -> None:
    """Incumbents from the prefixes of single orders, then from a mixed family."""
    if not few_states(search):
        return
    prefixes = [[mask_of(order[:count]) for count in range(len(order) + 1)] for order in orders(units)[:4]]
    few = min(FEW, ENTRIES // (units.count + len(units.ties) + 1))
    for ideals in [*prefixes, some_ideals(units, few)]:
        if search.done():
            return
        field = make(search, units, ideals)
        for _ in bounds(search, field, joined=False):
            pass


def proof(search: Search, units: Units) -> None:
    """All ideals, if they are not too many: the best chain, and a bound on every assignment."""
    limit = min(MOST, ENTRIES // (units.count + len(units.ties) + 1))
    ideals = all_ideals(units, limit) if few_states(search) else None
    if ideals is None:
        return
    field = make(search, units, ideals)
    for bound_s in bounds(search, field, joined=True):
        if search.problem.goal.objective != "latency":
            search.prove(bound_s)
    if not search.optimal():
        for _ in bounds(search, field, joined=False):
            pass


def bounds(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """Growing bounds on what a chain of the family costs by the objective; offers the chains that it finds."""
    objective = search.problem.goal.objective
    if objective != "step":
        yield from _largest(search, field, joined=joined)
    if objective != "throughput":
        yield from _total(search, field, joined=joined)


def _largest(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """The least largest load."""
    upper = search.value_s if search.problem.goal.objective == "throughput" else float("inf")
    base = max(float(field.tables.work[-1]), search.bound_s if np.isfinite(upper) else 0.0)
    for factor in LADDER:
        limit = min(base * factor if base else float("inf"), upper)
        chain = best_chain(field, limit, summed=False, cap_s=float("inf"), joined=joined)
        yield min(limit, chain.value_s)
        if chain.parts:
            _offer(search, field, chain)
        if chain.parts or limit >= upper:
            return


def _total(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """The least sum of loads and M - 1 times the largest: boxes by the largest load, each closed by the least sum in it."""
    more = search.problem.goal.microbatches - 1 if search.problem.goal.objective == "step" else 0
    floor, closed = float(field.tables.work[-1]), float("inf")
    heap = [(0.0, floor, float("inf"))]  # bound, and the largest load is in [low, high)
    for _ in range(BOXES):
        if not heap:
            break
        bound, low, high = heapq.heappop(heap)
        upper = search.value_s if search.problem.goal.objective == "step" else float("inf")
        if bound >= min(upper * (1 - CLOSED), closed):
            heapq.heappush(heap, (bound, low, high))
            break
        chain = best_chain(field, upper - more * low, summed=True, cap_s=high, joined=joined)
        if not chain.parts:
            closed = min(closed, upper)
        else:
            _offer(search, field, chain)
            largest = min(chain.largest_s, high)
            closed = min(closed, chain.value_s + more * largest)
            middle = (low + largest) / 2
            for start, stop in ((low, middle), (middle, largest)) if more else ():
                if start < stop * (1 - CLOSED):
                    heapq.heappush(heap, (chain.value_s + more * start, start, stop * (1 - 1e-12)))
        yield min([closed, *(each for each, _, _ in heap)])


def _offer(search: Search, field: Field, chain: Chain) -> None:
    """Ranks for the parts of a chain, for the neighbours of a type those next to each other; loose groups where they fit."""
    if any(sum(part.use) > 1 for part in chain.parts):
        return
    places = [0] * search.groups.count
    free = [list(ranks) for ranks in search.problem.kind_ranks]
    for part in chain.parts:
        rank = free[part.use.index(1)].pop(0)
        for unit in bits(part.units):
            for group in field.units.members[unit]:
                places[group] = rank
    for group, unit in field.units.loose.items():
        places[group] = places[field.units.members[unit][0]]
    if not search.offer(places):
        search.offer(_backwards(search, chain, field, places))


def _backwards(search: Search, chain: Chain, field: Field, places: Sequence[int]) -> list[int]:
    """The same with loose backward ops moved so that the backward runs through the parts in opposite order, if it can."""
    problem, of = search.problem, search.groups.of
    used = [next(places[field.units.members[unit][0]] for unit in bits(part.units)) for part in chain.parts]
    position = {rank: index for index, rank in enumerate(used)}
    found = list(places)
    fixed = {of[op] for op in range(problem.count) if not problem.backward[op]}
    least = [0] * problem.count  # backward ops that follow are at positions up to this
    sequence = [op for op in topological(problem.producers, problem.readers) if problem.backward[op]]
    for op in reversed(sequence):
        own = [position[places[of[op]]]] if of[op] in fixed else []
        least[op] = max([*own, *(least[reader] for reader in problem.readers[op])], default=0)
    for op in sequence:
        if of[op] not in fixed:
            above = [position[found[of[producer]]] for producer in problem.producers[op] if problem.backward[producer]]
            found[of[op]] = used[max(least[op], min([position[places[of[op]]], *above]))]
    return found
