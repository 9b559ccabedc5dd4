"""``links:``, the exceptions to the network between nodes.

An end names an entry under ``nodes`` (all of its nodes) or one node of it (a0, a1). The latter cuts the entry in groups, so that
in a Cluster an exception always lies between two groups. Of two that speak of the same nodes the more specific one holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autopart.cluster import reading
from autopart.cluster.cluster import Group
from autopart.cluster.reading import Spot
from autopart.cluster.units import BANDWIDTH, TIME
from cost_models.catalogue import nearest
from cost_models.hardware import Link

Exceptions = tuple[tuple[tuple[int, int], Link], ...]


@dataclass(frozen=True, slots=True)
class End:
    """An entry by its index, and one of its nodes, or None for all of them."""

    entry: int
    node: int | None


@dataclass(frozen=True)
class LinkException:
    """One item of ``links``."""

    spot: Spot
    ends: tuple[End, End]
    link: Link

    @property
    def specific(self) -> int:
        """How many of its ends name a single node."""
        return sum(end.node is not None for end in self.ends)

    @property
    def line(self) -> int:
        return self.spot.node.start_mark.line + 1


def apply(spot: Spot | None, groups: list[Group]) -> tuple[tuple[Group, ...], Exceptions]:
    """The groups, cut where an exception is about one node, and the exceptions by pairs of them in ascending order."""
    if spot is None:
        return tuple(groups), ()
    items = reading.sequence(spot, "Write `- {between: [a, v], bandwidth: 10 Gb/s, latency: 50 us}`, or remove the key.")
    found = [_exception(item, groups) for item in items]
    pieces = [_cut(group, _named(index, found)) for index, group in enumerate(groups)]
    cut = tuple(piece for parts in pieces for piece in parts)
    return cut, _by_pairs(found, pieces)


def _exception(spot: Spot, groups: list[Group]) -> LinkException:
    keys = reading.mapping(spot, required=("between", "bandwidth", "latency"))
    names = reading.sequence(keys["between"], "Name the two nodes: `between: [a, v]`.")
    if len(names) != 2:
        raise keys["between"].error(
            f"{spot.what}.between names {len(names)} nodes, not two", "Name two nodes: `between: [a, v]`."
        )
    first, second = (_end(name, groups) for name in names)
    if first.entry == second.entry and (first.node is None or second.node is None or first.node == second.node):
        raise keys["between"].error(
            f"{spot.what}.between names one node twice",
            "Name two different ones; how the nodes of one entry reach each other is its `network`.",
        )
    link = Link(reading.quantity(keys["latency"], TIME), reading.quantity(keys["bandwidth"], BANDWIDTH))
    return LinkException(spot, (first, second), link)


def _end(spot: Spot, groups: list[Group]) -> End:
    name = reading.text(spot)
    for index, group in enumerate(groups):
        if name == group.name:
            return End(index, 0 if group.count == 1 else None)
        number = name.removeprefix(group.name)
        if number != name and number.isdecimal() and str(int(number[:8])) == number and int(number) < group.count:
            return End(index, int(number))
    near = nearest(name, [group.name for group in groups], limit=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    shown = ", ".join(group.name for group in groups[:8]) + (", ..." if len(groups) > 8 else "")
    raise spot.error(
        f"there is no node {name!r}", f"{hint}The entries under `nodes` are {shown}; node 0 of several is {groups[0].name}0."
    )


def _named(entry: int, exceptions: list[LinkException]) -> list[int]:
    """The nodes of an entry that exceptions name one by one, in order."""
    return sorted({end.node for item in exceptions for end in item.ends if end.entry == entry and end.node is not None})


def _cut(group: Group, named: list[int]) -> tuple[Group, ...]:
    """The group with every named node by itself and the runs between them together."""
    if group.count == 1 or not named:
        return (group,)
    pieces: list[Group] = []
    start = 0
    for node in [*named, group.count]:
        if start < node:
            pieces.append(_run(group, start, node))
        if node < group.count:
            pieces.append(_run(group, node, node + 1))
        start = node + 1
    return tuple(pieces)


def _run(group: Group, start: int, stop: int) -> Group:
    """Nodes [start, stop) of a group, as a group of their own."""
    first = f"{group.name}{start}"
    name = first if stop - start == 1 else f"{first}..{group.name}{stop - 1}"
    return replace(group, name=name, count=stop - start, stem=group.name, first=start)


def _by_pairs(exceptions: list[LinkException], pieces: list[tuple[Group, ...]]) -> Exceptions:
    offsets = [sum(len(parts) for parts in pieces[:index]) for index in range(len(pieces))]
    chosen: dict[tuple[int, int], LinkException] = {}
    for item in sorted(exceptions, key=lambda item: -item.specific):
        sides = [_indices(end, pieces[end.entry], offsets[end.entry]) for end in item.ends]
        for first in sides[0]:
            for second in sides[1]:
                pair = (min(first, second), max(first, second))
                other = chosen.setdefault(pair, item)
                if other is not item and other.specific == item.specific:
                    late, early = max((item, other), key=lambda e: e.line), min((item, other), key=lambda e: e.line)
                    raise late.spot.error(
                        f"{late.spot.what} and {early.spot.what} (line {early.line}) are about the same two nodes",
                        "Remove one of the two.",
                    )
    return tuple((pair, chosen[pair].link) for pair in sorted(chosen))


def _indices(end: End, parts: tuple[Group, ...], offset: int) -> list[int]:
    """The groups, by index in the cluster, that an end speaks of."""
    if end.node is None or len(parts) == 1:
        return list(range(offset, offset + len(parts)))
    return [offset + index for index, part in enumerate(parts) if part.first <= end.node < part.first + part.count]
