from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import block_parameters, cut_values
from autopart.blocks.group import group
from autopart.ir.graph import Op, Ref, Value
from autopart.sharding.batch import ShardedGraph
from tests.graphs import BATCH, Builder, mlp, placed, random_sharded, transformer


def _names(blocks: Blocks) -> list[str]:
    return [block.name for block in blocks.blocks]


def _loss(b: Builder, x: str) -> ShardedGraph:
    return placed(b, b.op("aten.sum.default", Ref(x), shape=()))


def test_the_textbook_mlp_has_a_block_a_layer() -> None:
    blocks = group(mlp())
    assert _names(blocks) == ["layers.0-1", "layers.2-3", "layers.4-5"]
    assert [block_parameters(blocks, i) for i in range(3)] == [(f"layers.{i}.weight", f"layers.{i}.bias") for i in (0, 2, 4)]


def test_eighty_layers_are_one_kind() -> None:
    blocks = group(transformer(80, 512))
    assert _names(blocks) == ["wte", *(f"h.{i}" for i in range(80)), "head"]
    assert sorted(Counter(block.kind for block in blocks.blocks).values()) == [1, 1, 80]
    assert [block.prefix for block in blocks.blocks[1:-1]] == [f"h.{i}" for i in range(80)]
    assert all(len(cut_values(blocks, i)) == 1 for i in range(1, 82))


def test_many_layers_are_packed_into_at_most_two_hundred_blocks() -> None:
    blocks = group(transformer(250, 64))
    assert 100 < len(blocks.blocks) <= 200


def _flat(layers: int) -> ShardedGraph:
    """One big forward: every op in the model itself."""
    sharded = transformer(layers, 64)
    ops = tuple(replace(op, module="", name=f":{op.outputs[0].name}") for op in sharded.graph.ops)
    return replace(sharded, graph=replace(sharded.graph, ops=ops))


def test_layers_are_found_without_modules() -> None:
    blocks = group(_flat(12))
    largest = Counter(block.kind for block in blocks.blocks).most_common(1)[0][1]
    assert largest == 12
    assert all(len(cut_values(blocks, i)) == 1 for i in range(1, len(blocks.blocks)))


def test_parallel_branches_are_no_chain_of_layers() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 64)), 64, "inner")
    for layer in range(6):
        parts = [b.linear(x, 64, f"layers.{layer}.{name}") for name in ("query", "key", "value")]
        scores = b.binary("aten.mul.Tensor", parts[0], parts[1], f"layers.{layer}")
        product = b.binary("aten.mul.Tensor", scores, parts[2], f"layers.{layer}")
        x = b.binary("aten.add.Tensor", x, product, f"layers.{layer}")
    blocks = group(_loss(b, x))
    assert all(len(cut_values(blocks, i)) == 1 for i in range(1, len(blocks.blocks)))


def test_different_literals_shapes_and_trainability_are_different_kinds() -> None:
    def kinds(rate: float, width: int, trainable: bool) -> list[int]:
        b = Builder()
        x = b.linear(b.input("x", (BATCH, 8)), 8, "a")
        for i, (p, w, t) in enumerate(((0.1, 32, True), (rate, width, trainable))):
            y = b.linear(b.linear(x, w, f"l.{i}.up", trainable=t), 8, f"l.{i}.down")
            x = b.unary("aten.dropout.default", y, f"l.{i}", p, True)
        return [block.kind for block in group(_loss(b, x)).blocks if block.name.startswith("l.")]

    equal = kinds(0.1, 32, True)
    assert equal[: len(equal) // 2] == equal[len(equal) // 2 :]
    for other in (kinds(0.2, 32, True), kinds(0.1, 64, True), kinds(0.1, 32, False)):
        assert other[: len(other) // 2] != other[len(other) // 2 :]


def test_a_parameter_from_elsewhere_keeps_its_whole_name() -> None:
    b = Builder()
    shared = b.parameter("shared.weight", (64, 64))
    x = b.input("x", (BATCH, 64))
    for i in range(16):
        x = b.linear(b.linear(x, 64, f"l.{i}.own"), 64, f"l.{i}.other", shared)
    blocks = group(_loss(b, x))
    middle = [block for block in blocks.blocks if block.name in {f"l.{i}" for i in range(1, 15)}]
    assert [block.prefix for block in middle] == [f"l.{i}" for i in range(1, 15)]
    assert len({block.kind for block in middle}) == 1


def test_no_cut_between_making_a_value_and_writing_into_it() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 32)), 32, "a")
    for i in range(4):
        x = b.linear(x, 32, f"l.{i}")
    kept = x
    y = b.linear(x, 32, "between")
    b.ops.append(Op(":add_", "aten.add_.Tensor", (Ref(kept), Ref(y)), (Value("added", (BATCH, 32), "float32"),), mutates=(kept,)))
    b.values["added"] = b.ops[-1].outputs[0]
    x = b.linear("added", 32, "after")
    blocks = group(_loss(b, x))
    makers = {blocks.block_of[op.name] for op in blocks.sharded.graph.ops if {kept, y, "added"} & {v.name for v in op.outputs}}
    assert len(makers) == 1


