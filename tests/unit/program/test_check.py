"""What a plan that does not fit is told."""

from dataclasses import replace
from typing import Any

import pytest

from autopart.blocks.blocks import Block, Blocks
from autopart.errors import PlanError
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.check import check_plan
from autopart.sharding.batch import Mixing
from tests.graphs import mlp
from tests.programs import cluster_of

SHARDED = mlp()
OPS = [op.name for op in SHARDED.graph.ops]
BLOCKS = Blocks(SHARDED, tuple(Block(name, i, (op,), "") for i, (name, op) in enumerate(zip("abcdefgh", OPS, strict=True))), ())
NAMES = tuple(block.name for block in BLOCKS.blocks)
CLUSTER = cluster_of(2, 2)
PLAN = Plan(
    ModelRef("mlp.py"), ClusterRef("test.yaml"), 24, Settings(), Schedule("1f1b", 4),
    (Stage(0, NAMES[:3], (0, 1), (4, 2), data=2), Stage(1, NAMES[3:], (2,), (6,))), (3,),
)  # fmt: skip


def refusal(plan: Plan, blocks: Blocks = BLOCKS) -> str:
    with pytest.raises(PlanError) as caught:
        check_plan(plan, blocks, CLUSTER)
    assert caught.value.remedy
    return str(caught.value)


def stage(index: int, /, **changes: Any) -> Plan:
    stages = list(PLAN.stages)
    stages[index] = replace(stages[index], **changes)
    return replace(PLAN, stages=tuple(stages))


def test_a_good_plan_passes() -> None:
    check_plan(PLAN, BLOCKS, CLUSTER)
    check_plan(replace(PLAN, unused_ranks=()), BLOCKS, CLUSTER)
    check_plan(stage(0, zero=3), BLOCKS, CLUSTER)


def test_a_mesh_has_a_rank_for_each_replica_and_column() -> None:
    whole = Stage(0, NAMES, (0, 1, 2, 3), (4, 2), data=2, tensor=2, zero=2, layouts={"w": "S(0)"}, tensor_shares=(3, 1))
    check_plan(replace(PLAN, stages=(whole,), unused_ranks=()), BLOCKS, CLUSTER)
    assert [whole.place(rank) for rank in whole.ranks] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [whole.share_of(rank) for rank in whole.ranks] == [4, 4, 2, 2]
    assert (whole.column(1), whole.replica(1)) == ((1, 3), (2, 3))


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        (replace(PLAN, schedule=Schedule("zigzag", 4)), "schedule: unknown schedule 'zigzag'"),
        (replace(PLAN, schedule=Schedule("1f1b", 5)), "Take 4 or 6 microbatches."),
        (replace(PLAN, schedule=Schedule("1f1b", 100)), "Take 24 microbatches."),
        (replace(PLAN, schedule=Schedule("1f1b", 0)), "Both must be 1 or more."),
        (replace(PLAN, batch_size=0), "Both must be 1 or more."),
        (replace(PLAN, stages=()), "stages: no stage"),
        (stage(1, index=2), "stage 2: index 2 at position 1"),
        (stage(1, blocks=()), "stage 1: has no blocks"),
        (stage(1, tensor=2), "data=1, tensor=2 with 1 ranks and 1 shares\n  List 2 ranks and one share for each replica."),
        (stage(1, ranks=(2, 3, 1), tensor=2), "data=1, tensor=2 with 3 ranks and 1 shares"),
        (stage(0, tensor=2, shares=(6,)), "data=2, tensor=2 with 2 ranks and 1 shares"),
        (stage(1, tensor=0), "tensor=0, zero=0"),
        (stage(0, zero=4), "tensor=1, zero=4"),
        (stage(1, zero=3), "zero=3, but one replica"),
        (stage(1, ranks=(2, 3), tensor=2, zero=1), "zero=1, but one replica"),
        (stage(1, ranks=(2, 3), tensor=2, tensor_shares=(1, 2, 3)), "3 tensor_shares for tensor=2"),
        (stage(1, ranks=(2, 3), tensor=2, tensor_shares=(1, 0)), "a tensor share of 0"),
        (stage(1, tensor_shares=(1, 1)), "2 tensor_shares for tensor=1"),
        (stage(1, layouts={"a": "S(0)"}), "layouts of 1 names, but tensor=1"),
        (stage(0, data=3), "data=3 with 2 ranks and 2 shares"),
        (stage(0, shares=(6,)), "data=2 with 2 ranks and 1 shares"),
        (stage(0, ranks=(0,)), "data=2 with 1 ranks and 2 shares"),
        (stage(1, ranks=(), shares=(), data=0), "List one rank and one share"),
        (stage(0, shares=(6, 0)), "stage 0: a share of 0 samples"),
        (stage(0, shares=(7, -1)), "stage 0: a share of -1 samples"),
        (stage(0, shares=(4, 3)), "stage 0: shares [4, 3] sum to 7, a microbatch has 6 samples"),
        (stage(1, ranks=(4,)), "there is no rank 4 in test.yaml\n  It has 4 devices: ranks 0 to 3."),
        (stage(1, ranks=(-1,)), "there is no rank -1"),
        (replace(PLAN, unused_ranks=(9,)), "unused_ranks: there is no rank 9"),
        (stage(1, ranks=(0,)), "stage 0, stage 1: rank 0 is named 2 times"),
        (stage(0, ranks=(1, 1)), "stage 0: rank 1 is named 2 times"),
        (replace(PLAN, unused_ranks=(2,)), "stage 1, unused_ranks: rank 2 is named 2 times"),
        (stage(0, blocks=("a", "b", "cc")), "stage 0: the model has no block 'cc'"),
        (stage(0, blocks=("a", "b")), "block 'c' is missing before 'd'"),
        (stage(0, blocks=("a", "b", "b", "c")), "block 'b' comes a second time"),
        (stage(0, blocks=("b", "a", "c")), "block 'b' comes before 'a', whose results it reads"),
        (stage(1, blocks=NAMES[3:-1]), f"1 blocks are in no stage, the first is {NAMES[-1]!r}"),
        (stage(1, blocks=(*NAMES[3:], "a")), "block 'a' comes a second time"),
    ],
)
def test_what_does_not_fit(plan: Plan, what: str) -> None:
    assert what in refusal(plan)


