"""An assignment that changes one group at a time, with its loads kept up to date. Mutable; used inside a search alone."""

from __future__ import annotations

from collections.abc import Sequence

from autopart.profiled.groups import Groups
from autopart.profiled.order import Order, directions, mask_of
from autopart.profiled.problem import Problem


class Placement:
    """Where every group is. ``loads[r]`` are seconds, ``memory[r]`` bytes; ``parts[r]`` the ops of a rank as a set."""

    def __init__(self, problem: Problem, groups: Groups, order: Order, places: Sequence[int]) -> None:
        self.problem, self.groups, self.order = problem, groups, order
        self.capacity = problem.capacity_bytes.tolist()
        self.time_s: list[list[float]] = groups.time_s.tolist()
        self.nbytes: list[float] = groups.memory_bytes.tolist()
        self.transfer_s: list[list[list[float]]] = problem.transfer_s.tolist()
        self.directions = directions(problem)
        self.masks = [mask_of(members) for members in groups.members]
        self.tensors = [self._tensors(group) for group in range(groups.count)]
        self.reach = [[self._reach(group, direction) for direction in self.directions] for group in range(groups.count)]
        self.near = [self._near(group) for group in range(groups.count)]
        self.reset(places)

    def _tensors(self, group: int) -> list[tuple[int, bool, int]]:
        """Tensors that a group makes or reads: the op, whether the group makes it, and how many of its ops read it."""
        found: dict[int, int] = {}
        members = self.groups.members[group]
        for op in members:
            found.setdefault(op, 0)
            for producer in self.problem.producers[op]:
                found[producer] = found.get(producer, 0) + 1
        return [(op, op in members, count) for op, count in sorted(found.items()) if self.problem.readers[op]]

    def _reach(self, group: int, direction: int) -> tuple[int, int]:
        above = below = 0
        for op in self.groups.members[group]:
            if direction >> op & 1:
                above |= self.order.above[op]
                below |= self.order.below[op]
        return above, below

    def _near(self, group: int) -> tuple[int, ...]:
        ops = self.groups.members[group]
        found = {self.groups.of[each] for op in ops for each in (*self.problem.producers[op], *self.problem.readers[op])}
        return tuple(sorted(found - {group}))

    def reset(self, places: Sequence[int]) -> None:
        """Start again from the ranks of all groups."""
        ranks = self.problem.ranks
        self.places = list(places)
        self.loads, self.memory, self.parts = [0.0] * ranks, [0.0] * ranks, [0] * ranks
        self.reading = [[0] * ranks for _ in range(self.problem.count)]  # by op and rank: ops there that read it
        for group, rank in enumerate(self.places):
            self.loads[rank] += self.time_s[group][rank]
            self.memory[rank] += self.nbytes[group]
            self.parts[rank] |= self.masks[group]
        home = [self.places[group] for group in self.groups.of]
        for op, readers in enumerate(self.problem.readers):
            for reader in readers:
                self.reading[op][home[reader]] += 1
            for target, count in enumerate(self.reading[op]):
                if count and target != home[op]:
                    seconds = self.transfer_s[op][home[op]][target]
                    self.loads[home[op]] += seconds
                    self.loads[target] += seconds

    def allowed(self, group: int, rank: int) -> bool:
        """Whether a group may go to another rank: its type and memory there, and convex parts on both."""
        if self.time_s[group][rank] == float("inf") or self.memory[rank] + self.nbytes[group] > self.capacity[rank]:
            return False
        return not self.problem.goal.contiguous or (self._may_leave(group) and self._may_enter(group, rank))

    def _may_leave(self, group: int) -> bool:
        """No op of the group lies between two others of its part."""
        rest = self.parts[self.places[group]] & ~self.masks[group]
        for direction in self.directions:
            here = rest & direction
            if here and any(self.order.above[op] & here and self.order.below[op] & here for op in self.groups.members[group]):
                return False
        return True

    def _may_enter(self, group: int, rank: int) -> bool:
        """Nothing outside lies between the group and the part, either way."""
        inside = self.parts[rank] | self.masks[group]
        outside = ~inside
        for (above, below), direction in zip(self.reach[group], self.directions, strict=True):
            part = self.parts[rank] & direction
            if above & outside and any(self.order.below[op] & above & outside for op in _bits(part & above)):
                return False
            if below & outside and any(self.order.above[op] & below & outside for op in _bits(part & below)):
                return False
        return True

    def after(self, group: int, rank: int) -> list[float]:
        """Loads once the group has moved to ``rank``."""
        old, loads = self.places[group], list(self.loads)
        loads[old] -= self.time_s[group][old]
        loads[rank] += self.time_s[group][rank]
        for op, made, count in self.tensors[group]:
            reading, seconds = self.reading[op], self.transfer_s[op]
            home = old if made else self.places[self.groups.of[op]]
            _pay(loads, seconds, home, reading, -1.0)
            reading[old] -= count
            reading[rank] += count
            _pay(loads, seconds, rank if made else home, reading, 1.0)
            reading[old] += count
            reading[rank] -= count
        return loads

    def move(self, group: int, rank: int, loads: list[float]) -> None:
        """Move a group; ``loads`` are those of ``after``."""
        old = self.places[group]
        for op, _, count in self.tensors[group]:
            self.reading[op][old] -= count
            self.reading[op][rank] += count
        self.places[group] = rank
        self.loads = loads
        self.memory[old] -= self.nbytes[group]
        self.memory[rank] += self.nbytes[group]
        self.parts[old] &= ~self.masks[group]
        self.parts[rank] |= self.masks[group]


def _pay(loads: list[float], seconds: list[list[float]], home: int, reading: list[int], sign: float) -> None:
    paths = seconds[home]
    for target, count in enumerate(reading):
        if count and target != home:
            loads[home] += sign * paths[target]
            loads[target] += sign * paths[target]


def _bits(mask: int) -> list[int]:
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found
