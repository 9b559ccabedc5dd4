"""Folding calls into loops, by example."""

from __future__ import annotations

from collections import Counter

from autopart.codegen.loops import Call, Carried, Loop, fold


def reads(calls: list[Call], *after: str) -> Counter[str]:
    found = Counter(after)
    for call in calls:
        found.update(call.inputs)
    return found


def chain(function: str, path: str, first: int, last: int, *more: str) -> list[Call]:
    """``x1 = f(tree[0], x0, more...)``, and so on."""
    return [Call(function, f"{path}.{i}", (f"x{i}", *more), (f"x{i + 1}",)) for i in range(first, last)]


def test_equal_calls_in_a_chain() -> None:
    calls = chain("f", "m.h", 3, 7, "mask")
    loop = Loop((calls[0],), 4, "m.h", 3, ("",), (Carried(0, 0, "x3"),), (("x7",),))
    assert fold(calls, reads(calls, "x7")) == [loop]


def test_a_value_that_is_read_later_ends_the_loop() -> None:
    calls = chain("f", "h", 0, 4)
    folded = fold(calls, reads(calls, "x4", "x2"))
    assert [item.rounds if isinstance(item, Loop) else item for item in folded] == [2, 2]


def test_rounds_of_two_calls_below_one_item() -> None:
    calls = []
    for i in range(3):
        calls += [Call("attn", f"h.{i}.attn", (f"x{i}",), (f"y{i}",)), Call("mlp", f"h.{i}.mlp", (f"y{i}",), (f"x{i + 1}",))]
    (loop,) = fold(calls, reads(calls, "x3"))
    assert isinstance(loop, Loop)
    assert (loop.rounds, loop.tree, loop.first, loop.paths) == (3, "h", 0, ("attn", "mlp"))
    assert loop.carried == (Carried(1, 0, "x0"),)


def test_no_loop_over_numbers_with_a_gap_or_in_two_containers() -> None:
    gap = [Call("f", "h.0", ("x0",), ("x1",)), Call("f", "h.2", ("x1",), ("x2",))]
    other = [Call("f", "h.0", ("x0",), ("x1",)), Call("f", "g.1", ("x1",), ("x2",))]
    for calls in (gap, other):
        assert fold(calls, reads(calls, "x2")) == calls


def test_no_loop_where_inputs_come_from_unlike_places() -> None:
    calls = [
        Call("f", "h.0", ("x0", "a"), ("x1",)),
        Call("f", "h.1", ("x1", "b"), ("x2",)),
        Call("f", "h.2", ("x2", "b"), ("x3",)),
    ]
    folded = fold(calls, reads(calls, "x3"))
    assert folded[0] == calls[0]
    assert isinstance(folded[1], Loop)
    assert (folded[1].first, folded[1].rounds) == (1, 2)


def test_two_values_carried_side_by_side() -> None:
    calls = [Call("f", f"h.{i}", (f"x{i}", f"z{i}"), (f"x{i + 1}", f"z{i + 1}")) for i in range(3)]
    (loop,) = fold(calls, reads(calls, "x3", "z3"))
    assert isinstance(loop, Loop)
    assert loop.carried == (Carried(0, 0, "x0"), Carried(0, 1, "z0"))
