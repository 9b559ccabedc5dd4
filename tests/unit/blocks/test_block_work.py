"""Work by hand-computed cases. Bytes: float32, 4 each."""

from __future__ import annotations

import numpy as np
import pytest

from autopart.blocks.op_table import FAMILIES, ROWS
from autopart.blocks.work import QUANTITIES, Work, op_work, work_table
from autopart.ir.graph import Argument, Op, Ref, Size, Value
from cost_models.tiles import Product
from tests.graphs import BATCH, Builder, random_graph, transformer

B = 3  # samples


def _last(b: Builder, result: str, fused: bool = True) -> Work:
    graph = b.graph(result)
    return op_work(graph.producer[result], graph, B, fused=fused)


def test_every_op_stands_in_one_row() -> None:
    names = [name for _, text in FAMILIES for name in text.split()]
    assert sorted(names) == sorted(ROWS)


def test_linear() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 5, "first")
    work = _last(b, b.linear(x, 7, "second"))
    assert (work.category, work.dtype) == ("matmul", "float32")
    assert work.forward_flops == 2 * B * 5 * 7
    assert work.backward_flops == 2 * work.forward_flops
    assert work.forward_bytes == 4 * (B * 5 + 5 * 7 + 7 + B * 7)
    assert work.saved == (x,)
    assert work.saved_bytes == 0


def test_the_first_layer_has_no_gradient_of_its_input() -> None:
    b = Builder()
    work = _last(b, b.linear(b.input("x", (BATCH, 4)), 5, "first"))
    assert work.backward_flops == work.forward_flops
    assert work.saved == ("x",)


def test_a_frozen_layer_passes_gradients_and_keeps_no_activation() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 5, "first")
    work = _last(b, b.linear(x, 7, "second", trainable=False))
    assert work.backward_flops == work.forward_flops
    assert work.saved == ()


def test_nothing_is_kept_where_nothing_is_trained() -> None:
    b = Builder()
    work = _last(b, b.linear(b.input("x", (BATCH, 4)), 5, "first", trainable=False))
    assert (work.backward_flops, work.backward_bytes, work.saved, work.saved_bytes) == (0, 0, (), 0)


def test_a_convolution_keeps_its_input_even_if_frozen() -> None:
    b = Builder()
    x = b.unary("aten.gelu.default", b.parameter("image", (2, 3, 8, 8)), "")
    weight = b.parameter("weight", (5, 3, 3, 3), trainable=False)
    work = _last(b, b.op("aten.conv2d.default", Ref(x), Ref(weight), shape=(2, 5, 6, 6)))
    assert work.forward_flops == 2 * 2 * (6 * 6) * (5 * 3 * 3 * 3)
    assert work.backward_flops == work.forward_flops
    assert work.saved == (x,)


def test_a_transposed_convolution_sweeps_its_input() -> None:
    b = Builder()
    x, weight = b.input("x", (BATCH, 3, 4, 4)), b.parameter("weight", (3, 5, 2, 2))
    work = _last(b, b.op("aten.conv_transpose2d.input", Ref(x), Ref(weight), None, (2, 2), shape=(BATCH, 5, 8, 8)))
    assert work.forward_flops == 2 * B * (4 * 4) * (3 * 5 * 2 * 2)


@pytest.mark.parametrize(
    ("equation", "shapes", "result", "flops"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 2 * 3 * 4 * 5),
        ("...d,nd->...n", [(2, 3, 4), (5, 4)], (2, 3, 5), 2 * 2 * 3 * 4 * 5),
        ("i,j->ij", [(3,), (4,)], (3, 4), 2 * 3 * 4),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], flops: int) -> None:
    b = Builder()
    refs = tuple(Ref(b.parameter(f"p{i}", shape)) for i, shape in enumerate(shapes))
    work = _last(b, b.op("aten.einsum.default", equation, refs, shape=result))
    assert (work.forward_flops, work.backward_flops) == (flops, 2 * flops)


def _attention(b: Builder, *more: Argument) -> str:
    q, k, v = (b.unary("aten.gelu.default", b.parameter(name, (2, 4, 6, 8)), "") for name in "qkv")
    return b.op("aten.scaled_dot_product_attention.default", Ref(q), Ref(k), Ref(v), *more, shape=(2, 4, 6, 8))


