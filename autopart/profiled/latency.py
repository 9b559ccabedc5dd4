"""Assignments for ``latency``: where each op ends earliest, and moves of single groups."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autopart.profiled.moves import Placement
from autopart.profiled.schedule import arrival, urgency
from autopart.profiled.search import Search

SEED = 2
MOVES = 400_000  # ops scheduled again, over all moves that are tried


def earliest(search: Search) -> list[int]:
    """Ranks of groups: by falling urgency each op goes where it ends first (HEFT, Topcuoglu 2002), and its group with it."""
    problem, groups = search.problem, search.groups
    mean = [float(row[row < float("inf")].mean()) for row in problem.time_s]
    urgent = urgency(problem, mean)
    position = {op: index for index, op in enumerate(search.order.topological)}
    free = [0.0] * problem.ranks
    start, assignment = [0.0] * problem.count, [0] * problem.count
    places: list[int | None] = [None] * groups.count
    memory = [0.0] * problem.ranks
    for op in sorted(range(problem.count), key=lambda each: (-urgent[each], position[each])):
        group = groups.of[op]
        options = [places[group]] if places[group] is not None else _room(search, group, memory)
        begins = {
            rank: max([free[rank], *(arrival(problem, assignment, start, each, rank) for each in problem.producers[op])])
            for rank in options
            if rank is not None
        }
        rank = min(begins, key=lambda each: (begins[each] + float(problem.time_s[op, each]), each))
        if places[group] is None:
            memory[rank] += float(groups.memory_bytes[group])
        places[group] = assignment[op] = rank
        start[op] = begins[rank]
        free[rank] = start[op] + float(problem.time_s[op, rank])
    return [rank or 0 for rank in places]


def _room(search: Search, group: int, memory: Sequence[float]) -> list[int]:
    """Ranks that can run a group and have room for it; where none has, all that can run it."""
    groups, problem = search.groups, search.problem
    able = [rank for rank in range(problem.ranks) if groups.time_s[group, rank] < float("inf")]
    roomy = [rank for rank in able if memory[rank] + groups.memory_bytes[group] <= problem.capacity_bytes[rank]]
    return roomy or able


def move_groups(search: Search) -> None:
    """Try groups on other ranks, each time with a new schedule, as long as that helps."""
    problem, groups = search.problem, search.groups
    rng = random.Random(SEED)
    placement = Placement(problem, groups, search.order, search.places)
    tries, idle = MOVES // problem.count, 0
    while tries and idle < 2 * groups.count and not search.done():
        group = rng.randrange(groups.count)
        near = {placement.places[each] for each in placement.near[group]} | {rng.randrange(problem.ranks)}
        idle += 1
        for rank in sorted(near - {placement.places[group]}):
            if tries and placement.allowed(group, rank):
                tries -= 1
                changed = [rank if each == group else place for each, place in enumerate(placement.places)]
                if search.offer(changed):
                    placement.reset(search.places)
                    idle = 0
                    break
