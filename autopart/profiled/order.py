"""Who follows whom in the graph. Sets of ops are the bits of one integer, so that a question about sets is one operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autopart.profiled.problem import Problem


@dataclass(frozen=True, eq=False)
class Order:
    """``above[v]`` and ``below[v]``: all ops from which a path leads to v, all to which one leads from v; v is in neither."""

    topological: tuple[int, ...]
    above: tuple[int, ...]
    below: tuple[int, ...]


def bits(mask: int) -> Iterator[int]:
    """The members of a set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def mask_of(members: Iterable[int]) -> int:
    """The set of these members."""
    found = 0
    for member in members:
        found |= 1 << member
    return found


def topological(producers: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Members of an acyclic graph, every one after its producers; of those that are ready the first to become so."""
    missing = [len(each) for each in producers]
    found = [member for member, count in enumerate(missing) if not count]
    for member in found:
        for reader in readers[member]:
            missing[reader] -= 1
            if not missing[reader]:
                found.append(reader)
    assert len(found) == len(missing), "the graph has a circle"
    return tuple(found)


def make_order(producers: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> Order:
    """The transitive closure of an acyclic graph."""
    sequence = topological(producers, readers)
    above, below = [0] * len(sequence), [0] * len(sequence)
    for member in sequence:
        for producer in producers[member]:
            above[member] |= above[producer] | 1 << producer
    for member in reversed(sequence):
        for reader in readers[member]:
            below[member] |= below[reader] | 1 << reader
    return Order(sequence, tuple(above), tuple(below))


def between(order: Order, members: int) -> int:
    """All ops on paths between two members of a set, without the set itself."""
    above = below = 0
    for member in bits(members):
        above |= order.above[member]
        below |= order.below[member]
    return above & below & ~members


def directions(problem: Problem) -> tuple[int, ...]:
    """The ops of each direction as sets, those of the forward first; one set where there is one direction."""
    backward = mask_of(op for op in range(problem.count) if problem.backward[op])
    forward = (1 << problem.count) - 1 & ~backward
    return tuple(each for each in (forward, backward) if each)


def components(successors: Sequence[Iterable[int]]) -> list[list[int]]:
    """Strongly connected components (Tarjan 1972), every one after those that it leads to; members ascending."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    found: list[list[int]] = []
    for root in range(len(successors)):
        walk = [] if root in number else [(root, iter(successors[root]))]
        if walk:
            number[root] = low[root] = len(number)
            stack.append(root)
        while walk:
            member, rest = walk[-1]
            target = next(rest, None)
            if target is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[member])
                if low[member] == number[member]:
                    cut = stack.index(member)
                    found.append(sorted(stack[cut:]))
                    del stack[cut:]
                    low |= dict.fromkeys(found[-1], len(successors))
            elif target not in number:
                number[target] = low[target] = len(number)
                stack.append(target)
                walk.append((target, iter(successors[target])))
            elif low[target] < len(successors):
                low[member] = min(low[member], number[target])
    return found
