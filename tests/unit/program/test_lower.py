from dataclasses import replace

import pytest

from autopart.blocks.blocks import Block, Blocks
from autopart.ir.graph import Ref, Size
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.sharding.placement import Partial, Replicate, Shard
from tests.graphs import BATCH, Builder, mlp, placed, transformer


def cut(b: Builder, loss: str, *names: str, inputs_only: tuple[str, ...] = ()) -> Blocks:
    """Blocks that end with the ops that make the named values."""
    blocks: list[Block] = []
    ops: list[str] = []
    for op in b.ops:
        if op.name in inputs_only:
            continue
        ops.append(op.name)
        if op.outputs[0].name in (*names, loss):
            blocks.append(Block(f"block{len(blocks)}", len(blocks), tuple(ops), ""))
            ops = []
    return Blocks(placed(b, loss), tuple(blocks), inputs_only)


def plan(blocks: Blocks, *stages: int) -> Plan:
    """So many blocks in each stage, one rank each, 2 microbatches of 3 rows."""
    names = iter([block.name for block in blocks.blocks])
    found = tuple(Stage(i, tuple(next(names) for _ in range(n)), (i,), (3,)) for i, n in enumerate(stages))
    return Plan(ModelRef("m.py"), ClusterRef("c.yaml"), 6, Settings(), Schedule("1f1b", 2), found)


def moved(program: Program) -> list[tuple[str, int, int, bool]]:
    return [(t.value, t.source, t.target, t.differentiable) for t in program.transfers]


def mixed_model() -> tuple[Builder, str, tuple[str, ...]]:
    """A tied weight, a frozen one, a value of a parameter alone, a mask of inputs alone, a skip, a detached value, dropout."""
    b = Builder()
    x, ids = b.input("x", (BATCH, 4)), b.input("ids", (BATCH,), "int64")
    unused = b.parameter("unused.weight", (3,))
    assert unused
    scale = b.op("aten.tanh.default", Ref(b.parameter("scale", (4,))), shape=(4,))
    mask = b.op("aten.gt.Scalar", Ref(ids), 0, shape=(BATCH,), dtype="bool")
    frozen = b.linear(x, 4, "frozen", trainable=False)
    first = b.linear(frozen, 4, "first")
    y = b.binary("aten.mul.Tensor", first, scale, "first")
    stop = b.unary("aten.detach.default", y, "middle")
    z = b.unary("aten.dropout.default", b.linear(y, 4, "middle", "p_first_weight"), "middle", 0.1, True)
    z = b.op("aten.add.Tensor", Ref(z), Ref(stop), shape=(BATCH, 4), module="middle")
    end = b.op("aten.where.self", Ref(mask), Ref(z), Ref(frozen), shape=(BATCH, 4), module="end")
    end = b.op("aten.mul.Tensor", Ref(end), Ref(scale), shape=(BATCH, 4), module="end")
    loss = b.op("aten.sum.default", Ref(end), shape=())
    return b, loss, (b.ops[1].name,)


def test_what_each_stage_reads_and_sends() -> None:
    b, loss, masks = mixed_model()
    blocks = cut(b, loss, "linear_1", "mul", "add", inputs_only=masks)
    program = lower(blocks, plan(blocks, 2, 1, 1))
    first, middle, end = program.stages
    assert first.parameters == ("unused.weight", "scale", "frozen.weight", "frozen.bias", "first.weight", "first.bias")
    assert middle.parameters == ("first.weight", "middle.bias")
    assert end.parameters == ()
    assert (first.inputs, middle.inputs, end.inputs) == (("x",), (), ("ids",))
    assert [stage.random for stage in program.stages] == [False, True, False]
    assert moved(program) == [
        ("mul", 0, 1, True),
        ("tanh", 0, 2, True),
        ("linear", 0, 2, False),
        ("add", 1, 2, True),
    ]
    assert [t.placement for t in program.transfers] == [Shard(0), Replicate(), Shard(0), Shard(0)]
    assert program.transfers[0].shape == (Size("b"), 4)


def test_a_value_that_only_carries_no_gradient_is_sent_one_way() -> None:
    b, loss, masks = mixed_model()
    blocks = cut(b, loss, "detach", inputs_only=masks)
    program = lower(blocks, plan(blocks, 1, 1))
    assert ("detach", 0, 1, False) in moved(program)
    assert ("mul", 0, 1, True) in moved(program)


def test_a_loss_term_of_its_own_travels_as_a_partial_sum() -> None:
    b = Builder()
    x = b.linear(b.input("x", (BATCH, 4)), 4, "first")
    early = b.op("aten.sum.default", Ref(x), shape=())
    late = b.op("aten.sum.default", Ref(b.linear(x, 2, "second")), shape=())
    loss = b.op("aten.add.Tensor", Ref(early), Ref(late), shape=())
    blocks = cut(b, loss, early)
    program = lower(blocks, plan(blocks, 1, 1))
    assert [(t.value, t.placement) for t in program.transfers] == [("linear", Shard(0)), ("sum", Partial())]


def test_a_stage_needs_the_buffers_and_inputs_behind_what_it_runs_again() -> None:
    b = Builder()
    x, lengths = b.input("x", (BATCH, 4)), b.input("lengths", (BATCH, 1), "int64")
    table = b.buffer("rotary.table", (1, 4))
    b.buffer("unused.statistics", (4,))
    mask = b.op("aten.mul.Tensor", Ref(lengths), Ref(table), shape=(BATCH, 4))
    y = b.linear(x, 4, "first")
    z = b.binary("aten.mul.Tensor", b.linear(y, 4, "second"), mask, "second")
    loss = b.op("aten.sum.default", Ref(z), shape=())
    blocks = cut(b, loss, y, inputs_only=(b.ops[0].name,))
    first, second = lower(blocks, plan(blocks, 1, 1)).stages
    assert (first.inputs, first.buffers) == (("x",), ("unused.statistics",))
    assert (second.inputs, second.buffers) == (("lengths",), ("rotary.table",))


def test_a_tied_embedding_is_held_at_both_ends() -> None:
    sharded = transformer(2, 8)
    ops = [op.name for op in sharded.graph.ops]
    blocks = Blocks(sharded, tuple(Block(f"b{i}", i, part, "") for i, part in enumerate((tuple(ops[:8]), tuple(ops[8:])))), ())
    first, last = lower(blocks, plan(blocks, 1, 1)).stages
    assert "wte.weight" in first.parameters
    assert "wte.weight" in last.parameters
    assert set(first.parameters) & set(last.parameters) == {"wte.weight"}


def test_the_loss_must_be_made_last() -> None:
    sharded = mlp()
    ops = [op.name for op in sharded.graph.ops]
    graph = replace(sharded.graph, loss=sharded.graph.ops[0].outputs[0].name)
    blocks = Blocks(replace(sharded, graph=graph), (Block("a", 0, tuple(ops[:2]), ""), Block("b", 1, tuple(ops[2:]), "")), ())
    with pytest.raises(AssertionError, match="the loss is made in block 0"):
        lower(blocks, plan(blocks, 1, 1))


def test_a_write_into_another_stages_value_is_our_mistake() -> None:
    b = Builder()
    y = b.linear(b.input("x", (BATCH, 4)), 4, "first")
    z = b.op("aten.relu_.default", Ref(y), shape=(BATCH, 4), mutates=(y,))
    loss = b.op("aten.sum.default", Ref(z), shape=())
    blocks = cut(b, loss, y)
    with pytest.raises(AssertionError, match="writes into linear, which another stage made"):
        lower(blocks, plan(blocks, 1, 1))
