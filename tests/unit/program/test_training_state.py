"""Which rank keeps which bytes of the training state: cases by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from autopart.ir.graph import Buffer, Graph, Ref, Size, Value
from autopart.program.program import Program, StageSpec
from autopart.program.state import State, state_of
from autopart.sharding.placement import Shard
from tests.graphs import Builder


def model(*, frozen: bool = False) -> Graph:
    """Two matrices, 4 x 6 and 4 x 3 (the second maybe frozen), and two buffers of 4, one of them in no state dict."""
    b = Builder()
    x = b.input("x", (Size("b"), 4))
    first, second = b.parameter("a.weight", (4, 6)), b.parameter("b.weight", (4, 3), trainable=not frozen)
    b.op("aten.mm.default", Ref(x), Ref(first), shape=(Size("b"), 6))
    b.op("aten.mm.default", Ref(x), Ref(second), shape=(Size("b"), 3))
    buffers = (Buffer("mean", Value("mean", (4,), "float32"), True), Buffer("table", Value("table", (4,), "float32"), False))
    return replace(b.graph(b.ops[-1].outputs[0].name), buffers=buffers)


def program(
    *stages: tuple[tuple[int, ...], tuple[str, ...]], shards: dict[str, Shard] | None = None, **changes: object
) -> Program:
    specs = tuple(
        replace(StageSpec(i, ranks, (1,) * len(ranks), (), names, ("mean",) if i == 0 else ()), **changes)
        for i, (ranks, names) in enumerate(stages)
    )
    return Program(1, 1, "1f1b", specs, (), {}, shards or {})


def by_rank(state: State, sort: str) -> dict[int, int]:
    """Bytes of weights or of the optimizer's state."""
    found: Counter[int] = Counter()
    for (_, kind), kept in state.items():
        for holding in kept.holdings if kind == sort else ():
            for rank in holding.ranks:
                found[rank] += kept.nbytes * holding.elements.count
    return dict(found)


BOTH = ("a.weight", "b.weight")


def test_replicas_keep_everything_and_stages_their_own() -> None:
    """24 and 12 scalars of 4 bytes, and the buffer's 4 with the first stage; twice as much is Adam's."""
    state = state_of(program(((0, 2), BOTH)), model(), "adamw")
    assert by_rank(state, "weights") == {0: 160, 2: 160}
    assert by_rank(state, "optimizer") == {0: 288, 2: 288}
    state = state_of(program(((1,), BOTH[:1]), ((0, 3), BOTH[1:])), model(), "momentum")
    assert by_rank(state, "weights") == {1: 96 + 16, 0: 48, 3: 48}
    assert by_rank(state, "optimizer") == {1: 96, 0: 48, 3: 48}


def test_plain_descent_keeps_nothing_and_frozen_weights_have_no_state() -> None:
    assert by_rank(state_of(program(((0,), BOTH)), model(), "sgd"), "optimizer") == {}
    assert by_rank(state_of(program(((0,), BOTH)), model(frozen=True), "adamw"), "optimizer") == {0: 192}


def test_columns_have_their_shards() -> None:
    """Two replicas of two columns, which split the first matrix by 2:1 and hold the second whole."""
    split = program(((0, 1, 2, 3), BOTH), shards={"a.weight": Shard(1, 1, 3)}, tensor=2, weights=(2, 1))
    state = state_of(split, model(), "adamw")
    assert by_rank(state, "weights") == {rank: 16 + 48 + (64 if rank % 2 == 0 else 32) for rank in range(4)}
    assert [holding.ranks for holding in state["a.weight", "optimizer"].holdings] == [(0, 2), (1, 3)]


@pytest.mark.parametrize(
    ("level", "weights"), [(1, {0: 160, 1: 160, 5: 160}), (2, {0: 160, 1: 160, 5: 160}), (3, {0: 64, 1: 64, 5: 64})]
)
def test_zero_shares_out_the_flat_row(level: int, weights: dict[int, int]) -> None:
    """36 scalars in one row: twelve each, in the order of rank numbers."""
    state = state_of(program(((5, 0, 1), BOTH), zero=level), model(), "adamw")
    assert by_rank(state, "weights") == weights
    assert by_rank(state, "optimizer") == {0: 96, 1: 96, 5: 96}
    assert [(h.elements.start, h.elements.stop, h.ranks) for h in state["a.weight", "optimizer"].holdings] == [
        (0, 12, (0,)), (12, 24, (1,)),
    ]  # fmt: skip
    assert [holding.ranks for holding in state["b.weight", "optimizer"].holdings] == [(5,)]


def test_rows_of_frozen_weights_are_shared_out_at_level_3_alone() -> None:
    for level, expected in ((2, {0: 16 + 96 + 48, 1: 16 + 96 + 48}), (3, {0: 16 + 48 + 24, 1: 16 + 48 + 24})):
        state = state_of(program(((0, 1), BOTH), zero=level), model(frozen=True), "adamw")
        assert by_rank(state, "weights") == expected
        assert by_rank(state, "optimizer") == {0: 96, 1: 96}


def test_what_several_stages_hold_is_not_shared_out() -> None:
    state = state_of(program(((0, 1), BOTH), ((2, 3), BOTH[1:]), zero=3), model(), "adamw")
    assert [holding.ranks for holding in state["b.weight", "weights"].holdings] == [(0, 1, 2, 3)]
    assert by_rank(state, "weights") == {0: 16 + 48 + 48, 1: 16 + 48 + 48, 2: 48, 3: 48}