def test_all_that_touches_a_written_buffer_is_one_block_that_runs_once() -> None:
    b = Builder()
    mean, var = b.buffer("norm.mean", (32,)), b.buffer("norm.var", (32,))
    x = b.input("x", (BATCH, 32))
    touching = []
    for i in range(6):
        x = b.linear(x, 32, f"l.{i}")
        if i in (2, 4):
            norm = (Ref(x), None, None, Ref(mean), Ref(var), True, 0.1, 1e-5, False)
            x = b.op("aten.batch_norm.default", *norm, shape=(BATCH, 32), module="norm")
            touching.append(x)
    blocks = group(_loss(b, x))
    found = {blocks.block_of[blocks.sharded.graph.producer[name].name] for name in touching}
    assert len(found) == 1
    assert [block.recomputable for block in blocks.blocks] == [i not in found for i in range(len(blocks.blocks))]


@pytest.mark.parametrize("seed", range(60))
def test_blocks_of_random_graphs_partition_a_topological_order(seed: int) -> None:
    sharded = random_sharded(seed, max_layers=20, max_width=256)
    blocks = group(sharded)
    graph = sharded.graph
    order = [name for block in blocks.blocks for name in block.ops]
    assert sorted((*order, *blocks.inputs_only)) == sorted(op.name for op in graph.ops)
    assert len(set(_names(blocks))) == len(blocks.blocks) <= 200
    by_name = {op.name: op for op in graph.ops}
    ready = {v for v in graph.values if v not in graph.producer}
    for name in (*blocks.inputs_only, *order):
        assert ready.issuperset(by_name[name].inputs)
        ready.update(value.name for value in by_name[name].outputs)


@pytest.mark.parametrize("seed", range(60))
def test_blocks_of_one_kind_are_the_same_code(seed: int) -> None:
    sharded = random_sharded(seed, max_layers=20, max_width=256)
    blocks = group(sharded)
    for kind in {block.kind for block in blocks.blocks}:
        texts = {_renamed(blocks, i) for i, block in enumerate(blocks.blocks) if block.kind == kind}
        assert len(texts) == 1


def _renamed(blocks: Blocks, index: int) -> str:
    """The block's ops as text, values renamed by first appearance, parameters without the prefix."""
    graph, block = blocks.sharded.graph, blocks.blocks[index]
    by_name = {op.name: op for op in graph.ops}
    known: dict[str, str] = {}

    def name(value: str) -> str:
        if value in graph.parameter_of:
            return graph.parameter_of[value].name.removeprefix(f"{block.prefix}.")
        return known.setdefault(value, f"v{len(known)}")

    lines = []
    for op in (by_name[n] for n in block.ops):
        read = [(name(n), graph.values[n].shape, graph.values[n].dtype) for n in op.inputs]
        literals = [arg for arg in op.args if not isinstance(arg, Ref | tuple)]
        made = [(name(v.name), v.shape, v.dtype, any(u.name not in block.ops for u in graph.users[v.name])) for v in op.outputs]
        lines.append(f"{op.kind} {read} {literals} {op.kwargs} {made}")
    return "\n".join(lines)


def test_grouping_is_deterministic() -> None:
    assert group(random_sharded(7)).blocks == group(random_sharded(7)).blocks
