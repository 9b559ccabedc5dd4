"""Keys of measurements: the same for the same work, whatever its names; another for other work."""

from __future__ import annotations

from dataclasses import replace

from autopart.blocks.group import group
from autopart.ir.graph import Graph, Ref, Size
from autopart.pricing.keys import block_key, op_key
from autopart.pricing.table import BlockTable
from tests.graphs import Builder, transformer

B = Size("b")


def graph_of(width: int = 8, prefix: str = "", dtype: str = "float32", *, trainable: bool = True, turned: bool = False) -> Graph:
    """A linear layer, a gelu, a sum; ``turned``: of the transpose of the input."""
    b = Builder(f"{prefix}model", dtype)
    x = b.input(f"{prefix}x", (B, width, width))
    if turned:
        x = b.op("aten.transpose.int", Ref(x), 1, 2, shape=(B, width, width))
    y = b.unary("aten.gelu.default", b.linear(x, width, f"{prefix}fc", trainable=trainable), "")
    return b.graph(b.op("aten.sum.default", Ref(y), shape=()))


def keys(graph: Graph) -> list[str]:
    return [op_key(op, graph) for op in graph.ops]


def test_an_op_in_words() -> None:
    assert keys(graph_of())[0] == "aten.linear.default(%0, %1, %2) of float32[b,8,8], float32[8,8]+, float32[8]+"
    assert keys(graph_of())[1] == "aten.gelu.default(%0) of float32[b,8,8]+"
    assert op_key(graph_of().ops[0], graph_of(), "bfloat16").endswith("float32[8]+ in bfloat16")


def test_names_are_not_in_keys() -> None:
    assert keys(graph_of(prefix="other.")) == keys(graph_of())


def test_what_tells_ops_apart() -> None:
    """Width, dtype, who gets a gradient, the order in memory, the arguments, autocast."""
    plain = graph_of()
    linear = plain.ops[0]
    others = [graph_of(16), graph_of(dtype="float64"), graph_of(trainable=False)]
    found = [op_key(linear, plain), *(op_key(graph.ops[0], graph) for graph in others)]
    found += [op_key(linear, plain, "bfloat16"), op_key(replace(linear, autocast=False), plain)]
    found += [op_key(replace(linear, kwargs=(("n", 1),)), plain), op_key(replace(linear, kwargs=(("n", 1.0),)), plain)]
    found += [op_key(replace(linear, kwargs=(("n", True),)), plain), op_key(replace(linear, kwargs=(("n", "1"),)), plain)]
    assert len(set(found)) == len(found)


def test_the_order_in_memory() -> None:
    graph = graph_of(turned=True)
    assert keys(graph)[1].startswith("aten.linear.default(%0, %1, %2) of float32[b,8,8]@0,2,1, ")


def test_blocks_of_one_kind_have_one_key_and_others_another() -> None:
    blocks = group(transformer(layers=4, width=16))
    table = BlockTable(blocks, "float32", "adamw", 8)
    key_of = {block.kind: table.block_key(index) for index, block in enumerate(blocks.blocks)}
    assert len(key_of) < len(blocks.blocks)
    assert len(set(key_of.values())) == len(key_of)
    for index, block in enumerate(blocks.blocks):
        assert table.block_key(index) == key_of[block.kind]


def test_a_block_does_not_depend_on_what_is_around_it() -> None:
    """The same layers in a deeper model; not in a wider one."""
    few, many, wide = (group(transformer(layers=n, width=width)) for n, width in ((3, 16), (6, 16), (3, 32)))
    found = []
    for blocks in (few, many, wide):
        table = BlockTable(blocks, "float32", "adamw", 8)
        found.append({table.block_key(index) for index in range(len(blocks.blocks))})
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_a_block_by_its_ops() -> None:
    graph = graph_of()
    whole, part = ([(op, "") for op in graph.ops[:count]] for count in (3, 2))
    found = {block_key(whole, graph), block_key(part, graph), block_key([(op, "bfloat16") for op, _ in whole], graph)}
    assert len(found) == 3
    other = graph_of(prefix="other.")
    assert block_key([(op, "") for op in other.ops], other) in found
