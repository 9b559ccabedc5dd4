"""Better assignments by moving one group at a time, then by starting again from a shaken one. Incumbents only."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np

from autopart.profiled.evaluate import loads
from autopart.profiled.groups import Groups, spread
from autopart.profiled.moves import Placement
from autopart.profiled.order import Order
from autopart.profiled.problem import Problem

SEED = 1
SHAKEN = 4  # groups that a shake moves
Key = tuple[float, float]


def key(problem: Problem, by_rank: Sequence[float]) -> Key:
    """What is minimised; ties go to the more even one."""
    squares = sum(load * load for load in by_rank)
    if problem.goal.objective == "throughput":
        return max(by_rank), squares
    return sum(by_rank) + (problem.goal.microbatches - 1) * max(by_rank), squares


def improve(
    problem: Problem,
    groups: Groups,
    order: Order,
    places: Sequence[int],
    *,
    shakes: int,
    target_s: float,
    late: Callable[[], bool],
) -> tuple[int, ...]:
    """Ranks of groups, no worse than ``places``; stops at ``target_s``, after so many shakes in vain, or when it is late."""
    placement = Placement(problem, groups, order, _relabelled(problem, groups, places))
    rng = random.Random(SEED)
    _descend(placement, late)
    best, best_key = tuple(placement.places), key(problem, placement.loads)
    idle = 0
    while idle < shakes and not late() and best_key[0] > target_s:
        idle += 1
        _shake(placement, rng)
        _descend(placement, late)
        found = key(problem, placement.loads)
        if found < best_key:
            best, best_key, idle = tuple(placement.places), found, 0
        else:
            placement.reset(best)
    return best


def _descend(placement: Placement, late: Callable[[], bool]) -> None:
    """Take every move that is better, until there is none."""
    better = True
    current = key(placement.problem, placement.loads)
    while better and not late():
        better = False
        for group in range(placement.groups.count):
            for rank in _targets(placement, group):
                after = placement.after(group, rank)
                found = key(placement.problem, after)
                if _less(found, current) and placement.allowed(group, rank):
                    placement.move(group, rank, after)
                    current, better = found, True
                    break
        placement.reset(placement.places)  # sums anew: differences gather rounding


def _less(found: Key, current: Key) -> bool:
    """By more than rounding."""
    return found[0] < current[0] * (1 - 1e-12) or (found[0] <= current[0] and found[1] < current[1] * (1 - 1e-9))


def _targets(placement: Placement, group: int) -> list[int]:
    """Ranks next to a group, and the idlest of each type."""
    old = placement.places[group]
    found = {placement.places[near] for near in placement.near[group]}
    for ranks in placement.problem.kind_ranks:
        found.add(min(ranks, key=lambda rank: (placement.loads[rank], rank)))
    return sorted(found - {old})


def _shake(placement: Placement, rng: random.Random) -> None:
    """Move a few groups of the fullest rank and next to it, wherever that is allowed."""
    moved = 0
    fullest = max(range(placement.problem.ranks), key=lambda rank: placement.loads[rank])
    candidates = [group for group in range(placement.groups.count) if placement.places[group] == fullest]
    candidates += [near for group in candidates for near in placement.near[group]]
    for _ in range(10 * SHAKEN):
        group = rng.choice(candidates)
        targets = _targets(placement, group)
        rank = rng.choice(targets) if targets else placement.places[group]
        if rank != placement.places[group] and placement.allowed(group, rank):
            placement.move(group, rank, placement.after(group, rank))
            moved += 1
        if moved == SHAKEN:
            return


def _relabelled(problem: Problem, groups: Groups, places: Sequence[int]) -> list[int]:
    """Whole parts change ranks of one type while that is better: links are unlike."""
    current = list(places)

    def cost(candidate: Sequence[int]) -> Key:
        return key(problem, loads(problem, spread(groups, candidate)).total_s.tolist())

    best = cost(current)
    apart = ~np.eye(problem.ranks, dtype=bool)
    if all(np.unique(table[apart]).size <= 1 for table in (problem.latency_s, problem.bandwidth_bytes_per_s)):
        return current
    better = True
    while better:
        better = False
        for ranks in problem.kind_ranks:
            for first, second in permutations(ranks, 2):
                if first < second:
                    swapped = [second if r == first else first if r == second else r for r in current]
                    found = cost(swapped)
                    if found < best:
                        current, best, better = swapped, found, True
    return current