def test_attention() -> None:
    b = Builder()
    out = _attention(b)
    work = _last(b, out)
    assert work.forward_flops == 2 * (2 * 2 * 4 * 6 * 6 * 8)
    assert work.backward_flops == 2.5 * work.forward_flops
    assert work.saved == ("gelu", "gelu_1", "gelu_2", out)
    assert work.saved_bytes == 4 * 2 * 4 * 6


def test_products_of_a_linear() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 6, 4)), 5, "first")
    work = _last(b, b.linear(x, 7, "second"))
    assert work.products == ((Product(1, 6 * B, 7, 5),), (Product(1, 6 * B, 5, 7), Product(1, 5, 7, 6 * B)))
    assert sum(each.flops for each in work.products[0]) == work.forward_flops
    assert sum(each.flops for each in work.products[1]) == work.backward_flops


def test_the_first_layer_makes_one_product_in_the_backward() -> None:
    b = Builder()
    work = _last(b, b.linear(b.input("x", (BATCH, 4)), 5, "first"))
    assert work.products[1] == (Product(1, 4, 5, B),)


def test_products_of_a_batch_of_matrices_and_of_a_convolution() -> None:
    b = Builder()
    x, y = (b.unary("aten.gelu.default", b.parameter(name, shape), "") for name, shape in (("p", (6, 2, 4)), ("q", (6, 4, 3))))
    work = _last(b, b.op("aten.bmm.default", Ref(x), Ref(y), shape=(6, 2, 3)))
    assert work.products == ((Product(6, 2, 3, 4),), (Product(6, 2, 4, 3), Product(6, 4, 3, 2)))
    b = Builder()
    image = b.unary("aten.gelu.default", b.parameter("image", (2, 4, 9, 9)), "")
    kernel = b.parameter("kernel", (6, 2, 3, 3))
    strides = ((1, 1), (0, 0), (1, 1), 2)
    work = _last(b, b.op("aten.conv2d.default", Ref(image), Ref(kernel), None, *strides, shape=(2, 6, 7, 7)))
    assert work.products[0] == (Product(2, 2 * 7 * 7, 3, 2 * 9),)
    assert work.products[0][0].flops == work.forward_flops


def test_products_of_attention() -> None:
    b = Builder()
    assert _last(b, _attention(b)).products == ((Product(8, 6, 8, 6),), (Product(8, 6, 8, 6),))


def test_dropout_draws_two_numbers_for_each_element_and_none_in_the_backward() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    work = _last(b, b.unary("aten.dropout.default", x, "", 0.5, True))
    assert (work.forward_flops, work.backward_flops) == (2 * 8 * B, 0)
    assert work.backward_bytes > 0
    idle = _last(b, b.unary("aten.dropout.default", x, "", 0.5, False))
    assert idle.forward_flops == 0


def test_attention_under_dropout_on_a_cpu_keeps_scores() -> None:
    b = Builder()
    work = _last(b, _attention(b, None, 0.1), fused=False)
    assert work.saved == ()
    assert work.saved_bytes == 4 * (3 * 2 * 4 * 6 * 6 + 3 * 2 * 4 * 6 * 8)


def test_a_mask_of_bools_is_kept_as_numbers() -> None:
    b = Builder()
    mask = b.buffer("mask", (2, 1, 6, 6), "bool")
    work = _last(b, _attention(b, Ref(mask)))
    assert mask not in work.saved
    assert work.saved_bytes == 4 * 2 * 4 * 6 + 4 * 2 * 6 * 6


def test_dropout_keeps_a_byte_or_on_a_cpu_a_number() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    y = b.unary("aten.dropout.default", x, "", 0.5, True)
    assert (_last(b, y).saved_bytes, _last(b, y, fused=False).saved_bytes) == (8 * B, 4 * 8 * B)
    idle = b.unary("aten.dropout.default", x, "", 0.5, False)
    assert _last(b, idle).saved_bytes == 0


def test_layer_norm_keeps_its_input_and_two_numbers_a_row() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 5, 4)), 8, "fc")
    work = _last(b, b.norm(x, "norm"))
    assert work.saved == (x,)
    assert work.saved_bytes == 2 * 4 * B * 5


