"""Every model of the zoo on simulated ranks: loss, gradients, buffers and every single value equal those of one device."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from autopart.frontend.examples import Example
from autopart.frontend.interpret import run as run_whole
from autopart.frontend.load import examples
from autopart.frontend.trace import Traced
from autopart.ir.graph import Graph, Op, Size
from autopart.ir.verify import verify
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.choose import MOVES
from autopart.sharding.rules import base_name, refs
from tests import lockstep
from tests.fronts import front
from tests.zoo import ZOO

RUNS = (((12,), 1), ((7, 5), 1), ((1, 3, 8), 1), ((4,), 3), ((3, 1), 3), ((1, 2, 1), 3))
"""Samples of each rank in a microbatch, and the number of microbatches; 12 samples in all."""
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
attention = torch.ops.aten.scaled_dot_product_attention.default


def undropped(x: Tensor, p: float, train: bool) -> Tensor:
    return x


def undropped_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, p: float = 0.0, *rest: object, **named: object
) -> Tensor:
    return attention(q, k, v, mask, 0.0, *rest, **named)


KERNELS = {"aten.dropout.default": undropped, "aten.scaled_dot_product_attention.default": undropped_attention}


def traced(name: str) -> tuple[Traced, ShardedGraph]:
    found = front(name)
    return found.traced, found.blocks.sharded


def tensors(name: str, size: int) -> dict[str, Tensor]:
    """A batch by the names of the graph's inputs."""
    graph = traced(name)[0].graph
    by_path: Mapping[object, Example] = {example.path: example for example in examples(ZOO[name].loaded(), size)}
    return {each.value.name: by_path[each.path].tensor for each in graph.inputs}


def fresh(graph: Graph, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters that collect gradients, buffers that nobody else writes."""
    found = {buffer.value.name: state[buffer.value.name].clone() for buffer in graph.buffers}
    for parameter in graph.parameters:
        found[parameter.value.name] = state[parameter.value.name].detach().clone().requires_grad_(parameter.trainable)
    return found


def gradients(graph: Graph, state: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    return {parameter.name: state[parameter.value.name].grad for parameter in graph.parameters}


def own_numbers(graph: Graph) -> set[str]:
    """Values that number a rank's own rows, and so differ from one device's."""
    found: set[str] = set()
    for op in graph.ops:
        moves = base_name(op.kind) in (*MOVES, "aten.mul") and any(name in found for name in op.inputs)
        if moves or (base_name(op.kind) == "aten.arange" and any(isinstance(arg, Size) for arg in op.args)):
            found.update(value.name for value in op.outputs)
    return found


@pytest.mark.parametrize("name", ZOO)
def test_as_on_one_device(name: str) -> None:
    found, sharded = traced(name)
    verify(sharded.graph)
    batch = tensors(name, 12)
    state = fresh(found.graph, found.tensors)
    whole = run_whole(found.graph, {**batch, **state}, comm_kernels=KERNELS)
    whole[found.graph.loss].backward()
    for shares, microbatches in RUNS:
        if microbatches == 1 or not sharded.mixing:
            compare(sharded, found, batch, shares, microbatches, whole, state)


def compare(
    sharded: ShardedGraph,
    found: Traced,
    batch: dict[str, Tensor],
    shares: tuple[int, ...],
    microbatches: int,
    whole: dict[str, Tensor],
    expected: dict[str, Tensor],
) -> None:
    state = fresh(found.graph, found.tensors)
    outcome = lockstep.run(sharded, batch, state, shares, microbatches, KERNELS)
    torch.testing.assert_close(outcome.loss, whole[found.graph.loss], **TOLERANCE)
    outcome.loss.backward()
    torch.testing.assert_close(gradients(found.graph, state), gradients(found.graph, expected), **TOLERANCE)
    for buffers in outcome.buffers:
        for name, buffer in buffers.items():
            torch.testing.assert_close(buffer, expected[name], **TOLERANCE)
    if microbatches == 1:
        every_value(sharded, outcome, whole)


def every_value(sharded: ShardedGraph, outcome: lockstep.Outcome, whole: dict[str, Tensor]) -> None:
    """What the ranks hold together is, value by value, what one device holds."""
    (ranks,) = outcome.microbatches
    local = own_numbers(sharded.graph) | {buffer.value.name for buffer in sharded.graph.buffers}
    read = {name for name, users in sharded.graph.users.items() if users}
    for op in sharded.graph.ops:
        for value in op.outputs:
            if value.name in whole and value.name in read - local and ranks[0][value.name].dtype == whole[value.name].dtype:
                together = lockstep.combine([values[value.name].detach() for values in ranks], sharded.placements[value.name])
                torch.testing.assert_close(
                    together, whole[value.name].detach(), **TOLERANCE, msg=lambda text, op=op: f"{op}\n{text}"
                )


def test_shapes_say_what_a_rank_holds() -> None:
    """Shapes of the rewritten graph at a rank's rows are the shapes that its tensors have, gathered ones included."""
    for name in ("two_towers", "gpt2", "lstm"):
        found, sharded = traced(name)
        shares = (7, 5)
        outcome = lockstep.run(sharded, tensors(name, 12), fresh(found.graph, found.tensors), shares, 1, KERNELS)
        for rank, rows in enumerate(shares):
            values = outcome.microbatches[0][rank]
            wrong = [op for op in sharded.graph.ops if not shapes_hold(op, values, rows)]
            assert not wrong, (name, wrong[0])


def shapes_hold(op: Op, values: Mapping[str, Tensor], rows: int) -> bool:
    return all(tuple(values[value.name].shape) == value.shape_at(rows, 12) for value in op.outputs)


def test_reads_only_what_it_names() -> None:
    """The prologue reads inputs, buffers and itself; the graph beside those its statistics."""
    for name in ("gpt2", "bert", "masked_mean"):
        _, sharded = traced(name)
        known = {each.value.name for each in (*sharded.graph.inputs, *sharded.graph.buffers)}
        for op in sharded.prologue:
            assert {ref for arg in op.args for ref in refs(arg)} <= known
            known |= {value.name for value in op.outputs}
