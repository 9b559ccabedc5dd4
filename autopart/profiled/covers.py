"""Exact covers by convex parts for a whole problem: which limits on loads to try, ranks for what comes out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autopart.profiled.chain import Chain
from autopart.profiled.chains import make_field, offer, unit_work
from autopart.profiled.cover import exact, relaxed
from autopart.profiled.parts import Parts, Quest, Space, find, make_space, make_tolls, most_waste, pairs, prices_at, scaled, worth_a_look
from autopart.profiled.problem import Goal
from autopart.profiled.relax import kind_capacities, price
from autopart.profiled.search import CLOSED, Search
from autopart.profiled.units import Units

PRICED = 2e10  # (pairs of ideals) x (ties) at most
LISTED = 4_000_000  # parts
COLUMNS = 60_000  # that CP-SAT gets
TRIES = 8


def cover(search: Search, units: Units, ideals: Sequence[int]) -> None:
    """Prove that no plan is below the best so far, or find one, or raise the bound as far as the parts stay few enough."""
    if (units.forward != 1).any() or any(len(each) != 1 for each in units.members):
        return  # parts may divide a unit
    space = _space(search, units, ideals)
    low, limit, failed = search.bound_s, search.value_s * (1 - CLOSED / 2), float("inf")
    for _ in range(TRIES):
        bound_s = _bound_s(search, space, limit)
        search.prove(bound_s)
        if search.done() or 0 < bound_s < limit:
            return
        low, failed = max(low, bound_s), min(failed, limit if not bound_s else float("inf"))
        limit = (low + min(failed, search.value_s)) / 2


def _space(search: Search, units: Units, ideals: Sequence[int]) -> Space:
    """The ideals that parts of a plan better than the best so far can have."""
    problem = search.problem
    prices, tolls = price(problem, search.groups, Goal("throughput")), make_tolls(units)
    devices = np.array([float(len(ranks)) for ranks in problem.kind_ranks])
    work = unit_work(search, units, prices)
    now = scaled(prices, work, devices, kind_capacities(problem), search.value_s)
    kept = worth_a_look(units, ideals, tolls, now.second, now.worth.slack)
    return make_space(make_field(search, units, sorted({0, (1 << units.count) - 1, *kept}), prices, ()), tolls, work)


def _bound_s(search: Search, space: Space, limit_s: float) -> float:
    """The limit, if no assignment stays below it; else the least that one costs; 0 where that is not found out."""
    parts = _listed(search, space, limit_s)
    if parts is None:
        return 0.0
    if not parts.count:
        return limit_s
    field = space.field
    found = relaxed(field, parts, prices_at(space, limit_s).worth, search.late)
    if found.empty:
        return limit_s
    if found.parts.count > COLUMNS:
        return 0.0
    covered = exact(field, found.parts, limit_s, search.left_s)
    if covered.parts:
        offer(search, field, Chain(covered.bound_s, covered.bound_s, covered.parts))
    return min(covered.bound_s, limit_s)


def _listed(search: Search, space: Space, limit_s: float) -> Parts | None:
    """All parts that an assignment below the limit can hold; None where they are too many."""
    prices, devices = prices_at(space, limit_s), np.array(space.field.devices, dtype=float)
    even = np.full(len(devices), prices.worth.slack / devices.sum())
    few = _found(search, space, Quest(prices, limit_s, even))  # a part, or a device unused, wastes no more than the mean
    if few is None:
        return None
    least = even.copy()
    np.minimum.at(least, few.kind, few.waste(space.field, prices.worth))
    return _found(search, space, Quest(prices, limit_s, most_waste(prices.worth, least, devices)))


def _found(search: Search, space: Space, quest: Quest) -> Parts | None:
    if pairs(space, quest) * max(1, len(space.field.units.ties)) > PRICED:
        return None
    return find(space, quest, LISTED, search.late)
