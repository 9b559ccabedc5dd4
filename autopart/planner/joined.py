"""Stages whose replicas have their columns in two groups of unlike devices, each device with a part of the insides of ops by its
speed: a fast one with three quarters of the heads, a slow one with the rest.

What is left out:

* More than ``EVERY_COUNT`` devices; three groups; groups of equal speed; under layouts that a user asks for.
* Of each group other numbers of columns than 1, 2 and a whole node, where they divide the node; other numbers of replicas than
  one and as many as there is room for.
* Weights other than the ``RATIOS`` best of small integers (``MOST_WEIGHT`` for a column of each): those that make the slowest
  column faster than any of a smaller sum does, as small sums divide most sizes, and faster than either group's columns are
  without the other's. Columns of one group have equal weights.
* Of teams that are left all but the first ``TEAMS``, by how good their ratio is, then large ones first.
* ZeRO, unless it is asked for, and layouts that only save memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import gcd

from autopart.planner.problem import Part
from autopart.planner.shares import Parts, Pool, even_parts

EVERY_COUNT = 16
RATIOS = 3
MOST_WEIGHT = 8
TEAMS = 8

Pair = tuple[int, int]
"""What there is of a first group and a second."""


@dataclass(frozen=True, slots=True)
class _Team:
    """``weights`` are of a column of each group; ``ratio`` is their place among those of these columns."""

    groups: Pair
    columns: Pair
    weights: Pair
    replicas: int
    ratio: int

    def parts(self, samples: int) -> Parts:
        (even,) = even_parts((self.replicas,), samples)
        of_each = zip(self.groups, self.columns, self.weights, strict=True)
        return tuple(Part(group, even.samples, columns, (weight,) * columns) for group, columns, weight in of_each)


def joined_parts(pools: Sequence[Pool], samples: int, tensor: int | None = None, data: int | None = None) -> tuple[Parts, ...]:
    """Each stage of ``tensor`` columns and ``data`` replicas, where these are fixed, for microbatches of so many samples."""
    teams = sorted(_teams(pools, samples, tensor, data), key=lambda team: (team.ratio, -team.replicas * sum(team.columns)))
    return tuple(team.parts(samples) for team in teams[:TEAMS])


def joined_degrees(pools: Sequence[Pool]) -> tuple[int, ...]:
    """Numbers of columns that replicas of two groups may have."""
    pairs = _pairs(pools)
    return tuple(sorted({n + m for a, b in pairs for n, m in product(_columns(pools[a]), _columns(pools[b]))}))


def _pairs(pools: Sequence[Pool]) -> list[Pair]:
    if sum(pool.devices for pool in pools) > EVERY_COUNT:
        return []
    speeds = [(pool.fixed_s, pool.sample_s) for pool in pools]
    return [(a, b) for a, b in combinations(range(len(pools)), 2) if speeds[a] != speeds[b]]


def _columns(pool: Pool) -> tuple[int, ...]:
    """How many of a replica's columns may be in a node."""
    return tuple(n for n in sorted({1, 2, pool.node_size}) if pool.node_size % n == 0)


def _teams(pools: Sequence[Pool], samples: int, tensor: int | None, data: int | None) -> Iterator[_Team]:
    for a, b in _pairs(pools):
        for columns in product(_columns(pools[a]), _columns(pools[b])):
            room = min(pools[a].devices // columns[0], pools[b].devices // columns[1])
            for replicas in dict.fromkeys((1, room) if data is None else (data,)) if tensor in (None, sum(columns)) else ():
                if replicas <= min(room, samples):
                    rows = -(-samples // replicas)
                    ratios = _ratios((pools[a], pools[b]), columns, rows, every=tensor is not None)
                    yield from (_Team((a, b), columns, ratio, replicas, place) for place, ratio in enumerate(ratios))


def _ratios(pools: tuple[Pool, Pool], columns: Pair, rows: int, *, every: bool) -> list[Pair]:
    """The best first; unless ``every``, those alone that beat columns of one group."""

    def slowest_s(weights: Pair) -> float:
        total = _total(columns, weights)
        return max(_column_s(pool, rows * weight / total) for pool, weight in zip(pools, weights, strict=True))

    alone_s = min(_column_s(pool, rows / n) for pool, n in zip(pools, columns, strict=True))
    possible = [(p, q) for p, q in product(range(1, MOST_WEIGHT), repeat=2) if p + q <= MOST_WEIGHT and gcd(p, q) == 1]
    faster: list[Pair] = []
    for weights in sorted(possible, key=lambda weights: (_total(columns, weights), slowest_s(weights))):
        if not faster or slowest_s(weights) < slowest_s(faster[-1]):
            faster.append(weights)
    return [weights for weights in faster[: -RATIOS - 1 : -1] if every or slowest_s(weights) < alone_s]


def _column_s(pool: Pool, rows: float) -> float:
    """A part of every sample takes as long as that part of the samples."""
    return pool.fixed_s + rows * pool.sample_s


def _total(columns: Pair, weights: Pair) -> int:
    return columns[0] * weights[0] + columns[1] * weights[1]
