"""Graphs that fall apart between two pivots: the pairs of pieces are the convex parts, and covers by them equal brute force."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from autopart.errors import Infeasible
from autopart.profiled import apart, covers, sides, solve
from autopart.profiled.chain import Field, step_loads
from autopart.profiled.chains import every_ideal, make_field
from autopart.profiled.groups import make_groups
from autopart.profiled.order import bits, make_order
from autopart.profiled.parts import Worth
from autopart.profiled.problem import Array, Goal, Ints, Problem
from autopart.profiled.relax import price
from autopart.profiled.search import Search
from autopart.profiled.sides import Pieces, Sides, best_partners, within
from autopart.profiled.units import Units, make_units
from tests.profiles import allowed, best_by_force

NEAR = 1e-6


def falling_apart(seed: int, *, training: bool = False) -> Problem:
    """An op, two or three sides, one or two ops that join them; the first or the last may be missing; mirrored for training."""
    rng = random.Random(seed)
    edges: list[tuple[int, int]] = []
    first, joined = rng.random() < 0.6, rng.choice([0, 1, 2]) if not training else rng.choice([0, 1])
    count = int(first)
    ends: list[int] = []
    for length in rng.choice([(2, 2), (3, 1), (2, 1, 1), (3, 2)]) if not training else (2, rng.choice([1, 2])):
        side = range(count, count + length)
        edges += [(0, side[0])] if first else []
        edges += [(a, b) for a in side for b in side if (b == a + 1 and (a == side[0] or rng.random() < 0.6)) or b == a + 2]
        if first:
            edges += [(0, op) for op in side if not any(b == op for _, b in edges)]
        ends += [op for op in side if not any(a == op for a, _ in edges)]
        count += length
    for _ in range(joined):
        edges += [(end, count) for end in ends]
        ends, count = [count], count + 1
    return _problem(rng, count, edges, training)


def _problem(rng: random.Random, count: int, edges: list[tuple[int, int]], training: bool) -> Problem:
    time_s = np.array([[rng.choice([1, 2, 5, 9]) * speed for speed in (1.0, rng.choice([0.7, 1.6]))] for _ in range(count)])
    memory = np.array([float(rng.randint(0, 10)) for _ in range(count)])
    output = np.array([rng.choice([0.0, 0.5, 1.0]) for _ in range(count)])
    labels: tuple[str | None, ...] = (None,) * count
    if training:  # the mirror of op v is op n + v
        edges = edges + [(count + b, count + a) for a, b in edges] + [(op, count + op) for op in range(count)]
        time_s, output = np.concatenate([time_s, 2 * time_s]), np.concatenate([output, output[::-1]])
        memory, labels = np.concatenate([memory, 0 * memory]), tuple(f"c{op}" for op in range(count)) * 2
    ranks = rng.choice([2, 3]) if count < 7 and not training else 2
    kinds = [0] * ranks if rng.random() < 0.5 else [0] * (ranks - 1) + [1]
    second, far = rng.choice([0.05, 0.3, 1.0]), ~np.eye(ranks, dtype=bool)
    return Problem(
        names=tuple(f"n{op}" for op in range(len(memory))),
        time_s=time_s[:, kinds],
        memory_bytes=memory,
        output_bytes=output,
        backward=np.arange(len(memory)) >= count,
        labels=labels,
        edges=tuple(edges),
        kinds=np.array(kinds),
        capacity_bytes=np.full(ranks, max(rng.choice([1.0, 0.7, 0.6]) * memory.sum(), memory.max())),
        latency_s=np.where(far, second / 3, 0.0),
        bandwidth_bytes_per_s=np.where(far, 1 / second, np.inf),
        goal=Goal("throughput"),
    )


DRAWN = [(falling_apart(seed, training=training), seed) for training in (False, True) for seed in range(60)]
BEST = [best_by_force(problem) for problem, _ in DRAWN]


def made(problem: Problem, cap: float = 0.6123) -> tuple[Search, Units, list[int], Sides] | None:
    """The sides of a problem, None where it does not fall apart. No load is just that share of everything on one device."""
    order = make_order(problem.producers, problem.readers)
    search = Search(problem, make_groups(problem, order), order, 0.0, 60.0, None)
    units = make_units(problem, search.groups, order, attach=False)
    ideals = every_ideal(search, units) or []
    search.value_s = cap * float(problem.time_s.max(axis=1).sum())
    found = apart.make_sides(search, units, ideals)
    return None if found is None else (search, units, ideals, found)


Part = tuple[int, int]  # its units as a set, its type


def by_force(search: Search, units: Units, ideals: list[int]) -> dict[Part, float]:
    """All convex parts that fit, with their loads, from all pairs of ideals."""
    prices = price(search.problem, search.groups, Goal("throughput"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "value_s", float("inf"))
        field = make_field(search, units, ideals, prices, ())
    rows, found = np.arange(len(ideals)), {}
    for kind, step in enumerate(field.plain):
        load = step_loads(field, step, rows, rows)
        for row, column in zip(*np.nonzero(load <= search.value_s), strict=True):
            part = field.tables.ideals[column] & ~field.tables.ideals[row]
            found[part, kind] = float(load[row, column])
    return found


def listed(field: Field, pairs: sides.Pairs) -> Iterator[tuple[Part, float]]:
    for units, kind, load in zip(pairs.units(field.tables.inside), pairs.kind, pairs.load_s, strict=True):
        yield (sum(1 << int(unit) for unit in np.flatnonzero(units)), int(kind)), float(load)


def random_worth(seed: int, units: int, kinds: int) -> Worth:
    rng = np.random.default_rng(seed)
    return Worth(rng.uniform(-0.1, 1.0, units), rng.uniform(0.5, 1.0, kinds))


def same_parts(problem: Problem) -> bool:
    """Whether pairs of pieces and other parts are all convex parts, each once, none with another load."""
    setting = made(problem)
    if setting is None:
        return True
    search, units, ideals, found = setting
    pairs = within(found, random_worth(0, units.count, len(problem.kind_ranks)), 1e9, 10**6, search.late)
    assert pairs is not None
    mine, expected = list(listed(found.field, pairs)), by_force(search, units, ideals)
    return sorted(part for part, _ in mine) == sorted(expected) and all(abs(load - expected[part]) < 1e-9 for part, load in mine)


def test_pairs_of_pieces_are_all_convex_parts_once() -> None:
    fallen = [problem for problem, _ in DRAWN if made(problem) is not None]
    assert len(fallen) > 80
    assert sum(len(found[3].shared_s) > 0 for found in map(made, fallen) if found) > 20
    assert all(map(same_parts, fallen))


def test_dropping_what_is_counted_twice_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_shared(field: Field, ideals: Ints, shared: list[int], limit_s: float) -> Pieces:
        found = make_pieces(field, ideals, shared, limit_s)
        return replace(found, signature=0 * found.signature)

    make_pieces = sides.make_pieces
    monkeypatch.setattr(apart, "make_pieces", nothing_shared)
    assert not all(same_parts(problem) for problem, _ in DRAWN)


def test_dropping_parts_with_a_pivot_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(field: Field, segment: int, limit_s: float) -> sides.Pairs:
        found = others(field, segment, limit_s)
        return found.chosen(np.zeros(found.count, dtype=bool))

    others = apart._others
    monkeypatch.setattr(apart, "_others", none)
    assert not all(same_parts(problem) for problem, _ in DRAWN)


@pytest.mark.parametrize("chunk", [1, 3, 512])
def test_the_best_partners_waste_least(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sides, "CHUNK", chunk)
    for problem, seed in DRAWN:
        setting = made(problem)
        if setting is None:
            continue
        search, units, ideals, found = setting
        worth = random_worth(seed, units.count, len(problem.kind_ranks))
        pairs, waste = best_partners(found, worth)
        every = by_force(search, units, ideals)
        wasted = {part: worth.kind[part[1]] - sum(worth.unit[unit] for unit in bits(part[0])) for part in every}
        for (part, _), value in zip(listed(found.field, pairs), waste, strict=True):
            assert value == pytest.approx(wasted[part], abs=1e-9)
        for kind in range(len(problem.kind_ranks)):
            least = min((value for part, value in wasted.items() if part[1] == kind), default=np.inf)
            assert waste[pairs.kind == kind].min(initial=np.inf) == pytest.approx(least, abs=1e-9)


def by_covers(problem: Problem, *without: str) -> solve.Solution | None:
    """By covers from the chains of a few orders, or without these from everything on one rank; None where that does not fit."""
    with pytest.MonkeyPatch.context() as patch:
        for each in ("proof", "close", "_move", "_exactly", *without):
            patch.setattr(solve, each, lambda *_: None)
        try:
            return solve.solve(problem, gap=0.0, time_limit_s=60.0)
        except Infeasible:
            return None


def from_one_rank(problem: Problem) -> solve.Solution | None:
    return by_covers(problem, "quick")


def wrong(plan: Callable[[Problem], solve.Solution | None]) -> list[int]:
    """Problems whose plan is not allowed or has a bound above what is best."""
    found = [(index, plan(problem)) for index, (problem, _) in enumerate(DRAWN)]
    return [
        index
        for index, each in found
        if each and (not allowed(DRAWN[index][0], each.assignment) or each.bound_s > BEST[index] * (1 + NEAR))
    ]


def test_covers_of_sides_equal_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Sides] = []

    def noted(search: Search, units: Units, ideals: list[int]) -> Sides | None:
        found = apart.make_sides(search, units, ideals)
        used.extend([found] if found else [])
        return found

    monkeypatch.setattr(covers, "make_sides", noted)
    assert not wrong(by_covers)
    assert not wrong(from_one_rank)
    assert len(used) > 40
    for (problem, _), best in zip(DRAWN, BEST, strict=True):
        found = by_covers(problem)
        if found and problem.ranks == 2:  # a third rank may read what the cover charges once
            assert found.value_s == pytest.approx(best, rel=NEAR)
            assert found.ended == "optimal"


def test_covers_of_sides_come_before_the_ends_of_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large sides there are too many ends to go through: covers would not get their turn."""
    called: list[str] = []
    monkeypatch.setattr(solve, "cover", lambda *args: called.append("covers of sides" if args[-1] else "covers"))
    monkeypatch.setattr(solve, "close", lambda *_: called.append("ends"))
    orders = set()
    for problem, _ in DRAWN[:40]:
        called.clear()
        by_chains(problem)
        orders.add(tuple(called))
    assert orders == {(), ("covers of sides", "ends"), ("ends", "covers")}


def by_chains(problem: Problem) -> solve.Solution | None:
    """Without looking at every plan of a small problem."""
    with pytest.MonkeyPatch.context() as patch:
        for each in ("_move", "_exactly"):
            patch.setattr(solve, each, lambda *_: None)
        try:
            return solve.solve(problem, gap=0.0)
        except Infeasible:
            return None


def test_pricing_that_misses_partners_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(found: Sides, match: sides._Match, worth: Array) -> tuple[Array, Ints]:
        return partners(found, match, np.where(np.arange(len(worth)) > 0, -np.inf, worth))

    partners = sides._partners
    monkeypatch.setattr(sides, "_partners", alone)
    assert wrong(from_one_rank)
