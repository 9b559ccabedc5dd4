"""Graphs that fall apart between two pivots, as towers do: a convex part there is a piece of one side and one of the other.

Between two pivots next to each other (see ``Units``) units may fall into components with no edge from one to another. Put on two
*sides*, all of a convex part that holds no pivot is a convex *piece* of each side, any two, one of them perhaps empty. Work and
bytes are sums over both, and so is what a part pays for tensors, but for tensors with ends on both sides: where both pieces hold
some, they are counted twice, and the part's limit rises by as much (by both, where a tensor has all of its ends there).

So the parts, of which two towers of 400 ops have a billion, need not be listed. At given prices the best partner of a piece is
the worthiest piece of the other side that leaves room for it: a running maximum over pieces by load. Parts that hold a pivot
there, or lie elsewhere, are listed one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.chain import Field, TooLate, step_loads
from autopart.profiled.parts import Worth, last_units
from autopart.profiled.problem import Array, Flags, Ints
from autopart.profiled.relax import CAREFUL

PIECES = 1_500  # ideals of a side, at most
SIGNATURES = 8  # ways in which pieces of one side hold some of the tensors with ends on both
CHUNK = 512  # pieces that find their partners at once


@dataclass(frozen=True, eq=False)
class Pieces:
    """Convex sets ``outer - inner`` (numbers of ideals), one empty; ``load_s`` by type, infinite where it can't run."""

    inner: Ints
    outer: Ints
    load_s: Array
    memory_bytes: Array
    signature: Ints  # which of the tensors with ends on both sides it has some units of, as bits

    def worth(self, done: Array) -> Array:
        """What the units of each piece are worth; ``done`` is by ideal."""
        found: Array = done[self.outer] - done[self.inner]
        return found

    def chosen(self, rows: Ints) -> Pieces:
        return Pieces(self.inner[rows], self.outer[rows], self.load_s[rows], self.memory_bytes[rows], self.signature[rows])


@dataclass(frozen=True, eq=False)
class Pairs:
    """Parts of two pieces each, by the numbers of their ideals; the second piece may be empty (0, 0)."""

    first: tuple[Ints, Ints]  # inner, outer
    second: tuple[Ints, Ints]
    kind: Ints
    load_s: Array

    @property
    def count(self) -> int:
        return len(self.kind)

    def chosen(self, rows: Ints | Flags) -> Pairs:
        first, second = ((inner[rows], outer[rows]) for inner, outer in (self.first, self.second))
        return Pairs(first, second, self.kind[rows], self.load_s[rows])

    def units(self, inside: Flags) -> Flags:
        """By part: its units."""
        (a, b), (c, d) = self.first, self.second
        found: Flags = (inside[b] & ~inside[a]) | (inside[d] & ~inside[c])
        return found

    def waste(self, field: Field, worth: Worth) -> Array:
        """What each part wastes at some prices."""
        done = field.tables.inside @ worth.unit
        (a, b), (c, d) = self.first, self.second
        wasted: Array = worth.kind[self.kind] - (done[b] - done[a]) - (done[d] - done[c])
        return wasted


def joint(found: Sequence[Pairs]) -> Pairs:
    """All of them in one."""
    first, second = (
        (np.concatenate([each[0] for each in ends]), np.concatenate([each[1] for each in ends]))
        for ends in ([each.first for each in found], [each.second for each in found])
    )
    return Pairs(first, second, np.concatenate([each.kind for each in found]), np.concatenate([each.load_s for each in found]))


@dataclass(frozen=True, eq=False)
class Sides:
    """All parts that an assignment can hold with loads up to a limit: pairs of ``left`` and ``right``, and ``others``."""

    field: Field
    left: Pieces
    right: Pieces
    shared_s: Array  # by tensor with ends on both sides and type: what is counted too much where both pieces hold some
    others: Pairs
    limit_s: float

    def below(self, limit_s: float) -> Sides:
        """The same for a lower limit."""
        return Sides(self.field, self.left, self.right, self.shared_s, self.others.chosen(self.others.load_s <= limit_s), limit_s)


def make_pieces(field: Field, ideals: Ints, shared: Sequence[int], limit_s: float) -> Pieces:
    """The convex sets of one side, the empty one first; ``ideals`` hold nothing of the other side, ``shared`` are ties."""
    tables = field.tables
    loads = np.stack([step_loads(field, step, ideals, ideals) for step in field.plain], axis=2)
    last = last_units(field.units, tables.inside[ideals])
    repeated = tables.inside[ideals].astype(np.float32) @ last.T.astype(np.float32) > 0.5  # the set has a smaller outer ideal
    row, column = np.nonzero((loads.min(axis=2) <= limit_s + _most_shared(field, shared)) & ~repeated)
    inner, outer = np.append(0, ideals[row]), np.append(0, ideals[column])
    held = tables.inside[outer] & ~tables.inside[inner]
    signature = np.zeros(len(inner), dtype=np.int64)
    for bit, tie in enumerate(shared):
        signature |= held[:, list(field.units.ties[tie])].any(axis=1).astype(np.int64) << bit
    load = np.concatenate([np.zeros((1, loads.shape[2])), loads[row, column]])
    return Pieces(inner, outer, load, tables.memory_bytes[outer] - tables.memory_bytes[inner], signature)


def _most_shared(field: Field, shared: Sequence[int]) -> float:
    return 2.0 * float(field.units.tie_s[list(shared)].max(axis=1).sum()) if shared else 0.0


@dataclass(frozen=True, eq=False)
class _Match:
    """Pieces of either side that make parts on one type: both of one signature, the right ones by load, and their limit."""

    kind: int
    left: Ints
    right: Ints
    limit_s: float


