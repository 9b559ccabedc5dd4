"""Exact covers by convex parts for a whole problem: which limits on loads to try, ranks for what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.apart import Priced, as_parts, generated, make_sides, start_prices
from autopart.profiled.chains import make_field, offer, unit_work
from autopart.profiled.cover import relaxed
from autopart.profiled.exact import Covers
from autopart.profiled.parts import (
    Parts,
    Quest,
    Space,
    Worth,
    find,
    make_space,
    make_tolls,
    most_waste,
    pairs,
    prices_at,
    scaled,
    worth_a_look,
)
from autopart.profiled.problem import Goal
from autopart.profiled.relax import CAREFUL, kind_capacities, price
from autopart.profiled.search import CLOSED, Search
from autopart.profiled.sides import Sides, within
from autopart.profiled.units import Units

PRICED = 1e11  # (pairs of ideals) x (ties) at most
LISTED = 8_000_000  # parts
SEARCHED = 500_000  # parts that are searched for a cover
NEAR = 2e-4  # relative: limits that are closer than this are not told apart


@dataclass(frozen=True, slots=True)
class Tried:
    """No assignment stays below ``bound_s``, which is nothing where that was not found out. ``hint_s``: the limit to try then."""

    bound_s: float
    hint_s: float = 0.0


Attempt = Callable[[float], Tried]  # what is found out of a limit


def fallen(search: Search, units: Units, ideals: Sequence[int]) -> Sides | None:
    """The sides of a graph that falls apart and has covers; None for any other."""
    return make_sides(search, units, ideals) if _has_covers(search, units) else None


def cover(search: Search, units: Units, ideals: Sequence[int], sides: Sides | None) -> None:
    """Prove that no plan is below the best so far, or find one, or raise the bound as far as the parts stay few enough.

    ``sides`` are what ``fallen`` says.
    """
    if not _has_covers(search, units):
        return
    attempt = _whole(search, _space(search, units, ideals)) if sides is None else _apart(search, sides)
    limit, failed = search.value_s * (1 - max(search.gap * (1 - CLOSED), CLOSED / 2)), float("inf")  # the least that ends it
    while not search.done():
        tried = attempt(limit)
        search.prove(tried.bound_s)
        failed = failed if tried.bound_s else limit
        high = min(failed, search.value_s * (1 - CLOSED / 2))
        if 0 < tried.bound_s < limit or high - search.bound_s < NEAR * high:
            return
        limit = max(tried.hint_s, (search.bound_s + high) / 2)


def _has_covers(search: Search, units: Units) -> bool:
    divided = (units.forward != 1).any() or any(len(each) != 1 for each in units.members)  # parts may divide such a unit
    return not divided and bool(search.places) and search.value_s > 0


def _space(search: Search, units: Units, ideals: Sequence[int]) -> Space:
    """The ideals that parts of a plan better than the best so far can have."""
    problem = search.problem
    prices, tolls = price(problem, search.groups, Goal("throughput")), make_tolls(units)
    devices = np.array([float(len(ranks)) for ranks in problem.kind_ranks])
    work = unit_work(search, units, prices)
    now = scaled(prices, work, devices, kind_capacities(problem), search.value_s)
    kept = worth_a_look(units, ideals, tolls, now)
    return make_space(make_field(search, units, sorted({0, (1 << units.count) - 1, *kept}), prices, ()), tolls, work)


def _whole(search: Search, space: Space) -> Attempt:
    return lambda limit_s: _try(search, space, limit_s)


def _apart(search: Search, sides: Sides) -> Attempt:
    """Tries of a graph that falls apart; each starts from the prices and the columns of the one before."""
    limit_s = search.value_s
    last = Priced(start_prices(search, sides, limit_s), sides.others.chosen(np.zeros(0, dtype=np.int64)))

    def attempt(limit_s: float) -> Tried:
        nonlocal last
        last = generated(sides.below(limit_s), last)
        return _settle(search, sides.below(limit_s), last.worth)

    return attempt


def _settle(search: Search, sides: Sides, worth: Worth) -> Tried:
    """Search what prices leave."""
    limit_s = sides.limit_s
    pairs = within(sides, worth, worth.slack + CAREFUL, SEARCHED, search.late) if worth.slack >= -CAREFUL else None
    if worth.slack < -CAREFUL or (pairs is not None and not pairs.count):
        return Tried(limit_s)
    if pairs is None:
        return Tried(0.0, limit_s * (1 - worth.slack))
    field, found = as_parts(search, sides, pairs, worth)
    bound_s = Covers(field, found, limit_s, lambda chain: offer(search, field, chain)).run()
    return Tried(0.0, limit_s * (1 - worth.slack)) if bound_s is None else Tried(bound_s)


def _try(search: Search, space: Space, limit_s: float) -> Tried:
    """Whether an assignment stays below a limit."""
    parts = _listed(search, space, limit_s)
    if parts is None:
        return Tried(0.0)
    if not parts.count:
        return Tried(limit_s)
    found = relaxed(space.field, parts, prices_at(space, limit_s).worth, search.late)
    if found.empty:
        return Tried(limit_s)
    bound_s = None
    if found.parts.count <= SEARCHED:
        bound_s = Covers(space.field, found, limit_s, lambda chain: offer(search, space.field, chain)).run()
    return Tried(0.0, limit_s * (1 - found.worth.slack)) if bound_s is None else Tried(bound_s)


def _listed(search: Search, space: Space, limit_s: float) -> Parts | None:
    """All parts that an assignment below the limit can hold; None where they are too many."""
    prices, devices = prices_at(space, limit_s), np.array(space.field.devices, dtype=float)
    even = np.full(len(devices), prices.worth.slack / devices.sum())
    few = _found(search, space, Quest(prices, limit_s, even), PRICED / 5)  # a part, or a device unused, wastes the mean at most
    if few is None:
        return None
    least = even.copy()
    np.minimum.at(least, few.kind, few.waste(space.field, prices.worth))
    return _found(search, space, Quest(prices, limit_s, most_waste(prices.worth, least, devices)), PRICED)


def _found(search: Search, space: Space, quest: Quest, priced: float) -> Parts | None:
    """The parts of a quest; None where there is too much to price or to list."""
    if pairs(space, quest) * max(1, len(space.field.units.ties)) > priced:
        return None
    return find(space, quest, LISTED, search.late)