def test_a_view_is_free_and_its_base_is_what_is_kept() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    view = b.op("aten.view.default", Ref(x), (-1, 4, 2), shape=(BATCH, 4, 2))
    free = _last(b, view)
    assert (free.forward_bytes, free.backward_bytes, free.forward_flops) == (0, 0, 0)
    assert _last(b, b.unary("aten.gelu.default", view, "")).saved == (x,)


def test_a_reshape_of_a_transposed_value_is_a_copy() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 6, 4)), 8, "fc")
    turned = b.op("aten.transpose.int", Ref(x), 1, 2, shape=(BATCH, 8, 6))
    flat = b.op("aten.reshape.default", Ref(turned), (-1, 48), shape=(BATCH, 48))
    assert _last(b, flat).forward_bytes == 2 * 4 * B * 48
    assert _last(b, b.unary("aten.gelu.default", flat, "")).saved == (flat,)


def test_a_batched_product_of_transposed_heads_keeps_copies() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 6, 4)), 8, "fc")
    heads = b.op("aten.view.default", Ref(x), (-1, 6, 2, 4), shape=(BATCH, 6, 2, 4))
    q = b.op("aten.transpose.int", Ref(heads), 1, 2, shape=(BATCH, 2, 6, 4))
    k = b.op("aten.transpose.int", Ref(q), 2, 3, shape=(BATCH, 2, 4, 6))
    work = _last(b, b.op("aten.matmul.default", Ref(q), Ref(k), shape=(BATCH, 2, 6, 6)))
    assert work.forward_flops == 2 * B * 2 * 6 * 6 * 4
    assert (work.saved, work.saved_bytes) == ((), 2 * 4 * B * 48)


def test_a_value_with_two_uses_has_its_gradients_summed_once() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    first, second = b.unary("aten.neg.default", x, ""), b.unary("aten.neg.default", x, "")
    b.binary("aten.add.Tensor", first, second, "")
    assert _last(b, first).backward_bytes - _last(b, second).backward_bytes == 3 * 4 * B * 8


def test_products_keep_what_the_other_factor_needs() -> None:
    b = Builder()
    mask = b.input("mask", (BATCH, 8))
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    assert _last(b, b.binary("aten.mul.Tensor", x, mask, "")).saved == (mask,)
    assert _last(b, b.binary("aten.mul.Tensor", x, x, "")).saved == (x,)
    assert _last(b, b.unary("aten.mul.Tensor", x, "", 2.0)).saved == ()


def test_an_unknown_op_keeps_what_it_reads_and_makes() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    y = b.unary("aten.no_such_op.default", x, "")
    work = _last(b, y)
    assert (work.category, work.saved, work.forward_flops) == ("elementwise", (x, y), 8 * B)


def test_a_table_of_work_agrees_with_counting_at_any_batch() -> None:
    for seed in range(20):
        graph = random_graph(seed)
        table = work_table(graph.ops, graph)
        for batch in (2, 5, 64):
            works = [op_work(op, graph, batch) for op in graph.ops]
            wanted = [[getattr(work, name) for name in QUANTITIES] for work in works]
            assert np.allclose(table.at(batch), wanted, rtol=1e-9, atol=1)


def test_a_table_counts_again_what_is_not_affine() -> None:
    b = Builder()
    x = b.parameter("x", (64,))
    y = b.op("aten.slice.Tensor", Ref(x), 0, 0, Size("b//2"), shape=(Size("b//2"),))
    y = b.unary("aten.tanh.default", y, "")
    graph = b.graph(y)
    table = work_table(graph.ops, graph)
    assert table.exact
    tanh = [op.kind for op in graph.ops].index("aten.tanh.default")
    assert table.at(9)[tanh][0] == 4


def test_a_layer_of_a_transformer() -> None:
    graph = transformer(2, width=8).graph
    layer = [op_work(op, graph, 1) for op in graph.ops if op.module.startswith("h.0")]
    assert sum(work.forward_flops for work in layer if work.category == "matmul") == 2 * 16 * (8 * 32 + 32 * 8)
    kept = {name for work in layer for name in work.saved}
    assert kept == {"embedding", "layer_norm", "linear", "gelu"}


def test_statistics_have_no_size() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 8, "fc")
    b.ops.append(Op(":div", "aten.div.Tensor", (Ref(x), Ref("tokens")), (Value("y", (BATCH, 8), "float32"),)))
    graph = b.graph("y")
    assert op_work(graph.ops[-1], graph, B).forward_bytes == 2 * 4 * B * 8
