"""Which settings and options the planner chooses from: numbers of microbatches, device counts, shares, recomputation.

What is left out, because the lower bound of a solution speaks of these options only:

* A schedule other than the one asked for. Under the formula (sum t + (M-1) max t + max sync) GPipe costs the same step as
  1F1B and holds M microbatches in flight where 1F1B holds at most min(M, position), so 1F1B dominates and is the default.
* Beyond ``EVERY_COUNT`` devices or four groups: device counts that are neither a power of two, nor whole nodes, nor all of a
  group; stages of two groups in other ratios than 1:4 to 4:1; stages of three groups or more other than of all devices.
* Shares other than the fastest for the whole model, and where memory is tight ``SHARES`` steps from those towards shares in
  proportion to memory. Devices of one group differ by one sample at most.
* Where an option holds the whole model with every microbatch in flight, recomputation and shares towards memory can't help
  any stage of it and are not listed.
* Where there would be more than ``OPTIONS``: shares towards memory, then stages of several groups with unlike counts, then of
  several groups with less than all their devices.
* Where the batch size has more than ``MICROBATCHES`` divisors: some of those in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from autopart.planner.problem import Part
from autopart.plans import divisors

EVERY_COUNT = 16
SHARES = 4
OPTIONS = 400
MICROBATCHES = 20

Parts = tuple[Part, ...]
Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pool:
    """What enumeration needs of a group; a device takes ``fixed_s + rows * sample_s`` forward and backward through the model."""

    devices: int
    node_size: int
    fixed_s: float
    sample_s: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Pins:
    """What a user fixed: the number of stages, of replicas of each stage, of microbatches."""

    stages: int | None = None
    data: int | None = None
    microbatches: int | None = None


@dataclass(frozen=True, slots=True)
class OptionSketch:
    """An option without its prices."""

    parts: Parts
    recompute: bool


@dataclass(frozen=True, slots=True)
class SettingSketch:
    schedule: str
    microbatches: int
    options: tuple[OptionSketch, ...]


def enumerate_settings(
    pools: Sequence[Pool],
    batch_size: int,
    *,
    roomy: Callable[[Parts, int], bool],
    one_microbatch: bool = False,
    one_replica: bool = False,
    pins: Pins | None = None,
    schedule: str = "1f1b",
) -> tuple[SettingSketch, ...]:
    """Every setting with its options. ``roomy(parts, M)`` says that the parts hold the whole model with M microbatches in flight.

    ``one_microbatch``: the model mixes samples; ``one_replica``: it has no batch dim.
    """
    pins = pins or Pins()
    counts = device_counts(pools, 1 if one_replica else pins.data)
    found = []
    for microbatches in microbatch_counts(batch_size, one_microbatch or one_replica, pins.microbatches):
        options = _options(pools, counts, batch_size // microbatches, microbatches, roomy)
        if options:
            found.append(SettingSketch(schedule, microbatches, options))
    return tuple(found)


def microbatch_counts(batch_size: int, only_one: bool, pinned: int | None) -> tuple[int, ...]:
    """Divisors of the batch size, ascending; thinned out geometrically where there are many."""
    if only_one:
        return (1,) if pinned in (None, 1) else ()
    if pinned is not None:
        return (pinned,) if batch_size % pinned == 0 else ()
    possible = divisors(batch_size)
    return possible if len(possible) <= MICROBATCHES else _thinned(possible)


def _thinned(ascending: Sequence[int]) -> tuple[int, ...]:
    ratio = (ascending[-1] / ascending[0]) ** (1 / MICROBATCHES)
    kept = [ascending[0]]
    for value in ascending[1:]:
        if value >= kept[-1] * ratio or value == ascending[-1]:
            kept.append(value)
    return tuple(kept)


def device_counts(pools: Sequence[Pool], total: int | None = None) -> tuple[Counts, ...]:
    """How many devices of each group a stage may take; with ``total`` exactly so many altogether."""
    every = sum(pool.devices for pool in pools) <= EVERY_COUNT and len(pools) <= 4
    found = set(_all_counts(pools) if every else _some_counts(pools, total))
    return tuple(sorted(c for c in found if sum(c) == (total or sum(c)) and any(c)))


def _all_counts(pools: Sequence[Pool]) -> Iterator[Counts]:
    return product(*(range(pool.devices + 1) for pool in pools))


def _some_counts(pools: Sequence[Pool], total: int | None) -> Iterator[Counts]:
    """One group, two groups in like numbers, all devices of every subset of few groups, all devices."""
    width = len(pools)
    sizes = [_sizes(pool, total) for pool in pools]
    for group, counts in enumerate(sizes):
        yield from (_at(width, {group: count}) for count in counts)
    for a, b in combinations(range(width), 2):
        yield _at(width, {a: pools[a].devices, b: pools[b].devices})
        if total is not None:
            yield from (_at(width, {a: n, b: total - n}) for n in range(1, total) if _holds(pools, {a: n, b: total - n}))
        yield from (_at(width, {a: n, b: m}) for n in sizes[a] for m in sizes[b] if n <= 4 * m and m <= 4 * n)
    yield tuple(pool.devices for pool in pools)


def _holds(pools: Sequence[Pool], counts: dict[int, int]) -> bool:
    return all(count <= pools[group].devices for group, count in counts.items())


def _at(width: int, counts: dict[int, int]) -> Counts:
    return tuple(counts.get(group, 0) for group in range(width))


def _sizes(pool: Pool, total: int | None) -> tuple[int, ...]:
    """Powers of two, whole nodes (each number of them up to 16, then powers of two), all."""
    powers = [1 << i for i in range(pool.devices.bit_length())]
    nodes = [n for n in range(1, pool.devices // pool.node_size + 1) if n <= 16 or n & (n - 1) == 0]
    found = {*powers, *(n * pool.node_size for n in nodes), pool.devices, *([] if total is None else [total])}
    return tuple(sorted(n for n in found if n <= pool.devices))


def _options(
    pools: Sequence[Pool], counts: Iterable[Counts], samples: int, microbatches: int, roomy: Callable[[Parts, int], bool]
) -> tuple[OptionSketch, ...]:
    """The options of a setting; fewer shares, then fewer mixtures, until there are at most ``OPTIONS``."""
    possible = [c for c in counts if sum(c) <= samples]
    options: dict[OptionSketch, None] = {}
    for steps, allowed in ((SHARES, _any), (2, _any), (0, _any), (SHARES, _alike), (0, _alike), (0, _whole)):
        chosen = [c for c in possible if allowed(c, pools)]
        if len(chosen) > OPTIONS and allowed is not _whole:  # each gives one at least
            continue
        options = _first(o for c in chosen for o in _ways(pools, c, samples, microbatches, roomy, steps))
        if len(options) <= OPTIONS:
            break
    return tuple(options)


def _first(options: Iterable[OptionSketch]) -> dict[OptionSketch, None]:
    """Each once; no more than it takes to see that they are too many."""
    found: dict[OptionSketch, None] = {}
    for option in options:
        found[option] = None
        if len(found) > OPTIONS:
            break
    return found


def _any(_counts: Counts, _pools: Sequence[Pool]) -> bool:
    return True


def _alike(counts: Counts, pools: Sequence[Pool]) -> bool:
    """One group, equal numbers of several, or all devices of those taken."""
    return len({n for n in counts if n}) == 1 or _whole(counts, pools)


def _whole(counts: Counts, pools: Sequence[Pool]) -> bool:
    """One group, or all devices of several."""
    used = [(n, pool.devices) for n, pool in zip(counts, pools, strict=True) if n]
    return len(used) == 1 or all(n == every for n, every in used)


def _ways(
    pools: Sequence[Pool],
    counts: Counts,
    samples: int,
    microbatches: int,
    roomy: Callable[[Parts, int], bool],
    steps: int,
) -> Iterator[OptionSketch]:
    fastest = fastest_parts(pools, counts, samples)
    yield OptionSketch(fastest, recompute=False)
    if roomy(fastest, microbatches):
        return
    yield OptionSketch(fastest, recompute=True)
    for step in range(1, steps + 1 if len(fastest) > 1 else 1):
        parts = leaning_parts(pools, counts, samples, step / steps)
        yield OptionSketch(parts, recompute=False)
        yield OptionSketch(parts, recompute=True)


def fastest_parts(pools: Sequence[Pool], counts: Counts, samples: int) -> Parts:
    """Integer shares that make the slowest device as fast as possible; every device takes one sample at least."""
    return shared_parts(counts, samples, [pool.fixed_s for pool in pools], [pool.sample_s for pool in pools])


def even_parts(counts: Counts, samples: int) -> Parts:
    """Equal shares, the first devices one sample more where they don't divide."""
    return shared_parts(counts, samples, [0.0] * len(counts), [1.0] * len(counts))


