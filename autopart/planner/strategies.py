"""Which settings and options the planner chooses from: numbers of microbatches, device counts, shares, recomputation,
tensor degrees, ZeRO.

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
* Replicas of several devices (a *team*: its columns share out the insides of ops) over several nodes, but for those of two groups
  that ``joined`` names; teams of other sizes than
  powers of two and what divides a node; stages of unlike teams, of teams of three groups or more, or of two groups other than in
  equal numbers or with all that they have; beyond ``EVERY_COUNT`` teams of a group the numbers that are left out for devices.
  Where teams leave a remainder of a node, each counts with its part of that.
* ZeRO where an option holds the whole model without it, and together with shares towards memory. Level 1 where there is one
  microbatch: level 2 then costs the same.
* Of these further ways all but the first ``FURTHER``, in the order of ``_further``.
* Where the batch size has more than ``MICROBATCHES`` divisors: some of those in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, islice, product
from typing import Any

from autopart.planner.joined import EVERY_COUNT, joined_parts
from autopart.planner.problem import replicas_of
from autopart.planner.shares import Counts, Parts, Pool, fastest_parts, leaning_parts
from autopart.plans import divisors

SHARES = 4
OPTIONS = 400
FURTHER = 200
MICROBATCHES = 20


@dataclass(frozen=True, slots=True)
class Pins:
    """What a user fixed: the number of stages, of replicas of each stage, of microbatches, of columns of each replica; the ZeRO
    level of stages of several replicas; layouts by glob; how many devices of each group are used at least (empty: none).
    """

    stages: int | None = None
    data: int | None = None
    microbatches: int | None = None
    tensor: int | None = None
    zero: int | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)
    least: tuple[int, ...] = ()

    @property
    def said(self) -> dict[str, Any]:
        """What is fixed, by name: as a plan records it."""
        every = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: dict(value) if name == "layouts" else value for name, value in every.items() if value or value == 0}


@dataclass(frozen=True, slots=True)
class OptionSketch:
    """An option without its prices."""

    parts: Parts
    recompute: bool
    zero: int = 0


@dataclass(frozen=True, slots=True)
class SettingSketch:
    schedule: str
    microbatches: int
    options: tuple[OptionSketch, ...]


def no_splits(_group: int, tensor: int) -> bool:
    """No op is split."""
    return tensor == 1


def no_joins(_parts: Parts) -> bool:
    """No op is split over columns of several groups."""
    return False


def enumerate_settings(
    pools: Sequence[Pool],
    batch_size: int,
    *,
    roomy: Callable[[Parts, int], bool],
    splits: Callable[[int, int], bool] = no_splits,
    joins: Callable[[Parts], bool] = no_joins,
    one_microbatch: bool = False,
    one_replica: bool = False,
    pins: Pins | None = None,
    schedule: str = "1f1b",
) -> tuple[SettingSketch, ...]:
    """Every setting with its options. ``roomy(parts, M)`` says that the parts hold the whole model with M microbatches in flight,
    ``splits(group, tensor)`` that the model can be run on so many columns there, ``joins(parts)`` over the columns of these.

    ``one_microbatch``: the model mixes samples; ``one_replica``: it has no batch dim.
    """
    pins = replace(pins or Pins(), data=1) if one_replica else pins or Pins()
    alone = [pool if splits(group, 1) else replace(pool, devices=0) for group, pool in enumerate(pools)]
    counts = device_counts(alone, pins.data) if pins.tensor in (None, 1) else ()
    teams = team_counts(pools, pins, splits)
    found = []
    for microbatches in microbatch_counts(batch_size, one_microbatch or one_replica, pins.microbatches):
        samples = batch_size // microbatches
        options = _options(pools, counts, samples, microbatches, roomy)
        more = _further(pools, counts, teams, samples, microbatches, roomy, pins.zero)
        options += tuple(dict.fromkeys(islice(more, FURTHER)))
        options += tuple(_joined(pools, samples, microbatches, roomy, joins, pins))
        if options:
            found.append(SettingSketch(schedule, microbatches, tuple(dict.fromkeys(_pinned(o, pins) for o in options))))
    return tuple(found)


def _pinned(option: OptionSketch, pins: Pins) -> OptionSketch:
    """With the ZeRO level that is asked for: one replica has nobody to share with."""
    return replace(option, zero=pins.zero) if pins.zero is not None and _replicas(option.parts) > 1 else option


def _replicas(parts: Parts) -> int:
    return len(replicas_of(parts))


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


def tensor_degrees(node_size: int) -> tuple[int, ...]:
    """Sizes of teams in a node, 2 or more: powers of two, and what divides the node."""
    return tuple(n for n in range(2, node_size + 1) if n & (n - 1) == 0 or node_size % n == 0)


Teams = tuple[tuple[int, Counts], ...]
"""Tensor degree, and teams of it by group."""


def team_counts(pools: Sequence[Pool], pins: Pins, splits: Callable[[int, int], bool]) -> Teams:
    """Stages of teams: of one group, then of two."""
    degrees = sorted({n for pool in pools for n in tensor_degrees(pool.node_size)} - {1})
    found: dict[tuple[int, Counts], None] = {}
    for tensor in degrees if pins.tensor is None else [n for n in degrees if n == pins.tensor]:
        teams = {group: _team_pool(pool, tensor) for group, pool in enumerate(pools) if pool.node_size >= tensor}
        teams = {group: pool for group, pool in teams.items() if splits(group, tensor)}
        found |= dict.fromkeys((tensor, counts) for counts in _team_counts(teams, len(pools), pins.data))
    return tuple(sorted(found, key=lambda team: sum(map(bool, team[1]))))


def _team_pool(pool: Pool, tensor: int) -> Pool:
    """The group's teams, as if each were one device."""
    of_a_node = pool.node_size // tensor
    teams = pool.devices // pool.node_size * of_a_node
    return Pool(teams, of_a_node, pool.fixed_s / tensor, pool.sample_s / tensor, pool.memory_bytes * tensor)


