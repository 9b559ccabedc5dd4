"""Blocks of real models, and what torch computes and keeps against what is predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_backward_flop, sdpa_backward_flop_count

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import cut_values
from autopart.blocks.group import group
from autopart.blocks.work import Work, op_work
from autopart.frontend import interpret
from autopart.frontend.load import examples, loaded_from
from autopart.frontend.trace import trace
from autopart.ir.graph import Graph
from autopart.pipeline import Front
from autopart.sharding.batch import shard_batch
from tests.fronts import front
from tests.graphs import random_graph, random_sharded
from tests.zoo import ZOO, Entry
from tests.zoo.transformer import causal_inputs, llama

BATCH = 6
MANY = 34  # layers: so many that each is a block
COMPUTES = ("matmul", "conv", "attention", "recurrent")
UNLIKE_IN_FLOAT64 = ("dlrm", "segformer", "wav2vec2")  # some kernels keep other copies there, which is not predicted
BUILT_IN_LSTM = ("lstm", "lstm_batch_first")  # one opaque oneDNN kernel: no flops counted, a workspace in pages


def grouped(name: str) -> Blocks:
    return front(name).blocks


def _tensors(known: Front) -> dict[str, Tensor]:
    """Inputs, parameters and buffers by value name; parameters with a gradient where they are trained."""
    graph, batch = known.traced.graph, examples(known.loaded, BATCH)
    found = dict(known.traced.tensors) | {i.value.name: e.tensor for i, e in zip(graph.inputs, batch, strict=True)}
    trained = {parameter.value.name for parameter in graph.parameters if parameter.trainable}
    return {key: tensor.detach().clone().requires_grad_(key in trained) for key, tensor in found.items()}


def _kept_by_torch(graph: Graph, tensors: Mapping[str, Tensor]) -> int:
    """Bytes of the storages that autograd holds when the forward ends, without parameters and buffers."""
    resident = {tensors[name].untyped_storage().data_ptr() for name in (*graph.parameter_of, *graph.buffer_of)}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in resident:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        interpret.run(graph, tensors)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _kept(graph: Graph, works: list[Work], batch: int) -> int:
    names = {name for work in works for name in work.saved}
    return sum(graph.values[name].nbytes(batch) for name in names) + sum(work.saved_bytes for work in works)


@pytest.mark.parametrize("name", sorted(set(ZOO) - set(BUILT_IN_LSTM)))
def test_bytes_kept_for_the_backward(name: str) -> None:
    known = front(name, precision="float32" if name in UNLIKE_IN_FLOAT64 else "float64")
    graph = known.traced.graph
    works = [op_work(op, graph, BATCH, fused=False) for op in graph.ops]
    kept = _kept_by_torch(graph, _tensors(known))
    assert _kept(graph, works, BATCH) == pytest.approx(kept, rel=0.02, abs=16)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_bytes_kept_by_a_recurrent_layer(cell: type[nn.RNNBase]) -> None:
    module = cell(128, 128, 2, batch_first=True)
    loaded = loaded_from(module, lambda size: (torch.zeros(size, 20, 128),), loss=lambda output: output[0].mean())
    graph, tensors = trace(loaded).graph, dict(trace(loaded).tensors)
    tensors |= {graph.inputs[0].value.name: torch.randn(16, 20, 128)}
    works = [op_work(op, graph, 16, fused=False) for op in graph.ops]
    trained = {key: tensor.detach().requires_grad_(key in graph.parameter_of) for key, tensor in tensors.items()}
    assert _kept(graph, works, 16) == pytest.approx(_kept_by_torch(graph, trained), rel=0.1)


def _convolution_backward(*args: Any, out_shape: Any) -> int:
    """Torch's own count, but for the weights of grouped convolutions, where it takes channels of unlike groups together."""
    *first, groups, (image, weight, _) = args
    of_image = conv_backward_flop(*first, groups, (image, False, False), out_val=out_shape)
    of_weight = conv_backward_flop(*first, groups, (False, weight, False), out_val=out_shape)
    return int(of_image + of_weight // groups)


@pytest.mark.parametrize("name", sorted(set(ZOO) - set(BUILT_IN_LSTM)))
def test_flops_of_forward_and_backward(name: str) -> None:
    graph = front(name).traced.graph
    works = [op_work(op, graph, BATCH) for op in graph.ops]
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})
    with counter, sdpa_kernel(SDPBackend.MATH):  # the kernel for CPUs is not counted
        loss = interpret.run(graph, _tensors(front(name)))[graph.loss]
        forward = counter.get_total_flops()
        loss.backward()
    assert sum(work.forward_flops for work in works if work.category in COMPUTES) == forward
    recomputed = sum(work.backward_flops for work in works if work.category == "attention") // 5  # not by the math kernel
    backward = sum(work.backward_flops for work in works if work.category in COMPUTES)
    assert backward - recomputed == counter.get_total_flops() - forward


