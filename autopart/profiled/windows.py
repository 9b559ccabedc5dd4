"""Which ideals can be a cut at all: what is inside must find room on the devices used so far, what is outside on the others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from autopart.profiled.problem import Array, Flags
from autopart.profiled.relax import CAREFUL, Prices
from autopart.profiled.tables import sums

State = tuple[int, ...]  # devices used, by type


@dataclass(frozen=True, eq=False)
class Size:
    """Of every ideal of a family: its work (see ``relax``), the least work that its open ties add on either side, its bytes.

    ``whole_work`` and ``whole_bytes`` are of the whole graph.
    """

    work: Array
    cut: Array
    memory_bytes: Array
    whole_work: float
    whole_bytes: float


def states(devices: State) -> list[State]:
    """All numbers of devices used, the fewer first."""
    return sorted(product(*(range(count + 1) for count in devices)), key=lambda state: (sum(state), state))


def window(size: Size, prices: Prices, devices: State, capacity_bytes: Array, state: State, cap_s: float) -> Flags:
    """Ideals that ``state`` can do with no load above the cap, while the other devices do the rest."""
    worth = device_worth(prices, capacity_bytes, cap_s)
    used, spare = np.array(state), np.array(devices) - np.array(state)
    has = [float(worth[count > 0] @ count[count > 0]) for count in (used, spare)]
    room = [float(capacity_bytes @ count) for count in (used, spare)]
    slack, more = CAREFUL * size.whole_work, CAREFUL * size.whole_bytes
    fits: Flags = (size.work + size.cut <= has[0] + slack) & (size.whole_work - size.work + size.cut <= has[1] + slack)
    fits &= (size.memory_bytes <= room[0] + more) & (size.whole_bytes - size.memory_bytes <= room[1] + more)
    return fits


def device_worth(prices: Prices, capacity_bytes: Array, cap_s: float) -> Array:
    """By type: the most work of a device with no load above the cap."""
    worth = np.where(prices.second > 0, np.inf, 0.0)
    if np.isfinite(cap_s):
        worth = prices.second * cap_s
    found: Array = worth + prices.byte * capacity_bytes
    return found


def some_window(size: Size, prices: Prices, devices: State, capacity_bytes: Array, cap_s: float) -> Flags:
    """Ideals that are in any window."""
    found: Flags = np.zeros(len(size.work), dtype=bool)
    for state in states(devices):
        found |= window(size, prices, devices, capacity_bytes, state, cap_s)
    return found


def cut_work(open_ties: Flags, tie_s: Array, prices: Prices) -> Array:
    """The least work that open ties add on either side; ``tie_s`` by tie and type."""
    if not len(tie_s):
        return np.zeros(len(open_ties))
    return sums(open_ties, (tie_s * prices.second).min(axis=1))
