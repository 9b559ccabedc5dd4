"""What neighbouring stages pay extra at least, by classes of options.

Extras belong to pairs of options, of which there are too many. Options at one place form a class, or where there are many places
those with devices in the same groups; the least extra between two classes at a boundary is a bound for all their pairs. What a
stage pays whoever its neighbour is, half of the least over all classes, is taken out of the pairs and belongs to its columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autopart.planner.problem import Array, Ints, Option, Routes, Setting

CLASSES = 8


@dataclass(frozen=True, eq=False)
class Neighbours:
    """``of[o]`` is an option's class. For boundary b between a stage of class s and the next, of class r, these pay extra at
    least ``stop_s[b, s]`` and ``start_s[b, r]`` whoever their neighbour is, and together ``pair_s[b, s, r]`` more; infinite for
    classes for which there are not the devices.
    """

    of: Ints
    start_s: Array
    stop_s: Array
    pair_s: Array

    @property
    def count(self) -> int:
        return int(self.pair_s.shape[1])

    def alone_s(self, options: Ints, start: Ints, stop: Ints) -> Array:
        """[option, interval] what stages pay extra at least whoever their neighbours are."""
        found: Array = (self.start_s[start] + self.stop_s[stop])[:, self.of[options]].T
        return found

    @property
    def most_s(self) -> float:
        """What a pair pays together at most, by these numbers."""
        return float(
            (np.where(np.isfinite(self.pair_s), self.pair_s, 0.0) + self.start_s[:, None, :] + self.stop_s[:, :, None]).max()
        )


def make_neighbours(setting: Setting, usage: Ints, devices: Ints) -> Neighbours | None:
    """Of options that take ``usage[o, g]`` of ``devices[g]``; None where there is nothing to say."""
    if setting.routes is None or not setting.options:
        return None
    places = np.array([option.place for option in setting.options], dtype=np.int64)
    used, first, number = np.unique(places, return_index=True, return_inverse=True)
    at_place = [setting.options[i] for i in first]
    of_place = _classes(at_place)
    half = np.zeros((len(used), len(setting.routes.nbytes)))
    np.maximum.at(half, number, [option.boundary_s for option in setting.options])
    taken = usage[first]
    together: NDArray[np.bool_] = np.all(taken[:, None] + taken[None, :] <= devices, axis=2)
    least_s = _least_extras(setting.routes, used, half, of_place, together)
    possible = np.isfinite(least_s)
    if not (least_s[possible] > 0).any():
        return None
    stop_s, start_s = (np.where(possible.any(axis=axis), least_s.min(axis=axis), 0.0) / 2 for axis in (2, 1))
    pair_s = np.maximum(0.0, least_s - stop_s[:, :, None] - start_s[:, None, :])
    return Neighbours(of_place[number], start_s, stop_s, pair_s)


def _classes(options: Sequence[Option]) -> Ints:
    """Of options at different places: each by itself, or sets of groups, or groups and the rest; the finest that are few."""
    groups = [tuple(sorted({part.group for part in option.parts})) for option in options]
    single = [each if len(each) == 1 else () for each in groups]
    finest: tuple[Sequence[Hashable], ...] = (range(len(options)), groups, single)
    for keys in finest:
        found: dict[Hashable, int] = {}
        numbers = [found.setdefault(key, len(found)) for key in keys]
        if len(found) <= CLASSES:
            return np.array(numbers, dtype=np.int64)
    return np.zeros(len(options), dtype=np.int64)


def _least_extras(routes: Routes, used: Ints, half: Array, of_place: Ints, together: NDArray[np.bool_]) -> Array:
    """[n + 1, classes, classes] over the places ``used``, whose stages pay at most ``half`` [places, n + 1] by themselves;
    ``together`` [places, places] says which pairs there are devices for. 0 at both ends.
    """
    classes = int(of_place.max()) + 1
    order = np.argsort(of_place, kind="stable")
    starts = np.searchsorted(of_place[order], np.arange(classes))
    between, possible = np.ix_(used[order], used[order]), together[np.ix_(order, order)]
    found = np.zeros((len(routes.nbytes), classes, classes))
    known: dict[tuple[bytes, float, float], Array] = {}
    for boundary in range(1, len(routes.nbytes) - 1):
        own, messages, nbytes = half[order, boundary], float(routes.messages[boundary]), float(routes.nbytes[boundary])
        key = (own.tobytes(), messages, nbytes)
        if key not in known:
            ways = messages * routes.latency_s[between] + nbytes * routes.byte_s[between]
            extra = np.where(possible, np.maximum(0.0, ways - own[:, None] - own[None, :]), np.inf)
            known[key] = np.minimum.reduceat(np.minimum.reduceat(extra, starts, axis=0), starts, axis=1)
        found[boundary] = known[key]
    return found
