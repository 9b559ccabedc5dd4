"""The best chain of parts: dynamic programming over (ideal, devices used of each type).

A chain 0 = I_0 < I_1 < ... < I_k = everything cuts the graph into convex parts, each on a device of its own (Tarnawski et al.
2020, "Efficient algorithms for device placement of DNN graph operators"). The load of a part is exact but that every tensor takes
its best link, and that what a part makes is read on one other device at most. That leaves out parts that need each other in a
circle; for the bound they are one *joined* step of the chain, see ``joined``. A chain of the least value, joined steps allowed,
bounds every assignment from below if the family holds all ideals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.joined import Circle
from autopart.profiled.problem import Array, Ints
from autopart.profiled.readers import Spread, more_readers
from autopart.profiled.relax import CAREFUL, Prices
from autopart.profiled.tables import Tables, nested, spared, sums
from autopart.profiled.units import Units
from autopart.profiled.windows import Size, State, cut_work, device_worth, states, window

PAIRS = 1_000_000  # that are priced at once


class TooLate(Exception):  # noqa: N818 - not an error
    """The time is over."""


@dataclass(frozen=True, eq=False)
class Step:
    """A kind of step: the devices that it takes, and what its load is made of, by ideal or by tie."""

    use: State
    time_s: Array
    cut_s: Array
    tie_s: Array
    forbidden: Array
    memory_bytes: float
    inner_s: Array | None = None  # of a joined step: by pivots before it
    share: float = 1.0  # the load is divided by so much
    least_ops: int = 1

    @property
    def loads(self) -> int:
        """How many loads the step stands for."""
        return sum(self.use)


@dataclass(frozen=True, eq=False)
class Field:
    """What stays the same from one search to the next."""

    units: Units
    tables: Tables
    size: Size
    devices: State  # by type
    capacity_bytes: Array  # by type
    prices: Prices
    least_s: Array  # by unit: on its fastest types
    plain: tuple[Step, ...]
    joined: tuple[Step, ...]  # for the largest load, or for the sum of loads, by the goal
    tie_sizes: Ints
    spread: Spread
    late: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Part:
    """Units of one step, as a set, and the devices that it takes."""

    units: int
    use: State


@dataclass(frozen=True, slots=True)
class Chain:
    """``value_s``: no chain has less; infinite where none stays below the limit. ``parts`` in order, and their largest load."""

    value_s: float
    largest_s: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """A chain's value is below ``value_s``, none of its loads is above ``load_s``; loads are added up, or the largest counts."""

    value_s: float
    load_s: float
    summed: bool

    @property
    def cap_s(self) -> float:
        """No load of a chain within the limits is above this."""
        return self.load_s if self.summed else min(self.load_s, self.value_s)


def size_of(tables: Tables, units: Units, prices: Prices) -> Size:
    """What windows go by."""
    cut = cut_work(tables.open, units.tie_s, prices)
    return Size(tables.work, cut, tables.memory_bytes, float(tables.work[-1]), float(tables.memory_bytes[-1]))


@dataclass(frozen=True, eq=False)
class Reached:
    """By devices used, for every ideal: the least value of a chain up to it, and its last (ideal, step)."""

    steps: Sequence[Step]
    value_s: dict[State, Array]
    origin: dict[State, Ints]


@dataclass(frozen=True, eq=False)
class _Taken:
    """A step to one number of devices used: its place among all steps, and what further readers cost it, see ``_more_s``."""

    step: Step
    index: int
    more_s: Array | None


def best_chain(field: Field, limits: Limits, *, joined: bool) -> Chain:
    """The chain of the least value within the limits. Raises TooLate."""
    return _trace(field, reach(field, limits, joined=joined), limits)


