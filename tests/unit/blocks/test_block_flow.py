"""What flows between blocks, against its definition spelt out."""

from __future__ import annotations

from itertools import combinations

import pytest

from autopart.blocks import flow
from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.group import group
from autopart.ir.graph import Op, Ref, Value
from autopart.sharding.batch import ShardedGraph
from tests.graphs import BATCH, Builder, random_sharded, transformer


def _reads(blocks: Blocks, start: int, stop: int) -> set[str]:
    by_name = {op.name: op for op in blocks.sharded.graph.ops}
    return {n for block in blocks.blocks[start:stop] for name in block.ops for n in by_name[name].inputs}


def _makes(blocks: Blocks, start: int, stop: int) -> set[str]:
    by_name = {op.name: op for op in blocks.sharded.graph.ops}
    return {v.name for block in blocks.blocks[start:stop] for name in block.ops for v in by_name[name].outputs}


@pytest.mark.parametrize("seed", range(40))
def test_flow_of_random_graphs(seed: int) -> None:
    blocks = group(random_sharded(seed, max_width=128))
    count, graph = len(blocks.blocks), blocks.sharded.graph
    for i in range(count + 1):
        assert set(flow.cut_values(blocks, i)) == _makes(blocks, 0, i) & _reads(blocks, i, count)
    for start, stop in combinations(range(count + 1), 2):
        assert set(flow.stage_receives(blocks, start, stop)) == _makes(blocks, 0, start) & _reads(blocks, start, stop)
        loss = {graph.loss} & _makes(blocks, start, stop)
        assert set(flow.stage_sends(blocks, start, stop)) == (_makes(blocks, start, stop) & _reads(blocks, stop, count)) | loss
        read = _reads(blocks, start, stop)
        assert set(flow.stage_parameters(blocks, start, stop)) == {p.name for p in graph.parameters if p.value.name in read}


@pytest.mark.parametrize("seed", range(40))
def test_a_stage_can_run_on_what_it_needs(seed: int) -> None:
    blocks = group(random_sharded(seed, max_width=128))
    graph, by_name = blocks.sharded.graph, {op.name: op for op in blocks.sharded.graph.ops}
    for start, stop in combinations(range(len(blocks.blocks) + 1), 2):
        have = set(flow.stage_inputs(blocks, start, stop)) | set(flow.stage_receives(blocks, start, stop))
        have |= {p.value.name for p in graph.parameters if p.name in flow.stage_parameters(blocks, start, stop)}
        used: set[str] = set()
        own = [name for block in blocks.blocks[start:stop] for name in block.ops]
        for name in (*flow.needed_inputs_only(blocks, start, stop), *own):
            assert have.issuperset(by_name[name].inputs)
            used.update(by_name[name].inputs)
            have.update(v.name for v in by_name[name].outputs)
        made_for_nothing = [
            n for n in flow.needed_inputs_only(blocks, start, stop) if used.isdisjoint(v.name for v in by_name[n].outputs)
        ]
        assert not made_for_nothing
        assert used.issuperset(flow.stage_inputs(blocks, start, stop))


def test_ties_name_the_blocks_that_share_a_parameter() -> None:
    blocks = group(transformer(4))
    assert flow.ties(blocks) == (("wte.weight", (0, len(blocks.blocks) - 1)),)
    assert flow.loss_block(blocks) == len(blocks.blocks) - 1


def test_inputs_reach_a_stage_through_what_it_runs_itself() -> None:
    blocks = group(transformer(4))
    last = len(blocks.blocks)
    assert flow.stage_inputs(blocks, 0, 1) == ("ids",)
    assert flow.stage_inputs(blocks, 1, last - 1) == ()
    assert flow.stage_inputs(blocks, last - 1, last) == ("labels",)
    assert flow.needed_inputs_only(blocks, last - 1, last) == (":view_1",)


def _with_statistic() -> Blocks:
    """Two blocks; the second divides by a count that the prologue makes of the labels."""
    b = Builder()
    x, labels = b.input("x", (BATCH, 4)), b.input("labels", (BATCH,), "int64")
    count = b.input("count", (), path=("statistics", "count"))
    first = b.linear(x, 4, "first")
    total = b.op("aten.sum.default", Ref(b.linear(first, 4, "second")), shape=())
    graph = b.graph(b.binary("aten.div.Tensor", total, count, ""))
    valid = Op("^:ne", "aten.ne.Scalar", (Ref(labels), -100), (Value("valid", (BATCH,), "bool"),))
    summed = Op("^:sum", "aten.sum.default", (Ref("valid"),), (Value("count", (), "int64"),))
    sharded = ShardedGraph(graph, {}, (valid, summed), (count,))
    names = [op.name for op in graph.ops]
    return Blocks(sharded, (Block("a", 0, tuple(names[:1]), "first"), Block("b", 1, tuple(names[1:]), "second")), ())


def test_a_stage_that_reads_a_statistic_needs_the_inputs_of_the_prologue() -> None:
    blocks = _with_statistic()
    assert flow.stage_statistics(blocks, 1, 2) == ("count",)
    assert flow.needed_prologue(blocks, 1, 2) == ("^:ne", "^:sum")
    assert flow.stage_inputs(blocks, 1, 2) == ("labels",)
    assert flow.stage_inputs(blocks, 0, 1) == ("x",)
    assert flow.needed_prologue(blocks, 0, 1) == flow.stage_statistics(blocks, 0, 1) == ()


def test_a_table_that_is_written_is_remade_with_its_writes() -> None:
    b = Builder()
    x = b.input("x", (BATCH, 4))
    table = b.op("aten.zeros.default", (4,), shape=(4,))
    part = b.op("aten.slice.Tensor", Ref(table), 0, 0, 2, shape=(2,))
    b.op("aten.fill_.Scalar", Ref(part), 1.0, shape=(2,), mutates=(part,))
    y = b.binary("aten.add.Tensor", b.linear(x, 4, "fc"), table, "")
    graph = b.graph(b.op("aten.sum.default", Ref(y), shape=()))
    blocks = group(ShardedGraph(graph, {}))
    assert len(blocks.inputs_only) == 3
    assert flow.needed_inputs_only(blocks, 0, len(blocks.blocks)) == blocks.inputs_only