def test_a_misspelt_block_gets_the_nearest() -> None:
    blocks = replace(BLOCKS, blocks=tuple(replace(block, name=f"layers.{i}") for i, block in enumerate(BLOCKS.blocks)))
    assert "Did you mean 'layers.0' or" in refusal(stage(0, blocks=("layer.0",)), blocks)


def test_a_model_that_mixes_samples_has_one_microbatch() -> None:
    mixing = (Mixing("norm:batch_norm", "norm", "model.py:7", "batch_norm takes statistics over all samples"),)
    blocks = replace(BLOCKS, sharded=replace(SHARDED, mixing=mixing))
    text = refusal(PLAN, blocks)
    assert text.startswith("model.py:7: 4 microbatches, but the model mixes samples: batch_norm takes statistics")
    whole = replace(PLAN, schedule=Schedule("1f1b", 1), stages=tuple(
        replace(s, shares=tuple(4 * n for n in s.shares)) for s in PLAN.stages))  # fmt: skip
    check_plan(whole, blocks, CLUSTER)


def test_a_model_without_a_batch_dim_has_one_replica() -> None:
    inputs = tuple(replace(source, batch_dim=None) for source in SHARDED.graph.inputs)
    blocks = replace(BLOCKS, sharded=replace(SHARDED, graph=replace(SHARDED.graph, inputs=inputs)))
    assert "4 microbatches, but no input has a batch dim" in refusal(PLAN, blocks)
    one = replace(PLAN, batch_size=6, schedule=Schedule("1f1b", 1))
    assert "stage 0: 2 replicas, but no input has a batch dim" in refusal(one, blocks)
    columns = replace(one, stages=(replace(one.stages[0], shares=(6,), data=1, tensor=2), one.stages[1]))
    check_plan(columns, blocks, CLUSTER)
