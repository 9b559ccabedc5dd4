"""The search: bounds that hold for every assignment, chains of parts, moves of groups, and for small graphs an exact program."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autopart.cluster.units import format_bytes
from autopart.errors import Infeasible
from autopart.profiled import cpsat
from autopart.profiled.chain import TooLate
from autopart.profiled.chains import close, every_ideal, proof, quick
from autopart.profiled.covers import cover, fallen
from autopart.profiled.evaluate import Assignment
from autopart.profiled.groups import make_groups
from autopart.profiled.latency import earliest, move_groups
from autopart.profiled.local import improve
from autopart.profiled.order import make_order
from autopart.profiled.problem import Problem
from autopart.profiled.relax import price
from autopart.profiled.schedule import Starts, critical_path_s
from autopart.profiled.search import Progress, Search
from autopart.profiled.units import Units, make_units

SHAKES = 30  # in vain
SMALL = 1_500  # (groups) x (ranks) x (ranks - 1) that CP-SAT gets


@dataclass(frozen=True)
class Solution:
    """An assignment, its exact value, a bound on all others, and why the search ended; ``start_s`` by op for latency."""

    assignment: Assignment
    value_s: float
    bound_s: float
    ended: str  # "optimal", "gap", "time", "exhausted" or "interrupted"
    start_s: Starts = ()

    @property
    def gap(self) -> float:
        """(value - bound) / value."""
        return (self.value_s - self.bound_s) / self.value_s if self.value_s > 0 else 0.0


def solve(problem: Problem, *, gap: float = 0.01, time_limit_s: float = 60.0, progress: Progress | None = None) -> Solution:
    """The best assignment that is found in time; raises Infeasible. Ctrl-C ends the search with what there is."""
    order = make_order(problem.producers, problem.readers)
    search = Search(problem, make_groups(problem, order), order, gap, time_limit_s, progress)
    interrupted = False
    try:
        _search(search)
    except TooLate:
        pass
    except KeyboardInterrupt:
        if not search.places:
            raise
        interrupted = True
    if not search.places:
        raise _nothing(search)
    return Solution(
        search.assignment, search.value_s, min(search.bound_s, search.value_s), _ended(search, interrupted), search.start_s
    )


def _search(search: Search) -> None:
    search.prove(_simple_bound(search))
    _one_rank(search)
    if search.problem.goal.objective == "latency":
        search.offer(earliest(search))
    units = make_units(search.problem, search.groups, search.order, attach=True)
    if not search.optimal():
        quick(search, units)
    loose = make_units(search.problem, search.groups, search.order, attach=False)
    if search.problem.goal.contiguous and not search.optimal():
        _prove(search, loose)
    if not search.done() and search.places:
        _move(search)
    if not search.done():
        _exactly(search)


def _prove(search: Search, units: Units) -> None:
    """Bounds on convex parts, from all ideals."""
    ideals = every_ideal(search, units)
    if ideals is None:
        return
    field = proof(search, units, ideals)
    if search.problem.goal.objective != "throughput" or search.done():
        return
    sides = fallen(search, units, ideals)
    if sides is not None:  # covers first: there are too many ends of chains to go through
        cover(search, units, ideals, sides)
    if not search.done():
        close(search, field)
    if sides is None and not search.done():
        cover(search, units, ideals, None)


def _simple_bound(search: Search) -> float:
    bound = price(search.problem, search.groups, search.problem.goal).bound_s
    return max(bound, critical_path_s(search.problem)) if search.problem.goal.objective == "latency" else bound


def _one_rank(search: Search) -> None:
    """Everything on one rank of each type."""
    for ranks in search.problem.kind_ranks:
        search.offer([ranks[0]] * search.groups.count)


def _move(search: Search) -> None:
    """Moves of groups from the best assignment."""
    if search.problem.goal.objective == "latency":
        move_groups(search)
        return
    target = search.bound_s / (1 - search.gap)
    args = (search.problem, search.groups, search.order, search.places)
    search.offer(improve(*args, shakes=SHAKES, target_s=target, late=search.late))


def _exactly(search: Search) -> None:
    """CP-SAT, where the graph is small, or where nothing was found."""
    problem, groups = search.problem, search.groups
    if search.places and groups.count * problem.ranks * max(1, problem.ranks - 1) > SMALL:
        return
    upper = search.value_s if search.places else _most_s(problem)
    found = cpsat.solve(problem, groups, upper_s=upper, hint=search.places, time_limit_s=search.left_s, gap=min(search.gap, 1e-2))
    if found.infeasible:
        assert not search.places, "a program that has a solution is not infeasible"
        raise _impossible(search)
    if found.places:
        search.offer(found.places, found.sequence)
    search.prove(found.bound_s)


def _most_s(problem: Problem) -> float:
    """No assignment costs more by any objective."""
    times = np.where(np.isfinite(problem.time_s), problem.time_s, 0.0).max(axis=1).sum()
    transfers = 2 * problem.transfer_s.max(axis=(1, 2)).sum() * problem.ranks
    return float(times + transfers) * problem.goal.microbatches + 1e-9


def _impossible(search: Search) -> Infeasible:
    total, room = float(search.groups.memory_bytes.sum()), search.problem.capacity_bytes
    convex = " in convex parts" if search.problem.goal.contiguous else ""
    return Infeasible(
        f"no split{convex} fits the devices: the ops need {format_bytes(int(total))},"
        f" the devices have {format_bytes(int(room.sum()))} to use together and {format_bytes(int(room.max()))} at most",
        remedy="Add devices or memory" + (", or allow any split with --no-contiguous." if convex else "."),
    )


def _nothing(search: Search) -> Infeasible:
    total, room = float(search.groups.memory_bytes.sum()), float(search.problem.capacity_bytes.sum())
    return Infeasible(
        f"no split that fits was found in time: the ops need {format_bytes(int(total))},"
        f" all devices together have {format_bytes(int(room))} to use",
        remedy="This is no proof that there is none: give a longer --time-limit, or more memory.",
    )


def _ended(search: Search, interrupted: bool) -> str:
    if search.optimal():
        return "optimal"
    if search.close_enough():
        return "gap"
    if interrupted:
        return "interrupted"
    return "time" if search.late() or math.isclose(search.left_s, 0.0) else "exhausted"
