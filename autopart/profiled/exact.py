"""Exact covers by listed parts, depth first: every unit in one part, at most N_k parts on type k, the largest load least.

The unit that the fewest parts hold is covered next, by the parts that waste least first. The parts of a cover waste together no
more than the slack of the prices, so what is left of it shrinks with each part that is taken, and most others go at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopart.profiled.chain import Chain, Field, Part, TooLate
from autopart.profiled.cover import Relaxed
from autopart.profiled.problem import Array, Flags, Ints
from autopart.profiled.relax import CAREFUL

NODES = 50_000


@dataclass(frozen=True, eq=False)
class Choice:
    """Parts that can still be taken: numbers, units of each, also as bits, types, loads, wastes."""

    number: Ints
    units: Flags
    words: NDArray[np.uint64]
    kind: Ints
    load_s: Array
    waste: Array

    def those(self, kept: Ints) -> Choice:
        return Choice(self.number[kept], self.units[kept], self.words[kept], self.kind[kept], self.load_s[kept], self.waste[kept])


class Covers:
    """The search. ``take`` is given every cover that is found; ``limit_s`` falls to the largest load of each."""

    def __init__(self, field: Field, relaxed: Relaxed, limit_s: float, take: Callable[[Chain], None]) -> None:
        self.field, self.relaxed, self.limit_s, self.take = field, relaxed, limit_s, take
        self.nodes = 0

    def run(self) -> float | None:
        """No cover has a smaller largest load than this; None where there was too much to look at. Raises TooLate."""
        tables, parts = self.field.tables, self.relaxed.parts
        units = tables.inside[parts.outer] & ~tables.inside[parts.inner]
        every = Choice(np.arange(parts.count), units, _words(units), parts.kind, parts.load_s, self.relaxed.waste)
        choice = every.those(np.argsort(self.relaxed.waste, kind="stable"))
        slack = self.relaxed.worth.slack + CAREFUL
        done = self._extend((), np.zeros(self.field.units.count, dtype=bool), choice, slack, self.field.devices)
        return self.limit_s if done else None

    def _extend(self, taken: tuple[int, ...], covered: Flags, choice: Choice, slack: float, free: Sequence[int]) -> bool:
        """Try all covers that hold the parts taken so far; whether that came to an end."""
        if covered.all():
            self._finish(taken)
            return True
        self.nodes += 1
        if self.field.late():
            raise TooLate
        if self.nodes > NODES:
            return False
        open_units = np.flatnonzero(~covered)
        unit = open_units[choice.units.sum(axis=0)[open_units].argmin()]
        for place in np.flatnonzero(choice.units[:, unit]):
            left = slack - float(choice.waste[place])
            if left < 0:
                break
            if choice.load_s[place] < self.limit_s:
                kind = int(choice.kind[place])
                rest = tuple(count - (each == kind) for each, count in enumerate(free))
                further = (*taken, int(choice.number[place])), covered | choice.units[place]
                if not self._extend(*further, self._beside(choice, int(place), left, rest), left, rest):
                    return False
        return True

    def _beside(self, choice: Choice, place: int, slack: float, free: Sequence[int]) -> Choice:
        """What can be taken together with a part."""
        stop = int(np.searchsorted(choice.waste, slack, side="right"))
        fits = ~(choice.words[:stop] & choice.words[place]).any(axis=1)
        fits &= (choice.load_s[:stop] < self.limit_s) & (np.array(free)[choice.kind[:stop]] > 0)
        return choice.those(np.flatnonzero(fits))

    def _finish(self, taken: Sequence[int]) -> None:
        """A cover in full."""
        ideals, parts, kinds = self.field.tables.ideals, self.relaxed.parts, range(len(self.field.devices))
        rows = np.array(taken)
        self.limit_s = float(parts.load_s[rows].max())
        found = tuple(
            Part(ideals[outer] & ~ideals[inner], tuple(int(each == kind) for each in kinds))
            for inner, outer, kind in zip(parts.inner[rows], parts.outer[rows], parts.kind[rows], strict=True)
        )
        self.take(Chain(self.limit_s, self.limit_s, found))


def _words(units: Flags) -> NDArray[np.uint64]:
    """Each row's flags as bits of 64-bit words."""
    packed = np.packbits(units, axis=1)
    padded = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(padded).view(np.uint64)
