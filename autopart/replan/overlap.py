"""What of a program's training state ranks of an earlier program had."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from autopart.program.elements import common
from autopart.program.state import Kept, Key, State

Shares = Mapping[tuple[int, int], int]
"""Bytes that are both in what an old rank had and in what a new one needs; pairs without any are left out."""


class Overlap(NamedTuple):
    """``nbytes`` of a tensor that each of the ``after`` ranks needs, and each of the ``before`` ranks had."""

    key: Key
    before: tuple[int, ...]
    after: tuple[int, ...]
    nbytes: int


def overlaps(before: State, after: State) -> Iterator[Overlap]:
    """Of every tensor; together they are all that is needed."""
    for key, need in after.items():
        for old, new, elements in _pairs(before[key], need):
            yield Overlap(key, old, new, elements * need.nbytes)


def _pairs(before: Kept, after: Kept) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Holdings with something in common. Those of one window are apart, so that in order of their starts few can be."""
    windows: dict[tuple[int, int, int], list[int]] = {}
    held = sorted(range(len(before.holdings)), key=lambda i: before.holdings[i].elements.start)
    for i in held:
        own = before.holdings[i].elements
        windows.setdefault((own.period, own.low, own.high), []).append(i)
    for inside in windows.values():
        starts = [before.holdings[i].elements.start for i in inside]
        for need in after.holdings:
            first = max(bisect_right(starts, need.elements.start) - 1, 0)
            last = bisect_right(starts, need.elements.stop)
            for i in inside[first:last]:
                old = before.holdings[i]
                if elements := common(old.elements, need.elements):
                    yield old.ranks, need.ranks, elements


def shares(before: State, after: State) -> Shares:
    """By old rank and new rank."""
    together: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for each in overlaps(before, after):
        pair = each.before, each.after
        together[pair] = together.get(pair, 0) + each.nbytes
    found: dict[tuple[int, int], int] = {}
    for (old, new), nbytes in together.items():
        for was in old:
            for rank in new:
                found[was, rank] = found.get((was, rank), 0) + nbytes
    return found


def needed_bytes(state: State) -> int:
    """On all ranks together."""
    return sum(kept.nbytes * holding.elements.count * len(holding.ranks) for kept in state.values() for holding in kept.holdings)


def moved_bytes(before: State, after: State, same: Mapping[int, int]) -> int:
    """That ranks need and don't have; ``same`` has old ranks by new ones."""
    held = shares(before, after)
    return needed_bytes(after) - sum(held.get((was, rank), 0) for rank, was in same.items())
