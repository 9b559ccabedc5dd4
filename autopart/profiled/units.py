"""The graph as chains of parts see it: a partial order of units, and the tensors that tie units together.

A unit is what no chain of parts can separate: groups that lead to one another in a circle among the forward ops, with all
backward ops that belong to them. A backward op that belongs to no forward op is loose. For incumbents it goes with the forward op
whose output it reads (``attach``); a bound counts it nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.groups import Groups
from autopart.profiled.order import Order, components, make_order, mask_of, topological
from autopart.profiled.problem import Array, Flags, Ints, Problem


@dataclass(frozen=True, eq=False)
class Units:
    """``members[u]``: groups. ``order`` is over units. A tie is a tensor: the units that hold its producer and its readers."""

    members: tuple[tuple[int, ...], ...]
    time_s: Array  # by unit and device type; zero where forbidden
    forbidden: Array  # by unit and device type: groups that can't run there
    memory_bytes: Array  # by unit
    producers: tuple[tuple[int, ...], ...]
    readers: tuple[tuple[int, ...], ...]
    order: Order
    ties: tuple[tuple[int, ...], ...]  # at least two units each, ascending
    tie_s: Array  # by tie and device type: the least that a part with some of its units but not all pays
    loose: Mapping[int, int]  # groups in no unit: the unit that they would go with
    forward: Ints  # by unit: how many forward ops it has
    pivot: Flags  # by unit: it has one forward op, with a path to or from every other forward op
    span: Ints  # by unit: pivots before it

    @property
    def count(self) -> int:
        return len(self.members)

    def gather(self, by_group: Array) -> Array:
        """Sums over the groups of each unit."""
        return np.array([by_group[list(each)].sum(axis=0) for each in self.members])


def make_units(problem: Problem, groups: Groups, order: Order, *, attach: bool) -> Units:
    """Units of the forward ops, or of all ops where there are none. ``attach`` gives loose groups a unit."""
    main = main_ops(problem)
    edges = _main_edges(problem, groups, main)
    inner = sorted({groups.of[op] for op in np.flatnonzero(main)})
    number = {group: index for index, group in enumerate(inner)}
    successors: list[list[int]] = [sorted({number[b] for b in edges.get(a, ())}) for a in inner]
    found = list(reversed(components(successors)))
    unit = {inner[index]: place for place, each in enumerate(found) for index in each}
    loose = _attached(problem, groups, unit, tuple(group for group in range(groups.count) if group not in unit))
    if attach:
        unit |= loose
        loose = {}
    return _units(problem, groups, order, unit, edges, loose)


def main_ops(problem: Problem) -> Flags:
    """The forward ops; all ops where there are none."""
    return problem.backward if problem.backward.all() else ~problem.backward


def _main_edges(problem: Problem, groups: Groups, main: Flags) -> dict[int, set[int]]:
    """Groups that follow a group by a path of the graph whose ends are main ops and whose inside has none."""
    carried: list[set[int]] = [set() for _ in range(problem.count)]  # groups that lead here through other ops alone
    found: dict[int, set[int]] = {}
    for op in topological(problem.producers, problem.readers):
        leading: set[int] = set()
        for producer in problem.producers[op]:
            leading |= {groups.of[producer]} if main[producer] else carried[producer]
        if not main[op]:
            carried[op] = leading
            continue
        for group in leading - {groups.of[op]}:
            found.setdefault(group, set()).add(groups.of[op])
    return found


def _attached(problem: Problem, groups: Groups, unit: Mapping[int, int], loose: tuple[int, ...]) -> dict[int, int]:
    """A unit for each loose group: the last among those of the forward ops that it reads, else one next to it."""
    found: dict[int, int] = {}
    known = dict(unit)
    waiting = list(loose)
    while waiting:
        rest = []
        for group in waiting:
            near = [known[groups.of[p]] for op in groups.members[group] for p in problem.producers[op] if groups.of[p] in known]
            direct = [
                unit[groups.of[p]] for op in groups.members[group] for p in problem.producers[op] if not problem.backward[p]
            ]
            if near:
                known[group] = found[group] = max(direct) if direct else min(near)
            else:
                rest.append(group)
        if len(rest) == len(waiting):  # the others follow nothing that has a unit
            last = max(unit.values())
            return found | dict.fromkeys(rest, last)
        waiting = rest
    return found


def _units(
    problem: Problem,
    groups: Groups,
    order: Order,
    unit: Mapping[int, int],
    edges: Mapping[int, set[int]],
    loose: Mapping[int, int],
) -> Units:
    count = max(unit.values()) + 1
    members: list[list[int]] = [[] for _ in range(count)]
    for group, place in sorted(unit.items()):
        members[place].append(group)
    pairs = {(unit[a], unit[b]) for a, targets in edges.items() for b in targets if unit[a] != unit[b]}
    producers, readers = _grouped(count, {(b, a) for a, b in pairs}), _grouped(count, pairs)
    times = groups.time_s[:, [ranks[0] for ranks in problem.kind_ranks]]
    ties, tie_s = _ties(problem, groups, unit)
    above = make_order(producers, readers)
    forward, pivot = _pivots(problem, groups, order, members)
    pivots = mask_of(map(int, np.flatnonzero(pivot)))
    return Units(
        members=tuple(tuple(each) for each in members),
        time_s=np.array([np.where(np.isfinite(times[each]), times[each], 0.0).sum(axis=0) for each in members]),
        forbidden=np.array([np.isinf(times[each]).sum(axis=0, dtype=float) for each in members]),
        memory_bytes=np.array([groups.memory_bytes[each].sum() for each in members]),
        producers=producers,
        readers=readers,
        order=above,
        ties=ties,
        tie_s=tie_s,
        loose=loose,
        forward=forward,
        pivot=pivot,
        span=np.array([(each & pivots).bit_count() for each in above.above]),
    )


def _pivots(problem: Problem, groups: Groups, order: Order, members: Sequence[Sequence[int]]) -> tuple[Ints, Flags]:
    """``forward`` and ``pivot`` of Units."""
    main = mask_of(map(int, np.flatnonzero(main_ops(problem))))
    inner = [[op for group in each for op in groups.members[group] if main >> op & 1] for each in members]
    forward = np.array([len(each) for each in inner])
    pivot = [len(ops) == 1 and not main & ~(order.above[ops[0]] | order.below[ops[0]] | 1 << ops[0]) for ops in inner]
    return forward, np.array(pivot)


def _grouped(count: int, pairs: set[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    found: list[list[int]] = [[] for _ in range(count)]
    for first, second in sorted(pairs):
        found[first].append(second)
    return tuple(map(tuple, found))


def _ties(problem: Problem, groups: Groups, unit: Mapping[int, int]) -> tuple[tuple[tuple[int, ...], ...], Array]:
    """Tensors by the units that they tie; a tensor whose producer is loose is left out, and so are loose readers."""
    found: dict[tuple[int, ...], Array] = {}
    for op in range(problem.count):
        if groups.of[op] not in unit:
            continue
        ends = {unit[groups.of[each]] for each in (op, *problem.readers[op]) if groups.of[each] in unit}
        if len(ends) > 1:
            key = tuple(sorted(ends))
            found[key] = found.get(key, 0.0) + problem.kind_transfer_s[op]
    kinds = len(problem.kind_ranks)
    return tuple(found), np.array(list(found.values())).reshape(len(found), kinds)
