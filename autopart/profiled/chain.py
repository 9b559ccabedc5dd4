"""The best chain of parts: dynamic programming over (ideal, devices used of each type).

A chain 0 = I_0 < I_1 < ... < I_k = everything cuts the graph into convex parts, each on a device of its own. That leaves out
parts that need each other in a circle: P before Q before P, which convexity alone allows. The parts of such a circle together lie
between two ideals again. So a step of the chain is either one part on one device (its load is exact but that every tensor
takes its best link and has one reader), or, for the bound, a *joined* step: m >= 2 parts in a circle on m devices, of which
only what all of them together have to carry is counted. Joined parts

* pay for at least m tensors among themselves, at both ends;
* have at least two units each, else one of them lies on a path between two units of its neighbour;
* hold no unit that comes before or after all others: each other part would lie wholly before or wholly after it.

A chain of the least value, joined steps allowed, bounds every assignment from below if the family holds all ideals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from autopart.profiled.problem import Array, Ints
from autopart.profiled.relax import CAREFUL, Prices
from autopart.profiled.tables import Flags, Tables, nested, spared
from autopart.profiled.units import Units

PAIRS = 1_000_000  # that are priced at once
STATES = 500
State = tuple[int, ...]  # devices used, by type


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
    extra_s: float
    share: float  # the load is divided by so much
    memory_bytes: float

    @property
    def joined(self) -> int:
        """Devices of a joined step, 0 of a plain one."""
        return sum(self.use) if sum(self.use) > 1 else 0


@dataclass(frozen=True, eq=False)
class Field:
    """What stays the same from one search to the next."""

    units: Units
    tables: Tables
    devices: State  # by type
    capacity_bytes: Array  # by type
    prices: Prices
    tie_sizes: Ints
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


def make_field(units: Units, tables: Tables, devices: State, capacity: Array, found: Prices, late: Callable[[], bool]) -> Field:
    sizes = np.array([len(ends) for ends in units.ties], dtype=np.int64)
    return Field(units, tables, devices, capacity, found, sizes, late)


def best_chain(field: Field, limit_s: float, *, summed: bool, cap_s: float, joined: bool) -> Chain:
    """The chain of the least largest load, or of the least sum of loads (``summed``), below ``limit_s``.

    No load may exceed ``cap_s``. Raises TooLate.
    """
    steps = [*_plain_steps(field), *(_joined_steps(field, summed) if joined else [])]
    states = sorted(product(*(range(count + 1) for count in field.devices)), key=lambda state: (sum(state), state))
    windows = {state: _window(field, state, min(cap_s, np.inf if summed else limit_s)) for state in states}
    rest = _rest(field) if summed else np.zeros(len(field.tables.ideals))
    value = {state: np.full(len(rest), np.inf) for state in states}
    origin: dict[State, Array] = {state: np.zeros((len(rest), 2), dtype=np.int64) for state in states}
    value[states[0]][0] = 0.0
    for state in states:
        rows = np.flatnonzero(windows[state] & (value[state] + rest < limit_s))
        for index, step in enumerate(steps):
            target = tuple(used + more for used, more in zip(state, step.use, strict=True))
            if len(rows) and target in windows:
                columns = np.flatnonzero(windows[target])
                _extend(
                    field, step, index, (rows, columns), (value[state], value[target], origin[target]), summed, (limit_s, cap_s)
                )
    return _trace(field, steps, (value, origin), limit_s, summed)


def _plain_steps(field: Field) -> list[Step]:
    found: list[Step] = []
    open_ties = field.tables.open.astype(float)
    for kind, count in enumerate(field.devices):
        if count:
            weight = field.units.tie_s[:, kind]
            use = tuple(int(each == kind) for each in range(len(field.devices)))
            times, forbidden = field.tables.time_s[:, kind], field.tables.forbidden[:, kind]
            found.append(Step(use, times, open_ties @ weight, weight, forbidden, 0.0, 1.0, float(field.capacity_bytes[kind])))
    return found


def _joined_steps(field: Field, summed: bool) -> list[Step]:
    """Of every set of two devices and more; what they carry together, priced by type."""
    found: list[Step] = []
    open_ties = field.tables.open.astype(float)
    for use in product(*(range(count + 1) for count in field.devices)):
        if sum(use) < 2 or 2 * sum(use) > field.units.count or not len(field.units.ties):
            continue
        kinds = np.flatnonzero(use)
        price = np.ones(len(kinds)) if summed else field.prices.second[kinds]
        times = np.where(field.units.forbidden[:, kinds] > 0, np.inf, field.units.time_s[:, kinds] * price).min(axis=1)
        none = np.isinf(times).astype(float)
        weight = (field.units.tie_s[:, kinds] * price).min(axis=1)
        inside = field.tables.inside
        found.append(
            Step(
                use=use,
                time_s=inside @ np.where(none > 0, 0.0, times),
                cut_s=open_ties @ weight,
                tie_s=weight,
                forbidden=inside @ none,
                extra_s=2.0 * sum(use) * float(weight.min()),
                share=1.0 if summed else max(float(price @ np.array(use)[kinds]), 1e-300),
                memory_bytes=float(np.array(use) @ field.capacity_bytes),
            )
        )
    return found


def _window(field: Field, state: State, cap_s: float) -> Flags:
    """Ideals that these devices can do below the cap, while the others do the rest; both pay for what is cut."""
    tables, units, price = field.tables, field.units, field.prices
    used, spare = np.array(state), np.array(field.devices) - np.array(state)
    cut = tables.open @ (units.tie_s * price.second).min(axis=1) if len(units.ties) else np.zeros(len(tables.ideals))
    worth = (
        price.second * cap_s if np.isfinite(cap_s) else np.where(price.second > 0, np.inf, 0.0)
    ) + price.byte * field.capacity_bytes
    has = [float(worth[count > 0] @ count[count > 0]) for count in (used, spare)]
    slack = CAREFUL * tables.work[-1]
    fits: Flags = (tables.work + cut <= has[0] + slack) & (tables.work[-1] - tables.work + cut <= has[1] + slack)
    memory = tables.memory_bytes
    room = [float(field.capacity_bytes @ count) for count in (used, spare)]
    more = CAREFUL * memory[-1]
    fits &= (memory <= room[0] + more) & (memory[-1] - memory <= room[1] + more)
    return fits


def _rest(field: Field) -> Array:
    """By ideal: the least that the loads of the parts outside of it sum to."""
    units, tables = field.units, field.tables
    present = [kind for kind, count in enumerate(field.devices) if count]
    least = np.where(units.forbidden[:, present] > 0, np.inf, units.time_s[:, present]).min(axis=1)
    cut = tables.open @ units.tie_s[:, present].min(axis=1) if len(units.ties) else 0.0
    found: Array = ((~tables.inside) @ least + cut) * (1 - CAREFUL)
    return found


def _extend(
    field: Field,
    step: Step,
    index: int,
    places: tuple[Ints, Ints],
    state: tuple[Array, Array, Array],
    summed: bool,
    limits: tuple[float, float],
) -> None:
    """Take one kind of step from all ideals of a state; better values and where they come from go into the target's arrays."""
    before, after, origin = state
    for rows, columns in _blocks(field, step, places, limits[1] if summed else min(limits)):
        if field.late():
            raise TooLate
        load = _load(field, step, rows, columns)
        load[load > limits[1] * (max(1, step.joined) if summed else 1)] = np.inf
        total = before[rows][:, None] + load if summed else np.maximum(before[rows][:, None], load)
        best = total.argmin(axis=0)
        least = total[best, np.arange(len(columns))]
        better = np.flatnonzero((least < after[columns]) & (least < limits[0]))
        after[columns[better]] = least[better]
        origin[columns[better]] = np.stack([rows[best[better]], np.full(len(better), index)], axis=1)


