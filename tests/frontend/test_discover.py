"""How ops without a rule may be split: what is found, and what must not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autopart.frontend.discover import discover
from autopart.frontend.load import loaded_from
from autopart.frontend.trace import trace
from autopart.ir.graph import Graph
from autopart.sharding.batch import shard_batch
from autopart.sharding.placement import Partial, Replicate, Shard
from autopart.sharding.rules import Row
from tests import custom_ops
from tests.zoo.batches import floats, labels

S, R, P = Shard(0), Replicate(), Partial()


class Model(nn.Module):
    def __init__(self, body: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.bound = nn.Linear(6, 4), nn.Parameter(torch.full((4,), 2.0))
        self.body = body

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.body(self, self.layer(x), y)


def graph_of(body: Callable[..., Tensor]) -> Graph:
    return trace(loaded_from(Model(body), lambda n: (floats(n, 6), labels(n, 4)), precision="float64")).graph


def rows_of(body: Callable[..., Tensor]) -> set[tuple[Any, ...]]:
    """What is found for the only op without a rule."""
    (rows,) = discover(graph_of(body)).values()
    return {(*row.inputs, "->", *row.outputs) for row in rows}


def test_an_op_by_sample_is_split_by_sample() -> None:
    found = rows_of(lambda m, h, y: custom_ops.soft_clip(h, m.bound).square().mean())
    assert found == {(S, R, "->", S)}


def test_a_sum_over_samples_is_partial() -> None:
    found = rows_of(lambda m, h, y: custom_ops.correlate(h, h.sin()).square().sum())
    assert (S, S, "->", P) in found
    assert (S, R, "->", P) not in found
    assert (P, R, "->", P) in found  # linear in each, not in both
    assert (R, P, "->", P) in found
    assert (P, P, "->", P) not in found


def test_an_op_that_mixes_samples_is_linear_and_no_more() -> None:
    assert rows_of(lambda m, h, y: custom_ops.centre(h).square().mean()) == {(P, "->", P)}


def test_integers_go_with_their_samples() -> None:
    found = rows_of(lambda m, h, y: custom_ops.pick(h, y).mean())
    assert (S, S, "->", S) in found
    assert (R, S, "->", S) not in found
    assert (S, R, "->", S) not in found


@pytest.mark.parametrize("op", [custom_ops.noisy, custom_ops.first_is_special])
def test_nothing_is_found_by_luck(op: Callable[[Tensor], Tensor]) -> None:
    found = rows_of(lambda m, h, y: op(h).square().mean())
    assert all(Shard(0) not in row for row in found)


def test_gradients_count_too() -> None:
    assert rows_of(lambda m, h, y: custom_ops.wrong_backward(h).square().mean()) == {(P, "->", P)}


def test_equal_ops_are_tried_once_and_ops_with_a_rule_never() -> None:
    graph = graph_of(lambda m, h, y: custom_ops.centre(custom_ops.centre(h)).mean())
    first, second = discover(graph).values()
    assert first is second
    assert not discover(graph_of(lambda m, h, y: h.square().mean()))


def test_what_is_found_spares_a_gather() -> None:
    graph = graph_of(lambda m, h, y: custom_ops.soft_clip(h, m.bound).square().mean())
    found = discover(graph)
    assert not shard_batch(graph, discovered=found).mixing
    (without,) = shard_batch(graph).mixing
    assert "no rule for autopart_tests.soft_clip.default" in without.reason
    assert all(isinstance(row, Row) for rows in found.values() for row in rows)
