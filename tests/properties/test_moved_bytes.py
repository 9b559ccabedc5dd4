"""Bytes that move between two programs drawn at random, against sets of elements."""

from __future__ import annotations

from random import Random

from autopart.ir.graph import Graph, Parameter, Value
from autopart.program.program import Program, StageSpec
from autopart.program.state import State, state_of
from autopart.replan.overlap import moved_bytes, needed_bytes, overlaps, shares
from autopart.sharding.placement import Shard
from tests.properties.test_elements import listed

SHAPES = {"a": (4, 6), "b": (12,), "c": (2, 3, 4), "d": (), "e": (6, 4)}
Elements = set[tuple[str, str, int]]


def graph() -> Graph:
    rows = tuple(Parameter(name, Value(f"p_{name}", shape, "float32"), name != "e") for name, shape in SHAPES.items())
    return Graph("drawn", (), rows, (), (), "loss")


def drawn(rng: Random) -> Program:
    """Up to three stages on any of ten ranks; "b" maybe in two of them; columns with even or uneven parts; ZeRO."""
    names = list(SHAPES)
    cut = sorted(rng.sample(range(1, len(names)), rng.randint(0, 2)))
    parts = [names[i:j] for i, j in zip([0, *cut], [*cut, len(names)], strict=True)]
    if len(parts) > 1 and rng.random() < 0.3:
        parts[-1] = list(dict.fromkeys(["b", *parts[-1]]))
    free, specs = rng.sample(range(10), 10), []
    tensor = rng.choice((1, 1, 2, 3))
    weights = () if tensor == 1 or rng.random() < 0.5 else tuple(rng.randint(1, 2) for _ in range(tensor))
    for index, own in enumerate(parts):
        count = tensor * rng.randint(1, 3 // tensor)
        ranks, free = tuple(free[:count]), free[count:]
        zero = rng.choice((0, 0, 1, 2, 3))
        specs.append(StageSpec(index, ranks, (), (), tuple(own), tensor=tensor, weights=weights, zero=zero))
    shards = {name: shard for name in names if tensor > 1 and (shard := place(rng, name, sum(weights) or tensor))}
    return Program(1, 1, "1f1b", tuple(specs), (), {}, shards)


def place(rng: Random, name: str, units: int) -> Shard | None:
    """Along any dim that has so many units, maybe of slices."""
    shape = SHAPES[name]
    fitting = [(dim, outer) for dim, size in enumerate(shape) for outer in (1, 2, 3) if size % (outer * units) == 0]
    if not fitting or rng.random() < 0.2:
        return None
    dim, outer = rng.choice(fitting)
    return Shard(dim, outer, units)


def held(state: State) -> dict[int, Elements]:
    """Every element of every tensor that a rank has."""
    found: dict[int, Elements] = {rank: set() for rank in range(10)}
    for (name, sort), kept in state.items():
        seen: set[int] = set()
        for holding in kept.holdings:
            own = listed(holding.elements)
            assert seen.isdisjoint(own), "an element is in two holdings"
            seen.update(own)
            for rank in holding.ranks:
                found[rank] |= {(name, sort, x) for x in own}
        assert len(seen) == max(1, _size(name)), f"{name} is not all there"
    return found


def nbytes(elements: Elements, state: State) -> int:
    return sum(state[name, sort].nbytes for name, sort, _ in elements)


def _size(name: str) -> int:
    size = 1
    for n in SHAPES[name]:
        size *= n
    return size


def test_against_sets_of_elements() -> None:
    rng = Random(5)
    moving = 0
    for _ in range(300):
        before, after = (state_of(drawn(rng), graph(), "adamw") for _ in range(2))
        had, needs = held(before), held(after)
        new = rng.sample(range(10), rng.randint(0, 10))
        same = dict(zip(new, rng.sample(range(10), len(new)), strict=True))
        missing = sum(nbytes(needs[rank] - (had[same[rank]] if rank in same else set()), after) for rank in range(10))
        assert moved_bytes(before, after, same) == missing
        assert needed_bytes(after) == sum(nbytes(each, after) for each in needs.values())
        assert sum(each.nbytes * len(each.after) for each in overlaps(before, after)) == needed_bytes(after)
        both = {(a, b): nbytes(had[a] & needs[b], after) for a in range(10) for b in range(10)}
        assert shares(before, after) == {pair: n for pair, n in both.items() if n}
        moving += missing > 0
    assert moving > 200
