"""How a value lies over one mesh axis: sharded along a dim, replicated, or a partial sum.

The gradient of a sharded value is sharded alike, that of a replicated value is partial (every rank holds a term),
that of a partial value is replicated. All of autopart's gradients follow from this one convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Split along ``dim``. With ``outer`` > 1 the dim is [outer, b, inner] flattened and ``b`` is what is split
    (a sequence-first view, or two batches concatenated); ``inner`` follows from the sizes.

    ``units`` is how many equal units of it are shared out (``apportion``); 0 on the data axis, where it is samples.
    """

    dim: int
    outer: int = 1
    units: int = 0

    def __str__(self) -> str:
        return f"S({self.dim})" if self.outer == 1 else f"S({self.dim}/{self.outer})"


@dataclass(frozen=True, slots=True)
class Replicate:
    """The same on every rank."""

    def __str__(self) -> str:
        return "R"


@dataclass(frozen=True, slots=True)
class Partial:
    """The sum over ranks is the value."""

    def __str__(self) -> str:
        return "P"


Placement = Shard | Replicate | Partial


def apportion(units: int, weights: Sequence[int]) -> tuple[int, ...]:
    """``units`` shared out by weights, by largest remainder (the first of equals gets more)."""
    total = sum(weights)
    parts = [units * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(units * weights[i] % total), i))
    for i in by_remainder[: units - sum(parts)]:
        parts[i] += 1
    return tuple(parts)