def leaning_parts(pools: Sequence[Pool], counts: Counts, samples: int, lean: float) -> Parts:
    """Shares between the fastest (``lean`` 0) and those in proportion to memory (1)."""
    fastest = {part.group: sum(part.samples) / part.devices for part in fastest_parts(pools, counts, samples)}
    memory = max(sum(n * pool.memory_bytes for n, pool in zip(counts, pools, strict=True)), 1.0)
    rows = [
        (1 - lean) * fastest.get(group, 0.0) + lean * samples * pool.memory_bytes / memory for group, pool in enumerate(pools)
    ]
    return shared_parts(counts, samples, [0.0] * len(pools), [1 / max(r, 1e-9) for r in rows])


def shared_parts(counts: Counts, samples: int, fixed_s: Sequence[float], sample_s: Sequence[float]) -> Parts:
    """Shares minimising max over devices of fixed_s + rows * sample_s, all rows at least 1 and their sum ``samples``."""
    assert sum(counts) <= samples, f"{samples} samples for {sum(counts)} devices"
    used = [group for group, count in enumerate(counts) if count]
    if len(used) == 1:
        return (_even_part(used[0], counts[used[0]], samples),)
    rows = _rows_below(_deadline(counts, samples, fixed_s, sample_s, used), fixed_s, sample_s, used)
    extra = dict.fromkeys(used, 0)
    left = samples - sum(counts[g] * rows[g] for g in used)
    while left:
        cheapest = min((g for g in used if not extra[g]), key=lambda g: fixed_s[g] + (rows[g] + 1) * sample_s[g])
        extra[cheapest] = min(left, counts[cheapest])
        left -= extra[cheapest]
        if extra[cheapest] == counts[cheapest]:
            rows[cheapest], extra[cheapest] = rows[cheapest] + 1, 0
    return tuple(Part(g, (rows[g] + 1,) * extra[g] + (rows[g],) * (counts[g] - extra[g])) for g in used)


def _even_part(group: int, devices: int, samples: int) -> Part:
    rows, extra = divmod(samples, devices)
    return Part(group, (rows + 1,) * extra + (rows,) * (devices - extra))


def _deadline(counts: Counts, samples: int, fixed_s: Sequence[float], sample_s: Sequence[float], used: Sequence[int]) -> float:
    """About the largest time by which no more than ``samples`` rows are done."""
    low, high = 0.0, max(fixed_s[g] + samples * sample_s[g] for g in used)
    for _ in range(50):
        middle = (low + high) / 2
        rows = _rows_below(middle, fixed_s, sample_s, used)
        if sum(counts[g] * rows[g] for g in used) <= samples:
            low = middle
        else:
            high = middle
    return low


def _rows_below(deadline_s: float, fixed_s: Sequence[float], sample_s: Sequence[float], used: Sequence[int]) -> dict[int, int]:
    return {g: max(1, int((deadline_s - fixed_s[g]) / sample_s[g])) for g in used}
