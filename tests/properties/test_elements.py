"""What two ranks have of a tensor in common, against sets of its elements."""

from __future__ import annotations

from math import prod
from random import Random

import torch

from autopart.program.elements import Elements, common, shard, whole
from autopart.runtime.rows import part
from autopart.sharding.placement import Shard


def listed(elements: Elements) -> list[int]:
    """One by one."""
    return [x for x in range(elements.start, elements.stop) if elements.low <= x % elements.period < elements.high]


def drawn(rng: Random, shape: tuple[int, ...]) -> tuple[Elements, list[int]]:
    """A part of a shard, and what torch says that it is."""
    tensor = torch.arange(prod(shape)).view(shape)
    dim = rng.randrange(len(shape))
    outer = rng.choice([n for n in range(1, shape[dim] + 1) if shape[dim] % n == 0])
    units = rng.choice([n for n in range(1, shape[dim] // outer + 1) if shape[dim] // outer % n == 0])
    start = rng.randrange(units)
    count = rng.randint(1, units - start)
    place = Shard(dim - len(shape) * rng.randrange(2), outer, units)
    found, cut = shard(shape, place, start, count), part(tensor, place, units, start, count).flatten()
    first = rng.randint(0, len(cut))
    last = rng.randint(first, len(cut))
    return found.part(first, last), cut[first:last].tolist()


def test_parts_of_shards_are_what_torch_cuts_and_have_in_common_what_sets_have() -> None:
    rng = Random(0)
    for _ in range(400):
        shape = tuple(rng.choice((1, 2, 3, 4, 6, 8, 12)) for _ in range(rng.randint(1, 3)))
        (a, in_a), (b, in_b) = drawn(rng, shape), drawn(rng, shape)
        assert listed(a) == in_a
        assert a.count == len(in_a)
        assert common(a, b) == common(b, a) == len(set(in_a) & set(in_b)), (a, b)


def test_a_whole_tensor() -> None:
    assert whole(()).count == 1
    assert whole((3, 4)).count == 12
    assert whole((0, 4)).count == 0
    assert common(whole((8, 6)), shard((8, 6), Shard(1, 1, 3), 1, 2)) == 32


def test_windows_of_periods_that_do_not_divide_each_other() -> None:
    """First halves of two slices, and of three."""
    halves, thirds = shard((12,), Shard(0, 2, 2), 0, 1), shard((12,), Shard(0, 3, 2), 0, 1)
    assert listed(halves) == [0, 1, 2, 6, 7, 8]
    assert listed(thirds) == [0, 1, 4, 5, 8, 9]
    assert common(halves, thirds) == 3