def reach(field: Field, limits: Limits, *, joined: bool) -> Reached:
    """All ideals that chains within the limits reach. Raises TooLate."""
    steps = [*field.plain, *(field.joined if joined else ())]
    used = states(field.devices)
    windows = {
        state: window(field.size, field.prices, field.devices, field.capacity_bytes, state, limits.cap_s) for state in used
    }
    rest = _rest(field) if limits.summed else np.zeros(len(field.tables.ideals))
    value = {state: np.full(len(rest), np.inf) for state in used}
    origin = {state: np.zeros((len(rest), 2), dtype=np.int64) for state in used}
    value[used[0]][0] = 0.0
    for state in used:
        rows = np.flatnonzero(windows[state] & (value[state] + rest < limits.value_s))
        for index, step in enumerate(steps):
            target = tuple(before + more for before, more in zip(state, step.use, strict=True))
            if len(rows) and target in windows:
                taken = _Taken(step, index, _more_s(field, step, target, limits.cap_s))
                places = (rows, np.flatnonzero(windows[target]))
                _extend(field, taken, places, (value[state], value[target], origin[target]), limits)
    return Reached(steps, value, origin)


def plain_steps(units: Units, tables: Tables, capacity_bytes: Array) -> tuple[Step, ...]:
    """One part on one device, by type."""
    cuts = sums(tables.open, units.tie_s)
    kinds = range(len(capacity_bytes))
    return tuple(
        Step(
            use=tuple(int(each == kind) for each in kinds),
            time_s=tables.time_s[:, kind],
            cut_s=cuts[:, kind],
            tie_s=units.tie_s[:, kind],
            forbidden=tables.forbidden[:, kind],
            memory_bytes=float(capacity_bytes[kind]),
        )
        for kind in kinds
    )


def joined_steps(found: Sequence[Circle], tables: Tables, capacity_bytes: Array) -> tuple[Step, ...]:
    """A circle of parts, by the devices that it takes."""
    if not found:
        return ()
    times = sums(tables.inside, np.stack([circle.time_s for circle in found], axis=1))
    forbidden = sums(tables.inside, np.stack([circle.forbidden for circle in found], axis=1))
    cuts = sums(tables.open, np.stack([circle.tie_s for circle in found], axis=1))
    return tuple(
        Step(
            use=circle.use,
            time_s=times[:, index],
            cut_s=cuts[:, index],
            tie_s=circle.tie_s,
            forbidden=forbidden[:, index],
            memory_bytes=float(np.array(circle.use) @ capacity_bytes),
            inner_s=circle.inner_s,
            share=circle.share,
            least_ops=circle.least_ops,
        )
        for index, circle in enumerate(found)
    )


def _rest(field: Field) -> Array:
    """By ideal: the least that the loads of the parts outside of it sum to."""
    units, tables = field.units, field.tables
    present = [kind for kind, count in enumerate(field.devices) if count]
    cut = sums(tables.open, units.tie_s[:, present].min(axis=1)) if len(units.ties) else 0.0
    found: Array = (sums(~tables.inside, field.least_s) + cut) * (1 - CAREFUL)
    return found


def _more_s(field: Field, step: Step, target: State, cap_s: float) -> Array | None:
    """By ideal and tensor of ``field.spread``: seconds that its maker pays for readers behind the ideal, beyond the first."""
    if step.inner_s is not None or not len(field.spread.makers) or not np.isfinite(cap_s):
        return None
    worth, work = device_worth(field.prices, field.capacity_bytes, cap_s), field.size.work
    rest = field.size.whole_work - work + field.size.cut
    left = np.array(field.devices) - np.array(target)
    found: Array = more_readers(field.spread, rest, worth, left, CAREFUL * field.size.whole_work)
    return found * field.spread.least_s[:, step.use.index(1)]


def _extend(field: Field, taken: _Taken, places: tuple[Ints, Ints], arrays: tuple[Array, Array, Ints], limits: Limits) -> None:
    """Take one kind of step from all ideals of a state; better values and where they come from go into the target's arrays."""
    before, after, origin = arrays
    step = taken.step
    for rows, columns in _blocks(field, step, places, limits.cap_s):
        if field.late():
            raise TooLate
        load = _loads(field, taken, rows, columns)
        load[load > limits.load_s * (step.loads if limits.summed else 1)] = np.inf
        total = before[rows][:, None] + load if limits.summed else np.maximum(before[rows][:, None], load)
        best = total.argmin(axis=0)
        least = total[best, np.arange(len(columns))]
        better = np.flatnonzero((least < after[columns]) & (least < limits.value_s))
        after[columns[better]] = least[better]
        origin[columns[better]] = np.stack([rows[best[better]], np.full(len(better), taken.index)], axis=1)