def _team_counts(teams: Mapping[int, Pool], width: int, total: int | None) -> Iterator[Counts]:
    sizes = {group: tuple(range(1, pool.devices + 1)) for group, pool in teams.items()}
    sizes |= {group: _sizes(pool, total) for group, pool in teams.items() if pool.devices > EVERY_COUNT}
    every = [_at(width, {group: count}) for group, counts in sizes.items() for count in counts]
    for a, b in combinations(teams, 2):
        every += [_at(width, {a: count, b: count}) for count in sizes[a] if count in sizes[b]]
        every.append(_at(width, {a: teams[a].devices, b: teams[b].devices}))
    return (counts for counts in every if sum(counts) == (total or sum(counts)))


def _further(
    pools: Sequence[Pool],
    counts: Iterable[Counts],
    teams: Teams,
    samples: int,
    microbatches: int,
    roomy: Callable[[Parts, int], bool],
    level: int | None,
) -> Iterator[OptionSketch]:
    """Teams; where memory is tight with recomputation, then with ZeRO, large stages first; single devices with ZeRO."""
    split = [_team_parts(pools, tensor, c, samples) for tensor, c in teams if sum(c) <= samples]
    yield from (OptionSketch(parts, recompute=False) for parts in split)
    tight = [parts for parts in split if not roomy(parts, microbatches)]
    yield from (OptionSketch(parts, recompute=True) for parts in tight)
    if level is not None:
        return
    alone = sorted((c for c in counts if 1 < sum(c) <= samples), key=lambda c: (not _alike(c, pools), -sum(c)))
    tight += [parts for c in alone if not roomy(parts := fastest_parts(pools, c, samples), microbatches)]
    for zero, recompute in product((2, 3) if microbatches == 1 else (1, 2, 3), (False, True)):
        yield from (OptionSketch(parts, recompute, zero) for parts in tight if _replicas(parts) > 1)


def _team_parts(pools: Sequence[Pool], tensor: int, counts: Counts, samples: int) -> Parts:
    """The fastest shares of teams."""
    return tuple(replace(part, tensor=tensor) for part in fastest_parts(pools, counts, samples))


def _joined(
    pools: Sequence[Pool],
    samples: int,
    microbatches: int,
    roomy: Callable[[Parts, int], bool],
    joins: Callable[[Parts], bool],
    pins: Pins,
) -> Iterator[OptionSketch]:
    """Teams of two groups; where memory is tight also with recomputation."""
    for parts in joined_parts(pools, samples, pins.tensor, pins.data):
        if joins(parts):
            yield OptionSketch(parts, recompute=False)
            if not roomy(parts, microbatches):
                yield OptionSketch(parts, recompute=True)
