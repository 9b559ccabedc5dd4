"""Tandem repeats: stretches of a sequence in which a unit of symbols comes again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Repeat:
    """Symbols [start, stop), where symbol i equals symbol i + period. At least two whole units; the unit may begin anywhere."""

    start: int
    stop: int
    period: int

    def units(self, offset: int) -> int:
        """Whole units, if the first begins ``offset`` symbols after the start."""
        return (self.stop - self.start - offset) // self.period


def repeats(symbols: Sequence[int], weights: Sequence[float]) -> tuple[Repeat, ...]:
    """Disjoint repeats in order, heaviest first choice, shortest period among equals."""
    row, prefix = np.array(symbols, dtype=np.int64), np.concatenate(([0.0], np.cumsum(weights)))
    found: list[Repeat] = []
    pending = [(0, len(symbols))]
    while pending:
        start, stop = pending.pop()
        best = _heaviest(row, prefix, start, stop)
        if best is not None:
            found.append(best)
            pending += [(start, best.start), (best.stop, stop)]
    return tuple(sorted(found, key=lambda repeat: repeat.start))


def _heaviest(row: NDArray[np.int64], prefix: NDArray[np.float64], start: int, stop: int) -> Repeat | None:
    best, best_weight = None, 0.0
    for period in range(1, (stop - start) // 2 + 1):
        for first, last in _runs(row[start : stop - period] == row[start + period : stop]):
            if last - first < period:
                continue
            repeat = Repeat(start + first, start + last + period, period)
            weight = prefix[repeat.start + period * repeat.units(0)] - prefix[repeat.start]
            if weight > best_weight * (1 + 1e-9):
                best, best_weight = repeat, weight
    return best


def _runs(equal: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Stretches [first, last) of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], equal.view(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
