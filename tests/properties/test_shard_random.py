"""Random graphs: what the rewriting promises of every one, and loss and gradients of some on simulated ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autopart.frontend.interpret import run as run_whole
from autopart.ir.graph import Graph, Value
from autopart.ir.verify import verify
from autopart.sharding.batch import shard_batch
from autopart.sharding.placement import Partial
from tests import lockstep
from tests.graphs import random_graph

ROWS = 12
KERNELS = {"aten.dropout.default": lambda x, p, train: x}


@pytest.mark.parametrize("start", range(0, 300, 100))
def test_rewritten_graphs_are_graphs(start: int) -> None:
    for seed in range(start, start + 100):
        graph = random_graph(seed)
        sharded = shard_batch(graph)
        verify(sharded.graph)
        assert sharded.placements[sharded.graph.loss] == Partial()
        assert set(sharded.placements) == set(sharded.graph.values)
        order = {op.name: index for index, op in enumerate(graph.ops)}
        kept = [order[op.name] for op in sharded.graph.ops if op.name in order]
        assert kept == sorted(kept)
        assert shard_batch(graph) == sharded


def tensor(value: Value, generator: torch.Generator) -> Tensor:
    shape = value.shape_at(ROWS)
    if value.floating:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.randint(0, 2, shape, generator=generator).to(getattr(torch, value.dtype))


def test_random_graphs_on_simulated_ranks() -> None:
    for seed in range(40):
        graph = random_graph(seed, dtype="float64")
        generator = torch.Generator().manual_seed(seed)
        batch = {each.value.name: tensor(each.value, generator) for each in graph.inputs}
        state = {leaf.value.name: tensor(leaf.value, generator) for leaf in (*graph.parameters, *graph.buffers)}
        whole = fresh(graph, state)
        loss = run_whole(graph, {**batch, **whole}, comm_kernels=KERNELS)[graph.loss]
        loss.backward()
        sharded = shard_batch(graph)
        assert not sharded.mixing
        for shares, microbatches in (((7, 5), 1), ((1, 2, 1), 3)):
            split = fresh(graph, state)
            outcome = lockstep.run(sharded, batch, split, shares, microbatches, KERNELS)
            torch.testing.assert_close(outcome.loss, loss, rtol=1e-9, atol=1e-9)
            outcome.loss.backward()
            torch.testing.assert_close(gradients(split), gradients(whole), rtol=1e-9, atol=1e-9)


def fresh(graph: Graph, state: dict[str, Tensor]) -> dict[str, Tensor]:
    trainable = {parameter.value.name for parameter in graph.parameters if parameter.trainable}
    return {name: value.clone().requires_grad_(name in trainable) for name, value in state.items()}


def gradients(state: dict[str, Tensor]) -> dict[str, Tensor | None]:
    return {name: value.grad for name, value in state.items()}