def _blocks(field: Field, step: Step, places: tuple[Ints, Ints], cap_s: float) -> Iterator[tuple[Ints, Ints]]:
    """Pairs worth pricing: what lies between is not more work than the step's devices have below the cap.

    A joined step holds no pivot: both of its ideals have as many.
    """
    rows, columns = places
    if step.inner_s is None:
        yield from _near(field, step, rows, columns, cap_s)
        return
    mine, others = field.tables.pivots[rows], field.tables.pivots[columns]
    for pivots in np.intersect1d(mine, others):
        yield from _near(field, step, rows[mine == pivots], columns[others == pivots], cap_s)


def _near(field: Field, step: Step, rows: Ints, columns: Ints, cap_s: float) -> Iterator[tuple[Ints, Ints]]:
    work, price = field.tables.work, field.prices
    slack = CAREFUL * work[-1]
    reach = np.inf
    if np.isfinite(cap_s):
        reach = float(np.array(step.use) @ (price.second * cap_s + price.byte * field.capacity_bytes)) + slack
    start = 0
    while start < len(rows):
        low = np.searchsorted(work[columns], work[rows[start]] - slack)
        stop = min(len(rows), start + max(1, PAIRS // max(1, len(columns) - int(low))))
        high = np.searchsorted(work[columns], work[rows[stop - 1]] + reach, side="right")
        if low < high:
            yield rows[start:stop], columns[low:high]
        start = stop


def _loads(field: Field, taken: _Taken, rows: Ints, columns: Ints) -> Array:
    """``step_loads``, and what further readers cost the makers among the units of the step."""
    load = step_loads(field, taken.step, rows, columns)
    if taken.more_s is not None:
        made, more = field.tables.inside[:, field.spread.makers], taken.more_s[columns]
        load += (made[columns] * more).sum(axis=1)[None, :] - made[rows].astype(float) @ more.T
    return load


def step_loads(field: Field, step: Step, rows: Ints, columns: Ints) -> Array:
    """Seconds of a step between all pairs of ideals; infinite where it can't be."""
    tables = field.tables
    load: Array = (step.time_s + step.cut_s)[columns][None, :] - (step.time_s - step.cut_s)[rows][:, None]
    load -= spared(tables, rows, columns, step.tie_s, field.tie_sizes)
    if step.inner_s is not None:
        load += step.inner_s[tables.pivots[rows[0]]]
        load /= step.share
    bad = ~nested(tables, rows, columns)
    bad |= step.forbidden[columns][None, :] > step.forbidden[rows][:, None] + 0.5
    slack = CAREFUL * tables.memory_bytes[-1]
    bad |= tables.memory_bytes[columns][None, :] > tables.memory_bytes[rows][:, None] + step.memory_bytes + slack
    bad |= tables.forward[columns][None, :] < tables.forward[rows][:, None] + step.least_ops
    load[bad] = np.inf
    return load


def _trace(field: Field, reached: Reached, limits: Limits) -> Chain:
    """The best chain back from its end."""
    value, last = reached.value_s, len(field.tables.ideals) - 1
    state = min(value, key=lambda each: (value[each][last], sum(each), each))
    least = float(value[state][last])
    if not least < limits.value_s:
        return Chain(np.inf, np.inf, ())
    parts: list[Part] = []
    largest = 0.0
    while sum(state):
        source, index = map(int, reached.origin[state][last])
        step = reached.steps[index]
        taken = _Taken(step, index, _more_s(field, step, state, limits.cap_s))
        load = float(_loads(field, taken, np.array([source]), np.array([last]))[0, 0])
        largest = max(largest, load / step.loads if limits.summed else load)
        parts.append(Part(field.tables.ideals[last] & ~field.tables.ideals[source], step.use))
        state = tuple(used - taken for used, taken in zip(state, step.use, strict=True))
        last = source
    return Chain(least, largest, tuple(reversed(parts)))
