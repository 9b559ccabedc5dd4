"""Every model of the zoo traces to a sound graph that does what the model does, at a batch size it was not traced with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autopart.errors import TraceError
from autopart.frontend.gate import check_trace
from autopart.frontend.load import Loaded
from autopart.frontend.trace import Traced, trace
from autopart.ir.digest import digest
from autopart.ir.graph import GlobalSize, Op, Size
from autopart.ir.verify import verify
from tests.fronts import front
from tests.zoo import ZOO


def traced(name: str) -> tuple[Loaded, Traced]:
    found = front(name)
    return found.loaded, found.traced


@pytest.mark.parametrize("name", sorted(ZOO))
def test_the_graph_is_the_model(name: str) -> None:
    loaded, found = traced(name)
    verify(found.graph)
    assert check_trace(loaded, found)


@pytest.mark.parametrize("name", sorted(ZOO))
def test_names_are_the_models_own(name: str) -> None:
    loaded, found = traced(name)
    names = {parameter.name: parameter for parameter in found.graph.parameters}
    assert list(names) == [key for key, _ in loaded.module.named_parameters()]
    state = {name for parameter in found.graph.parameters for name in (parameter.name, *parameter.tied)}
    state |= {buffer.name for buffer in found.graph.buffers if buffer.persistent}
    assert state == set(loaded.module.state_dict())
    modules = {path for path, _ in loaded.module.named_modules()}
    assert all(op.module in modules for op in found.graph.ops)
    assert all(op.source.count(":") == 1 for op in found.graph.ops if "." in op.module and name != "mlp")


@pytest.mark.parametrize("name", sorted(ZOO))
def test_samples_are_where_the_batch_says(name: str) -> None:
    _, found = traced(name)
    for source in found.graph.inputs:
        assert (source.batch_dim is None) == ZOO[name].batchless
        sizes = [isinstance(size, Size) for size in source.value.shape]
        assert sizes == [dim == source.batch_dim for dim in range(len(sizes))]


def test_a_graph_differs_from_its_like() -> None:
    first = traced("mlp")[1].graph
    assert digest(first) == digest(trace(ZOO["mlp"].loaded("float64", seed=1)).graph)
    assert digest(first) != digest(trace(ZOO["mlp"].loaded("float32")).graph)


def test_paths_of_keyword_inputs_tuples_and_targets() -> None:
    assert [source.path for source in traced("bert")[1].graph.inputs] == [("input_ids",), ("attention_mask",), ("labels",)]
    assert [source.path for source in traced("dlrm")[1].graph.inputs] == [(0,), (1,), ("targets", 0)]
    assert [source.value.name for source in traced("masked_mean")[1].graph.inputs] == ["tokens", "tags", "mask"]


def test_tied_weights_are_one_parameter() -> None:
    tied = {parameter.name: parameter.tied for parameter in traced("gpt2")[1].graph.parameters if parameter.tied}
    assert tied == {"transformer.wte.weight": ("lm_head.weight",)}


def test_a_number_that_counts_samples_is_global() -> None:
    found = [arg for op in traced("dataclass_output")[1].graph.ops for arg in op.args if isinstance(arg, GlobalSize)]
    assert found == [GlobalSize("b")]


def test_whole_ops_stay_whole() -> None:
    def kinds(name: str) -> set[str]:
        return {op.kind for op in traced(name)[1].graph.ops}

    assert "aten.scaled_dot_product_attention.default" in kinds("llama")
    assert "aten.lstm.input" in kinds("lstm")
    assert "aten.embedding_bag.padding_idx" in kinds("dlrm")
    assert "aten.cross_entropy_loss.default" in kinds("mlp")
    assert "aten.batch_norm.default" in kinds("resnet")
    assert "aten.einsum.default" in kinds("fno")


def test_only_buffers_are_written() -> None:
    for name in ("resnet", "dcgan_discriminator", "inplace_cnn", "bart", "gcn"):
        graph = traced(name)[1].graph
        assert {written for op in graph.ops for written in op.mutates} <= set(graph.buffer_of)
    writes = [op.kind for op in traced("resnet")[1].graph.ops if op.mutates]
    assert writes[:2] == ["aten.add_.Tensor", "aten.batch_norm.default"]


def test_frozen_parameters_are_known() -> None:
    frozen = {parameter.name for parameter in traced("dcgan_generator")[1].graph.parameters if not parameter.trainable}
    assert frozen == {f"discriminator.{i}" for i in ("0.weight", "2.weight", "3.weight", "3.bias", "5.weight")}


def test_dropout_stays_random() -> None:
    rates = [op.args[1] for op in traced("dict_output")[1].graph.ops if op.kind == "aten.dropout.default"]
    assert rates == [0.2]


@pytest.mark.parametrize("name", ["mlp", "dict_output", "resnet"])
def test_the_gate_sees_a_wrong_op(name: str) -> None:
    loaded, found = traced(name)
    for index, op in enumerate(found.graph.ops):
        wrong = _wronged(op)
        if wrong is None:
            continue
        ops = (*found.graph.ops[:index], wrong, *found.graph.ops[index + 1 :])
        with pytest.raises(TraceError, match="is not the model"):
            check_trace(loaded, Traced(replace(found.graph, ops=ops), found.tensors))


def _wronged(op: Op) -> Op | None:
    """A subtly different op."""
    match op.kind:
        case "aten.relu.default":
            return replace(op, kind="aten.silu.default")
        case "aten.dropout.default":
            return replace(op, args=(op.args[0], 0.25, True))
        case "aten.batch_norm.default":
            return replace(op, args=(*op.args[:6], 0.2, *op.args[7:]))
        case _:
            return None


def test_a_model_without_memory_is_not_run() -> None:
    loaded, found = traced("mlp")
    empty = {name: torch.empty_like(tensor, device="meta") for name, tensor in found.tensors.items()}
    assert not check_trace(loaded, Traced(found.graph, empty))
