"""Chains of parts for a whole problem: which ideals to look at, which limits to search below, ranks for what comes out."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from autopart.profiled.chain import Chain, Field, Limits, TooLate, best_chain, joined_steps, plain_steps, size_of
from autopart.profiled.closing import Closing
from autopart.profiled.ideals import all_ideals, orders, prefixes, some_ideals
from autopart.profiled.joined import Circle, circles
from autopart.profiled.order import bits, topological
from autopart.profiled.problem import Array, Goal
from autopart.profiled.readers import Spread, Tensor, make_spread, shared_tensors
from autopart.profiled.relax import CAREFUL, Prices, kind_capacities, kind_times, price, work
from autopart.profiled.search import CLOSED, Search
from autopart.profiled.tables import CHUNK, make_tables, meetings, unpacked
from autopart.profiled.units import Units
from autopart.profiled.windows import Size, cut_work, device_worth, some_window

LADDER = (1.003, 1.01, 1.03, 1.1, 1.3, 2.0, 4.0, float("inf"))  # times a bound: a low limit leaves few ideals to look at
FEW, MOST = 3_000, 300_000  # ideals of the quick family, and of all
STATES = 500
BOXES = 60


def make(search: Search, units: Units, ideals: Sequence[int], *, joined: bool) -> Field:
    """The field of a family of ideals, of those that a better assignment than the best so far can have."""
    problem, groups = search.problem, search.groups
    prices = price(problem, groups, Goal("throughput"))
    needs = unit_work(search, units, prices)
    kept = _in_windows(search, units, ideals, needs, prices)
    summed = problem.goal.objective == "step"
    found = list(circles(problem, groups, units, prices.second, summed=summed)) if joined else []
    return make_field(search, units, kept, prices, found)


def unit_work(search: Search, units: Units, prices: Prices) -> Array:
    """What each unit takes of what all devices have, at least."""
    return units.gather(work(prices, kind_times(search.problem, search.groups), search.groups.memory_bytes))


def make_field(search: Search, units: Units, ideals: Sequence[int], prices: Prices, found: Sequence[Circle]) -> Field:
    """The field of these ideals and joined steps."""
    problem, groups = search.problem, search.groups
    needs = unit_work(search, units, prices)
    tables = make_tables(units, ideals, needs)
    return Field(
        units=units,
        tables=tables,
        size=size_of(tables, units, prices),
        devices=tuple(len(ranks) for ranks in problem.kind_ranks),
        capacity_bytes=kind_capacities(problem),
        prices=prices,
        least_s=units.gather(kind_times(problem, groups).min(axis=1)),
        plain=plain_steps(units, tables, kind_capacities(problem)),
        joined=joined_steps(found, tables, kind_capacities(problem)),
        tie_sizes=np.array([len(ends) for ends in units.ties], dtype=np.int64),
        spread=_spread(search, units, prices, needs),
        late=search.late,
    )


def _spread(search: Search, units: Units, prices: Prices, needs: Array) -> Spread:
    """Tensors that are read all over, where every unit is one forward op, so that parts are convex sets of units."""
    cap_s, tensors = _cap_s(search), _tensors(search, units)
    if not np.isfinite(cap_s) or (units.forward != 1).any():
        tensors = []
    most = device_worth(prices, kind_capacities(search.problem), cap_s).max() if tensors else 0.0
    return make_spread(units, tensors, needs, float(most))


def _tensors(search: Search, units: Units) -> list[Tensor]:
    unit = {group: place for place, each in enumerate(units.members) for group in each}
    return shared_tensors(search.problem, search.groups, unit)


def _in_windows(search: Search, units: Units, ideals: Sequence[int], needs: Array, prices: Prices) -> list[int]:
    """The ideals of a family that are in any window, by what is inside first and by what is cut then."""
    problem = search.problem
    devices = tuple(len(ranks) for ranks in problem.kind_ranks)
    sizes = np.array([len(ends) for ends in units.ties], dtype=np.int64)
    cap_s = _cap_s(search)
    kept: list[int] = []
    for start in range(0, len(ideals), CHUNK):
        if search.late():
            raise TooLate
        part = ideals[start : start + CHUNK]
        inside = unpacked(part, units.count)
        size = Size(
            inside @ needs, np.zeros(len(part)), inside @ units.memory_bytes, float(needs.sum()), float(units.memory_bytes.sum())
        )
        first = np.flatnonzero(some_window(size, prices, devices, kind_capacities(problem), cap_s))
        met = meetings(units, inside[first])
        cut = cut_work((met > 0) & (met < sizes), units.tie_s, prices)
        size = replace(size, work=size.work[first], cut=cut, memory_bytes=size.memory_bytes[first])
        second = first[some_window(size, prices, devices, kind_capacities(problem), cap_s)]
        kept += [part[index] for index in second]
    return sorted({0, (1 << units.count) - 1, *kept})


def _cap_s(search: Search) -> float:
    """No load of a better assignment than the best so far is larger."""
    goal = search.problem.goal
    if goal.objective == "throughput":
        return search.value_s
    if goal.objective == "latency" or not np.isfinite(search.value_s):
        return float("inf")
    least = float(kind_times(search.problem, search.groups).min(axis=1).sum())
    more = search.value_s - least * (
        1 - CAREFUL
    )  # the sum of loads is at least the least, and (M - 1) times the largest comes to it
    return min(search.value_s, more / (goal.microbatches - 1)) if goal.microbatches > 1 else search.value_s


def few_states(search: Search) -> bool:
    """Whether there are few enough ways to use so many devices of each type."""
    return float(np.prod([float(len(ranks) + 1) for ranks in search.problem.kind_ranks])) <= STATES


def every_ideal(search: Search, units: Units) -> list[int] | None:
    """All ideals, if they are not too many, nor the ways to use devices."""
    return all_ideals(units, MOST, search.late) if few_states(search) else None


def quick(search: Search, units: Units) -> None:
    """Incumbents from the prefixes of single orders, then from a mixed family."""
    if not few_states(search):
        return
    families = [prefixes(order) for order in orders(units)[:4]]
    for ideals in [*families, some_ideals(units, FEW)]:
        if search.done():
            return
        for _ in bounds(search, make(search, units, ideals, joined=False), joined=False):
            pass


def proof(search: Search, units: Units, ideals: Sequence[int]) -> Field:
    """The best chain of all ideals, and a bound on every assignment; answers where chains were looked for."""
    bounding = search.problem.goal.objective != "latency"
    field = make(search, units, ideals, joined=bounding)
    if bounding:
        for bound_s in bounds(search, field, joined=True):
            search.prove(bound_s)
            if search.problem.goal.objective == "step" and search.close_enough():
                return field
    if not search.optimal():
        for _ in bounds(search, field, joined=False):
            pass
    return field


def close(search: Search, field: Field) -> None:
    """What a chain does not see of tensors that several parts read."""

    def take(chain: Chain) -> float:
        offer(search, field, chain)
        return search.value_s

    search.prove(Closing(field, _tensors(search, field.units), search.value_s, take).run())


def bounds(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """Growing bounds on what a chain of the family costs by the objective; offers the chains that it finds."""
    objective = search.problem.goal.objective
    if objective != "step":
        yield from _largest(search, field, joined=joined)
    if objective != "throughput":
        yield from _total(search, field, joined=joined)


def _largest(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """The least largest load."""
    goal = search.problem.goal
    upper = search.value_s if goal.objective == "throughput" else _cap_s(search)
    base = max(_floor_s(field), search.bound_s if goal.objective == "throughput" else 0.0)
    for factor in LADDER:
        limit = min(base * factor if base else float("inf"), upper)
        chain = best_chain(field, Limits(limit, float("inf"), summed=False), joined=joined)
        yield min(limit, chain.value_s)
        if chain.parts:
            offer(search, field, chain)
        if chain.parts or limit >= upper:
            return


def _floor_s(field: Field) -> float:
    """No load of a chain can stay below this everywhere."""
    devices = np.array(field.devices)
    return max(0.0, (float(field.tables.work[-1]) - float(field.prices.byte * devices @ field.capacity_bytes)) * (1 - CAREFUL))


def _total(search: Search, field: Field, *, joined: bool) -> Iterator[float]:
    """The least sum of loads and M - 1 times the largest: boxes by the largest load, each closed by the least sum in it."""
    goal = search.problem.goal
    more = goal.microbatches - 1 if goal.objective == "step" else 0
    closed, heap = float("inf"), _boxes(search, field, more, joined=joined)
    for _ in range(BOXES):
        upper = search.value_s if goal.objective == "step" else float("inf")
        if not heap or heap[0][0] >= min(upper * (1 - CLOSED), closed):
            break
        _, low, high = heapq.heappop(heap)
        chain = best_chain(field, Limits(upper - more * low, high, summed=True), joined=joined)
        if not chain.parts:
            closed = min(closed, upper)
        else:
            offer(search, field, chain)
            largest = max(low, min(chain.largest_s, high))
            closed = min(closed, chain.value_s + more * largest)
            middle = (low + largest) / 2
            for start, stop in ((low, middle), (middle, largest)) if more else ():
                if start < stop * (1 - CLOSED):
                    heapq.heappush(heap, (chain.value_s + more * start, start, stop * (1 - 1e-12)))
        yield min([closed, *(each for each, _, _ in heap)])


def _boxes(search: Search, field: Field, more: int, *, joined: bool) -> list[tuple[float, float, float]]:
    """(bound, low, high): together they hold all chains, by their largest load. A narrow box leaves few ideals to look at."""
    if not more:
        return [(0.0, 0.0, float("inf"))]
    floor = max([_floor_s(field), *_largest(search, field, joined=joined)])
    least = float(field.least_s.sum()) * (1 - CAREFUL)
    lows = [floor * factor for factor in (1.0, *LADDER)] if floor else [0.0, float("inf")]
    return [(least + more * low, low, high) for low, high in pairwise(lows)]


def offer(search: Search, field: Field, chain: Chain) -> None:
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
