"""Where a shard goes when sizes are regrouped; what a rule says of sizes."""

from __future__ import annotations

import pytest

from autopart.ir.graph import GlobalSize, Op, Ref, Size, Value
from autopart.sharding import ops as _rules  # noqa: F401
from autopart.sharding.means import count
from autopart.sharding.ops.views import follow
from autopart.sharding.placement import Replicate, Shard
from autopart.sharding.rules import Call, Row, rows
from autopart.sharding.sizes import settle

B = 1009


@pytest.mark.parametrize(
    ("shape", "place", "to", "expected"),
    [
        ((B, 6, 8), Shard(0), (B * 6, 8), Shard(0)),
        ((6, B, 8), Shard(1), (6 * B, 8), Shard(0, 6)),
        ((6 * B, 8), Shard(0, 6), (6, B, 8), Shard(1)),
        ((6 * B, 8), Shard(0, 6), (2, 3, B, 8), Shard(2)),
        ((6 * B, 8), Shard(0, 6), (2, 3 * B, 8), Shard(1, 3)),
        ((B * 6, 8), Shard(0), (6, B, 8), None),
        ((2 * B,), Shard(0), (2, B), None),
        ((1, B, 1), Shard(1), (B,), Shard(0)),
        ((B, B), Shard(1), (B, B), Shard(1)),
    ],
)
def test_a_shard_keeps_its_place_in_row_major_order(
    shape: tuple[int, ...], place: Shard, to: tuple[int, ...], expected: Shard | None
) -> None:
    assert follow(shape, place.dim, place.outer, to, B) == expected


def test_counts_are_of_the_global_batch() -> None:
    assert count([Size("b"), 4, 3]) == GlobalSize("12*b")
    assert count([Size("2*b"), Size("b")]) == GlobalSize("(2*b)*b")
    assert count([4, 3]) == 12


def test_only_the_split_dim_counts_own_samples() -> None:
    out = Value("y", (Size("b"), Size("b")), "float32")
    op = Op("expand", "aten.expand.default", (Ref("x"), (Size("b"), Size("b"))), (out,))
    settled = settle(op, Row((Replicate(),), (Shard(1),)))
    assert settled.args[1] == (GlobalSize("b"), Size("b"))
    assert settled.outputs[0].shape == (GlobalSize("b"), Size("b"))
    assert settled.outputs[0].shape_at(3, 10) == (10, 3)


def test_heads_of_a_fused_projection_are_an_outer_split() -> None:
    """[batch, 3 * heads * 4] by heads: the same rules serve dims other than the batch."""
    heads = 8
    out = Value("y", (2, 5, 3 * heads * 4), "float32")
    op = Op("linear", "aten.linear.default", (Ref("x"), Ref("w")), (out,))
    call = Call(op, ((2, 5, 16), (3 * heads * 4, 16)), ((2, 5, 3 * heads * 4),), ("float32",) * 2, heads, (1, 3))
    assert Row((Replicate(), Shard(0, 3)), (Shard(2, 3),)) in (rows(call) or ())


def test_an_unknown_op_has_no_rows() -> None:
    op = Op("x", "other.unknown.default", (Ref("x"),), (Value("y", (4,), "float32"),))
    assert rows(Call(op, ((4,),), ((4,),), ("float32",), 4)) is None