def _matches(sides: Sides) -> Iterator[_Match]:
    for kind in range(len(sides.field.devices)):
        left, right = ([piece.load_s[:, kind], piece.signature] for piece in (sides.left, sides.right))
        for mine in np.unique(left[1]):
            for other in np.unique(right[1]):
                both = int(mine) & int(other)
                more = sum(float(seconds) for bit, seconds in enumerate(sides.shared_s[:, kind]) if both >> bit & 1)
                limit = sides.limit_s + more
                first = np.flatnonzero((left[1] == mine) & (left[0] <= limit))
                second = np.flatnonzero((right[1] == other) & (right[0] <= limit))
                if len(first) and len(second):
                    yield _Match(kind, first, second[np.argsort(right[0][second], kind="stable")], limit)


def best_partners(sides: Sides, worth: Worth) -> tuple[Pairs, Array]:
    """For each piece of the left and each type the part with it that wastes least, all others too; and what they waste.

    Of every type there is a part among them than which no part of the type wastes less.
    """
    done = sides.field.tables.inside @ worth.unit
    mine, theirs = sides.left.worth(done), sides.right.worth(done)
    found, wasted = [sides.others], [sides.others.waste(sides.field, worth)]
    for match in _matches(sides):
        value, partner = _partners(sides, match, theirs)
        rows = np.flatnonzero(np.isfinite(value))
        left, right = match.left[rows], partner[rows]
        real = (sides.left.inner[left] != sides.left.outer[left]) | (sides.right.inner[right] != sides.right.outer[right])
        found.append(_paired(sides, match, left[real], right[real]))
        wasted.append((worth.kind[match.kind] - mine[left] - value[rows])[real])
    return joint(found), np.concatenate(wasted)


def _paired(sides: Sides, match: _Match, left: Ints, right: Ints) -> Pairs:
    mine, theirs = sides.left, sides.right
    load = mine.load_s[left, match.kind] + theirs.load_s[right, match.kind] - (match.limit_s - sides.limit_s)
    kind = np.full(len(left), match.kind)
    return Pairs((mine.inner[left], mine.outer[left]), (theirs.inner[right], theirs.outer[right]), kind, load)


def _partners(sides: Sides, match: _Match, worth: Array) -> tuple[Array, Ints]:
    """By left piece of a match: the most that a right piece with room for it is worth, and its number."""
    load, memory, room = sides.left.load_s[match.left, match.kind], sides.left.memory_bytes[match.left], _room(sides, match.kind)
    others, theirs, bytes_ = (
        sides.right.load_s[match.right, match.kind],
        worth[match.right],
        sides.right.memory_bytes[match.right],
    )
    places = np.searchsorted(others, match.limit_s - load, side="right")
    value, partner = np.full(len(load), -np.inf), np.zeros(len(load), dtype=np.int64)
    free = memory.max() + bytes_.max() <= room
    chunks = 1 if free else -(-len(load) // CHUNK)
    for rows in np.array_split(np.argsort(memory, kind="stable"), chunks):
        sure = bytes_ + memory[rows].max() <= room
        best, where = _running(np.where(sure, theirs, -np.inf))
        some = rows[places[rows] > 0]
        value[some], partner[some] = best[places[some] - 1], match.right[where[places[some] - 1]]
        doubtful = np.flatnonzero(~sure & (bytes_ + memory[rows].min() <= room))
        if len(doubtful):
            fits = (doubtful[None, :] < places[rows][:, None]) & (bytes_[doubtful][None, :] + memory[rows][:, None] <= room)
            each = np.where(fits, theirs[doubtful][None, :], -np.inf)
            top = each.argmax(axis=1)
            high = each[np.arange(len(rows)), top]
            better = high > value[rows]
            value[rows[better]], partner[rows[better]] = high[better], match.right[doubtful[top[better]]]
    return value, partner


def _room(sides: Sides, kind: int) -> float:
    return float(sides.field.capacity_bytes[kind]) + CAREFUL * float(sides.field.tables.memory_bytes[-1])


def _running(values: Array) -> tuple[Array, Ints]:
    """The running maximum, and where it is first taken."""
    best = np.maximum.accumulate(values)
    fresh = np.append(True, values[1:] > best[:-1])
    return best, np.maximum.accumulate(np.where(fresh, np.arange(len(values)), 0))


def within(sides: Sides, worth: Worth, most: float, count: int, late: Callable[[], bool]) -> Pairs | None:
    """All parts that waste at most ``most``; None where there are more than ``count``. Raises TooLate."""
    done = sides.field.tables.inside @ worth.unit
    mine, theirs = sides.left.worth(done), sides.right.worth(done)
    found = [sides.others.chosen(sides.others.waste(sides.field, worth) <= most)]
    total = found[0].count
    for match in _matches(sides):
        least = float(worth.kind[match.kind]) - most
        value, _ = _partners(sides, match, theirs)
        left = match.left[value + mine[match.left] >= least]
        right = match.right[theirs[match.right] >= least - mine[left].max()] if len(left) else match.right[:0]
        load, memory = sides.right.load_s[right, match.kind], sides.right.memory_bytes[right]
        for rows in np.array_split(left, max(1, -(-len(left) // CHUNK))):
            if late():
                raise TooLate
            fits = mine[rows][:, None] + theirs[right][None, :] >= least
            fits &= sides.left.load_s[rows, match.kind][:, None] + load[None, :] <= match.limit_s
            fits &= sides.left.memory_bytes[rows][:, None] + memory[None, :] <= _room(sides, match.kind)
            row, column = np.nonzero(fits)
            total += len(row)
            if total > count:
                return None
            pairs = _paired(sides, match, rows[row], right[column])
            found.append(pairs.chosen((pairs.first[0] != pairs.first[1]) | (pairs.second[0] != pairs.second[1])))
    return joint(found)
