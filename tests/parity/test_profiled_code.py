"""What is timed is the model: its blocks, run one after the other as the profiler runs them, give the model's loss."""

from __future__ import annotations

import pytest
import torch

from autopart.frontend.interpret import run
from autopart.frontend.load import examples
from autopart.plans import Settings
from autopart.profiling.campaign import Wanted, tasks
from autopart.profiling.code import function, stretch
from autopart.profiling.measure import Bench, time_stretch
from autopart.profiling.tensors import known_tensors, tensor_for
from autopart.profiling.timing import Stopwatch
from tests.fronts import front

CPU = torch.device("cpu")
ROWS = 3
MODELS = ("gpt2", "bert", "resnet", "mixtral", "inplace_cnn", "dlrm", "lstm", "unet")


@pytest.mark.parametrize("name", MODELS)
def test_blocks_in_turn_are_the_model(name: str) -> None:
    found = front(name)
    blocks, graph = found.blocks, found.blocks.sharded.graph
    ops = {op.name: op for op in graph.ops}
    tensors = {key: tensor.detach().clone() for key, tensor in found.traced.tensors.items()}
    inputs = {i.value.name: each.tensor for i, each in zip(found.traced.graph.inputs, examples(found.loaded, ROWS), strict=True)}
    with torch.no_grad():
        expected = run(found.traced.graph, {**{k: t.clone() for k, t in tensors.items()}, **inputs})
        values = {**tensors, **inputs, **known_tensors(found.loaded, found.traced, blocks, ROWS, CPU)}
        for block in blocks.blocks:
            part = stretch([ops[op] for op in block.ops], graph.users)
            if not all(read in values for read in part.reads):
                break  # a sum over samples, which the prologue makes
            values.update(zip(part.gives, function(part, ROWS, CPU)(*(values[read] for read in part.reads)), strict=True))
        else:
            assert values[graph.loss] == pytest.approx(expected[found.traced.graph.loss])
    common = [name for name in values if name in expected and name not in tensors and values[name].is_floating_point()]
    whole = [name for name in common if values[name].shape == expected[name].shape and values[name].dim()]
    assert whole
    for each in whole:
        torch.testing.assert_close(values[each], expected[each])


@pytest.mark.parametrize("name", MODELS)
def test_every_op_and_block_runs_alone(name: str) -> None:
    """On tensors of the right sizes, forward and backward."""
    found = front(name)
    known = known_tensors(found.loaded, found.traced, found.blocks, ROWS, CPU)
    bench = Bench(Stopwatch(CPU, repeats=1), "float64", False, 0.0)
    every = tasks(found.blocks, Wanted((ROWS,), Settings(precision="float64")))
    assert any(task.is_block for task in every)
    for task in every:
        forward_s, _ = time_stretch(task.part, task.graph, ROWS, known, bench)
        assert forward_s > 0


def test_tensors_lie_in_memory_as_in_the_model() -> None:
    """Heads of attention are transposed views; what is expanded stays so."""
    found = front("gpt2")
    graph = found.blocks.sharded.graph
    (attention, *_) = (op for op in graph.ops if "scaled_dot_product_attention" in op.kind)
    query = tensor_for(attention.inputs[0], graph, ROWS, {}, CPU)
    assert query.requires_grad
    assert query.is_leaf
    assert tuple(query.shape) == graph.values[attention.inputs[0]].shape_at(ROWS)
    assert not query.is_contiguous()
    assert query.transpose(1, 2).is_contiguous()
