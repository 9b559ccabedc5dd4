from __future__ import annotations

from dataclasses import replace

from autopart.ir.analysis import alias_groups, differentiable, inputs_only, is_random, mutates_buffer, once, writes
from autopart.ir.graph import Op, Ref, Symbol, Value
from tests.graphs import BATCH, Builder


def _op(kind: str, *args: object, **more: object) -> Op:
    return Op(":x", kind, args, (Value("y", (4,), "float32"),), **more)  # type: ignore[arg-type]


def test_dropout_is_random_only_in_training_and_above_zero() -> None:
    assert is_random(_op("aten.dropout.default", Ref("x"), 0.1, True))
    assert not is_random(_op("aten.dropout.default", Ref("x"), 0.1, False))
    assert not is_random(_op("aten.dropout.default", Ref("x"), 0.0, True))


def test_attention_is_random_under_dropout_by_position_or_name() -> None:
    kind, qkv = "aten.scaled_dot_product_attention.default", (Ref("q"), Ref("k"), Ref("v"))
    assert is_random(_op(kind, *qkv, None, 0.1))
    assert is_random(_op(kind, *qkv, kwargs=(("dropout_p", 0.1),)))
    assert not is_random(_op(kind, *qkv, kwargs=(("is_causal", True),)))


def test_gradients_stop_at_detach_comparisons_and_frozen_parameters() -> None:
    b = Builder()
    x = b.input("x", (BATCH, 4))
    frozen = b.linear(x, 4, "frozen", trainable=False)
    trained = b.linear(frozen, 4, "trained")
    detached = b.unary("aten.detach.default", trained, "")
    mask = b.op("aten.gt.Scalar", Ref(trained), 0, shape=(BATCH, 4), dtype="bool")
    both = b.binary("aten.add.Tensor", detached, trained, "")
    loss = b.op("aten.sum.default", Ref(both), shape=())
    found = differentiable(b.graph(loss))
    assert {trained, both, loss, "p_trained_weight", "p_trained_bias"} == found
    assert not {x, frozen, detached, mask} & found


def test_writing_a_differentiable_value_into_a_tensor_makes_its_aliases_differentiable() -> None:
    b = Builder()
    x = b.input("x", (BATCH, 4))
    y = b.linear(x, 4, "fc")
    blank = b.op("aten.zeros_like.default", Ref(x), shape=(BATCH, 4))
    part = b.op("aten.slice.Tensor", Ref(blank), 1, 0, 4, shape=(BATCH, 4))
    b.op("aten.copy_.default", Ref(part), Ref(y), shape=(BATCH, 4), mutates=(part,))
    loss = b.op("aten.sum.default", Ref(blank), shape=())
    graph = b.graph(loss)
    assert alias_groups(graph)[part] == blank
    assert {blank, part, loss} <= differentiable(graph)
    assert not inputs_only(graph)


def test_inputs_only_takes_masks_and_tables_but_nothing_random_or_trained() -> None:
    b = Builder()
    x = b.input("x", (BATCH, 4))
    table = b.buffer("table", (4,))
    mask = b.op("aten.gt.Scalar", Ref(x), 0, shape=(BATCH, 4), dtype="bool")
    cosine = b.op("aten.cos.default", Ref(table), shape=(4,))
    noise = b.op("aten.randn_like.default", Ref(x), shape=(BATCH, 4))
    noisy = b.binary("aten.add.Tensor", noise, mask, "")
    y = b.linear(x, 4, "fc")
    y = b.binary("aten.mul.Tensor", b.binary("aten.add.Tensor", y, cosine, ""), noisy, "")
    graph = b.graph(b.op("aten.sum.default", Ref(y), shape=()))
    assert inputs_only(graph) == {graph.producer[mask].name, graph.producer[cosine].name}


def test_the_loss_is_never_inputs_only() -> None:
    b = Builder()
    x = b.input("x", (BATCH, 4))
    graph = b.graph(b.op("aten.sum.default", Ref(x), shape=()))
    assert not inputs_only(graph)


def test_a_written_buffer_is_a_constant_for_nobody() -> None:
    b = Builder()
    b.input("x", (BATCH, 4))
    count = b.buffer("count", (), "int64")
    step = b.op("aten.add_.Tensor", Ref(count), 1, shape=(), dtype="int64", mutates=(count,))
    graph = b.graph(b.op("aten.to.dtype", Ref(step), Symbol("torch.float32"), shape=()))
    assert not inputs_only(graph)
    assert mutates_buffer(graph.ops[0], graph, alias_groups(graph))
    assert not mutates_buffer(graph.ops[1], graph, alias_groups(graph))


def test_batch_norm_writes_its_statistics_in_training_only() -> None:
    args = (Ref("x"), Ref("w"), Ref("b"), Ref("mean"), Ref("var"), True, 0.1, 1e-5, False)
    training = _op("aten.batch_norm.default", *args)
    assert writes(training) == ("mean", "var")
    assert writes(replace(training, args=(*args[:5], False, *args[6:]))) == ()


def test_broadcast_tensors_alias_each_its_own_input() -> None:
    b = Builder()
    x, y = b.input("x", (BATCH, 4)), b.input("y", (1, 4))
    results = (Value("x2", (BATCH, 4), "float32"), Value("y2", (BATCH, 4), "float32"))
    b.ops.append(Op(":broadcast", "aten.broadcast_tensors.default", ((Ref(x), Ref(y)),), results))
    groups = alias_groups(b.graph("x2"))
    assert (groups["x2"], groups["y2"]) == (x, y)


def test_once_remembers_by_identity() -> None:
    calls = []
    counted = once(lambda value: calls.append(value) or len(value))
    first, second = [1], [1]
    assert [counted(first), counted(first), counted(second)] == [1, 1, 1]
    assert len(calls) == 2