def test_attention_counts_as_a_flash_kernel() -> None:
    graph = front("gpt2").traced.graph
    op = next(op for op in graph.ops if "attention" in op.kind)
    query, key, value = (graph.values[name].shape_at(BATCH) for name in op.inputs[:3])
    assert op_work(op, graph, BATCH).backward_flops == sdpa_backward_flop_count(query, query, key, value)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_blocks_partition_a_topological_order(name: str) -> None:
    blocks = grouped(name)
    graph = blocks.sharded.graph
    order = [*blocks.inputs_only, *(op for block in blocks.blocks for op in block.ops)]
    assert sorted(order) == sorted(op.name for op in graph.ops)
    by_name, ready = {op.name: op for op in graph.ops}, set(graph.values) - set(graph.producer)
    for op in (by_name[name] for name in order):
        assert ready.issuperset(op.inputs)
        ready.update(value.name for value in op.outputs)
    assert len(blocks.index) == len(blocks.blocks) <= 200


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("gpt2", [f"transformer.h.{i}.{part}" for i in range(3) for part in ("attn", "mlp")]),
        ("llama", [f"model.layers.{i}.{part}" for i in range(3) for part in ("self_attn", "mlp")]),
        ("six_networks", [f"parts.{i}.{j}" for i in range(3) for j in range(2)]),
        ("mlp", ["0-1", "2-3", "4"]),
    ],
)
def test_names_of_blocks(name: str, names: list[str]) -> None:
    assert set(names) <= {block.name for block in grouped(name).blocks}


@pytest.mark.parametrize("name", ["gpt2", "llama", "bart", "whisper"])
def test_layers_of_a_model_are_alike(name: str) -> None:
    """Every layer but those at the seams is cut in the same places and has its blocks in the same kinds."""
    blocks = grouped(name)
    kinds = Counter(block.kind for block in blocks.blocks)
    layered = [block for block in blocks.blocks if ".layers." in block.name or ".h." in block.name]
    assert layered
    assert all(kinds[block.kind] > 1 for block in layered)


def test_cuts_between_transformer_blocks_carry_one_value() -> None:
    for name in ("gpt2", "llama"):
        blocks = grouped(name)
        assert all(len(cut_values(blocks, i)) == 1 for i in range(1, len(blocks.blocks)))


def test_a_skip_crosses_several_cuts() -> None:
    blocks = grouped("unet")
    crossings = Counter(name for i in range(1, len(blocks.blocks)) for name in cut_values(blocks, i))
    assert max(crossings.values()) > 4


def test_batch_norm_is_not_recomputed_and_attention_is() -> None:
    assert not all(block.recomputable for block in grouped("resnet").blocks)
    assert all(block.recomputable for block in grouped("gpt2").blocks)


def test_many_layers_of_llama_are_one_kind() -> None:
    blocks = group(shard_batch(trace(Entry(partial(llama, MANY), causal_inputs).loaded("float32")).graph))
    kind, count = Counter(block.kind for block in blocks.blocks).most_common(1)[0]
    assert count == MANY
    assert [b.name for b in blocks.blocks if b.kind == kind] == [f"model.layers.{i}" for i in range(MANY)]


def test_random_graphs_run_and_mean_the_same_before_and_after_sharding() -> None:
    """The builder of random graphs speaks true: shapes and dtypes as torch finds them, one loss in both forms."""
    for seed in range(60):
        plain, sharded = random_graph(seed), random_sharded(seed).graph
        torch.manual_seed(seed)
        tensors = {name: _random_tensor(plain, name) for name in set(plain.values) - set(plain.producer)}
        losses = []
        for graph in (plain, sharded):
            torch.manual_seed(seed)
            values = interpret.run(graph, tensors, comm_kernels={"comm.to_partial": lambda x: x})
            for name, value in graph.values.items():
                assert tuple(values[name].shape) == value.shape_at(5)
                assert str(values[name].dtype) == f"torch.{value.dtype}"
            losses.append(values[graph.loss].item())
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def _random_tensor(graph: Graph, name: str) -> Tensor:
    value = graph.values[name]
    shape, dtype = value.shape_at(5), getattr(torch, value.dtype)
    return torch.randn(shape, dtype=dtype) if value.floating else torch.randint(0, 2, shape, dtype=dtype)
