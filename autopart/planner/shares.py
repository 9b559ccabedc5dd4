"""How many samples each device of a stage takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autopart.planner.problem import Part

Parts = tuple[Part, ...]
Counts = tuple[int, ...]
"""By group: devices, or replicas of several devices each."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What enumeration needs of a group; a device takes ``fixed_s + rows * sample_s`` forward and backward through the model."""

    devices: int
    node_size: int
    fixed_s: float
    sample_s: float
    memory_bytes: float


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