def _blocks(field: Field, step: Step, places: tuple[Ints, Ints], cap_s: float) -> Iterator[tuple[Ints, Ints]]:
    """Pairs worth pricing: what lies between is not more work than the step's devices have below the cap."""
    tables, price = field.tables, field.prices
    rows, columns = places
    use = np.array(step.use)
    reach = np.inf
    if np.isfinite(cap_s):
        reach = float(use @ (price.second * cap_s + price.byte * field.capacity_bytes)) + CAREFUL * tables.work[-1]
    shared = np.intersect1d(tables.pivots[rows], tables.pivots[columns]) if step.joined else [None]
    for pivots in shared:
        mine = rows if pivots is None else rows[tables.pivots[rows] == pivots]
        others = columns if pivots is None else columns[tables.pivots[columns] == pivots]
        start = 0
        while start < len(mine):
            low = np.searchsorted(tables.work[others], tables.work[mine[start]] - CAREFUL * tables.work[-1])
            stop = min(len(mine), start + max(1, PAIRS // max(1, len(others) - int(low))))
            high = np.searchsorted(tables.work[others], tables.work[mine[stop - 1]] + reach, side="right")
            if low < high:
                yield mine[start:stop], others[low:high]
            start = stop


def _load(field: Field, step: Step, rows: Ints, columns: Ints) -> Array:
    """Seconds of a step between all pairs of ideals; infinite where it can't be."""
    tables = field.tables
    load: Array = (step.time_s + step.cut_s)[columns][None, :] - (step.time_s - step.cut_s)[rows][:, None]
    load -= spared(tables, rows, columns, step.tie_s, field.tie_sizes)
    load += step.extra_s
    load /= step.share
    bad = ~nested(tables, rows, columns)
    bad |= step.forbidden[columns][None, :] > step.forbidden[rows][:, None] + 0.5
    slack = CAREFUL * tables.memory_bytes[-1]
    bad |= tables.memory_bytes[columns][None, :] > tables.memory_bytes[rows][:, None] + step.memory_bytes + slack
    if step.joined:
        bad |= tables.size[columns][None, :] < tables.size[rows][:, None] + 2 * step.joined
    load[bad] = np.inf
    return load


def _trace(
    field: Field, steps: list[Step], arrays: tuple[dict[State, Array], dict[State, Array]], limit_s: float, summed: bool
) -> Chain:
    """The best chain back from its end."""
    value, origin = arrays
    last = len(field.tables.ideals) - 1
    state = min(value, key=lambda each: (value[each][last], sum(each), each))
    least = float(value[state][last])
    if not least < limit_s:
        return Chain(np.inf, np.inf, ())
    parts: list[Part] = []
    largest = 0.0
    while sum(state):
        source, index = map(int, origin[state][last])
        load = float(_load(field, steps[index], np.array([source]), np.array([last]))[0, 0])
        largest = max(largest, load / max(1, steps[index].joined) if summed else load)
        parts.append(Part(field.tables.ideals[last] & ~field.tables.ideals[source], steps[index].use))
        state = tuple(used - taken for used, taken in zip(state, steps[index].use, strict=True))
        last = source
    return Chain(least, largest, tuple(reversed(parts)))
