"""Neighbours by their classes, as variables of the integer program: rows (9) of ``ilp``.

    e_sr in Z>=0           stages of class s right before one of class r
    x_ck in Z>=0, k = 1, 2 stages of column c that have k neighbours of far classes: the half of what such a pair pays is at
                           least half of that for the farthest class

    sum_r e_sr = stages of class s but the last             sum_{c in s} x_c1 + 2 x_c2 = sum_{r far from s} e_sr + e_rs
    sum_r e_rs = stages of class s but the first            x_c1 + x_c2 <= z_c
    sum_{s != r} e_sr >= number of classes used - 1         x_c2 = 0 for first and last stages, x_c1 = 0 for single ones
    sum over pairs with one class in T >= 1 if classes inside T and outside are used, for clusters T of classes

The last row keeps classes that are far from each other from being islands. A pair pays p_sr at least, half of it each stage; so
a stage with k neighbours of far classes takes k halves more than its column says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ortools.sat.python import cp_model

from autopart.planner.classes import Neighbours
from autopart.planner.columns import Chain, Columns
from autopart.planner.problem import Array

MOST = 1 << 20  # stages


@dataclass(frozen=True, eq=False)
class Pairs:
    """Numbers of neighbours, and what each pays at least; stages that are known to be slower than their columns, and how slow."""

    count: list[cp_model.IntVar]
    cost_s: Array
    slow: list[cp_model.IntVar]
    slowest_s: Array


def pairs(model: cp_model.CpModel, chain: Chain, columns: Columns, z: Sequence[cp_model.IntVar]) -> Pairs:
    """The variables, with their rows."""
    near = chain.neighbours
    if near is None:
        return Pairs([], np.zeros(0), [], np.zeros(0))
    of_column = near.of[columns.option]
    pair_s, present = near.pair_s[1:-1].min(axis=0), np.unique(of_column).tolist()
    count = {(s, r): model.new_int_var(0, chain.limit, "") for s in present for r in present if np.isfinite(pair_s[s, r])}
    first, last = chain.shapes.start[columns.shape] == 0, chain.shapes.stop[columns.shape] == chain.blocks
    some = [model.new_bool_var("") for _ in present]
    slow: list[cp_model.IntVar] = []
    slowest_s: list[float] = []
    for s, used in zip(present, some, strict=True):
        mine = of_column == s
        model.add(_sum([n for (a, _), n in count.items() if a == s]) == _stages(z, mine & ~last))
        model.add(_sum([n for (_, b), n in count.items() if b == s]) == _stages(z, mine & ~first))
        model.add(_stages(z, mine) <= chain.limit * used)
        model.add(_stages(z, mine) >= used)
        halves_s = {r: _half_s(near, s, r) for r in present if r != s}
        far = [r for r, half_s in halves_s.items() if half_s >= max(halves_s.values()) / 2 > 0]
        if far:
            half_s = min(halves_s[r] for r in far)
            apart = [n for (a, b), n in count.items() if (a == s and b in far) or (b == s and a in far)]
            slow += _apart(model, np.flatnonzero(mine).tolist(), (2 - first.astype(np.int64) - last).tolist(), z, apart)
            slowest_s += [t + k * half_s for t in columns.time_s[mine] for k in (1, 2)]
    model.add(_sum([n for (s, r), n in count.items() if s != r]) >= _sum(some) - 1)
    for cluster in _clusters(pair_s, present):
        inside = model.new_bool_var("")
        meet = _sum([n for (s, r), n in count.items() if (s in cluster) != (r in cluster)])
        for s, used in zip(present, some, strict=True):
            model.add(used <= inside if s in cluster else meet >= inside + used - 1)
    return Pairs(list(count.values()), np.array([pair_s[pair] for pair in count]), slow, np.array(slowest_s))


def _clusters(pair_s: Array, classes: Sequence[int]) -> list[frozenset[int]]:
    """Single classes, and the clusters that arise when the cheapest neighbours are joined first (single linkage), but for all."""
    found = [frozenset((s,)) for s in classes]
    of = dict(zip(classes, found, strict=True))
    for _, s, r in sorted((float(min(pair_s[s, r], pair_s[r, s])), s, r) for s in classes for r in classes if s < r):
        if of[s] != of[r]:
            found.append(of[s] | of[r])
            of |= dict.fromkeys(found[-1], found[-1])
    return [cluster for cluster in found if len(cluster) < len(classes)]


def _apart(
    model: cp_model.CpModel,
    mine: Sequence[int],
    sides: Sequence[int],
    z: Sequence[cp_model.IntVar],
    apart: Sequence[cp_model.IntVar],
) -> list[cp_model.IntVar]:
    """x_c1, x_c2 of the columns of a class, one after the other, for these numbers of pairs with far classes; ``sides`` is how
    many neighbours a stage has.
    """
    found = [model.new_int_var(0, MOST if sides[c] >= k else 0, "") for c in mine for k in (1, 2)]
    for c, one, two in zip(mine, found[::2], found[1::2], strict=True):
        model.add(one + two <= z[c])
    model.add(_sum(found[::2]) + 2 * _sum(found[1::2]) == _sum(apart))
    return found


def _half_s(near: Neighbours, s: int, r: int) -> float:
    """What a stage of class s takes at least beyond its column for a neighbour of class r, on either side; 0 for no such pair."""
    before = near.pair_s[1:-1, s, r] + near.start_s[1:-1, r] - near.stop_s[1:-1, s]
    after = near.pair_s[1:-1, r, s] + near.stop_s[1:-1, r] - near.start_s[1:-1, s]
    half_s = float(min(before.min(), after.min())) / 2
    return half_s if np.isfinite(half_s) else 0.0


def _sum(terms: Sequence[cp_model.IntVar]) -> cp_model.LinearExpr:
    return cp_model.LinearExpr.sum(list(terms))


def _stages(z: Sequence[cp_model.IntVar], where: NDArray[np.bool_]) -> cp_model.LinearExpr:
    return _sum([z[c] for c in np.flatnonzero(where).tolist()])
