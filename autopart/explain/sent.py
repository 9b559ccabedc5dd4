"""Bytes that the ranks of a plan send each other in collectives: between columns, between replicas, of gradients, for ZeRO.

Of a step, all ranks together, as rings send them (``tensor.reshard.volume``): they add up with the messages between stages.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from autopart.blocks.blocks import Block
from autopart.ir.analysis import differentiable
from autopart.ir.graph import DTYPE_BYTES, Op
from autopart.planner.meshes import Index, Rewritten
from autopart.planner.score import Score
from autopart.plans import Stage
from autopart.pricing.exchange import label_bytes
from autopart.pricing.stages import interval
from autopart.pricing.table import BlockTable, elements
from autopart.program.reductions import GradientSum, gradient_sums
from autopart.sharding import comm
from autopart.tensor import reshard
from cost_models.memory import PRECISIONS


@dataclass(frozen=True, slots=True)
class Sent:
    """``columns``: inside replicas; ``mixing``: between replicas, in ops that mix samples; ``gradients``: their sums;
    ``gathered``: parameters that ranks share out under ZeRO.
    """

    columns: int
    mixing: int
    gradients: int
    gathered: int

    @property
    def total(self) -> int:
        return self.columns + self.mixing + self.gradients + self.gathered


def sent(scored: Score, index: Index) -> Sent:
    """Of a plan and what prices it."""
    rewritten = index.under(scored.plan).tables_of(scored.plan)
    microbatches = scored.plan.schedule.microbatches
    inside = [_inside(stage, rewritten) for stage in rewritten.local.plan.stages]
    sums = [_summed(each, scored, rewritten) for each in gradient_sums(scored.program)]
    return Sent(
        columns=round(microbatches * sum(columns for columns, _ in inside)),
        mixing=round(microbatches * sum(mixing for _, mixing in inside)),
        gradients=sum(gradients for gradients, _ in sums),
        gathered=sum(gathered for _, gathered in sums),
    )


def _inside(stage: Stage, rewritten: Rewritten) -> tuple[float, float]:
    """What a microbatch sends inside the ops of a stage: between columns, between replicas."""
    known: dict[Hashable, tuple[float, float]] = {}  # blocks of a kind send as much
    columns = mixing = 0.0
    for rank in stage.ranks:
        replica, column = stage.place(rank)
        table, rows = rewritten.tables(stage, column), stage.shares[replica]
        start, stop = interval(table, stage)
        for block in table.blocks.blocks[start:stop]:
            key = id(table), rows, block.kind
            if key not in known:
                known[key] = _block(table, block, rows, stage)
            columns, mixing = columns + known[key][0], mixing + known[key][1]
    return columns, mixing


def _block(table: BlockTable, block: Block, rows: int, stage: Stage) -> tuple[float, float]:
    """Of a rank, forward and backward; under recomputation the forward once more, all of it as it is priced."""
    wanted, forwards = set(block.ops), 2 if stage.recompute and block.recomputable else 1
    columns = mixing = 0.0
    for op in (op for op in table.blocks.sharded.graph.ops if op.name in wanted):
        forward, backward = _between_columns(table, op, rows, stage.tensor)
        columns += forwards * forward + backward
        mixing += (forwards + 1) * _between_replicas(table, op, rows, stage.data)
    return columns, mixing


def _between_columns(table: BlockTable, op: Op, rows: int, ranks: int) -> tuple[float, float]:
    """What a rank sends in the forward and in the backward of an op (``pricing.exchange`` has the seconds)."""
    if op.kind == reshard.CROSS_ENTROPY:
        each = label_bytes(table, op, rows)
        forward, backward = (reshard.volume(reshard.ALL_REDUCE, count * each, ranks) for count in (3, 1))
    elif op.kind in reshard.BACKWARD:
        whole = _whole_bytes(table, op, rows, ranks)
        forward, backward = (reshard.volume(kind, whole, ranks) for kind in (op.kind, reshard.BACKWARD[op.kind]))
    else:
        return 0.0, 0.0
    graph = table.blocks.sharded.graph
    trained = table.remembered("differentiable", lambda: differentiable(graph))
    return forward, backward if op.inputs[0] in trained else 0.0


def _whole_bytes(table: BlockTable, op: Op, rows: int, ranks: int) -> float:
    """Of the value that a collective brings from one layout to another."""
    given, made = (table.value_bytes({name}, rows) for name in (op.inputs[0], op.outputs[0].name))
    return {reshard.REDUCE_SCATTER: given, reshard.ALL_TO_ALL: given * ranks}.get(op.kind, made)


def _between_replicas(table: BlockTable, op: Op, rows: int, ranks: int) -> float:
    """What a rank sends each way in an op that mixes samples."""
    if op.kind not in (comm.ALL_REDUCE, comm.ALL_GATHER, comm.BATCH_NORM):
        return 0.0
    result = op.outputs[0]
    if op.kind == comm.BATCH_NORM:  # two sums a channel
        channels = result.shape_at(rows, table.batch_size)[1]
        return reshard.volume(reshard.ALL_REDUCE, 2 * channels * DTYPE_BYTES[result.dtype], ranks)
    kind = reshard.ALL_REDUCE if op.kind == comm.ALL_REDUCE else reshard.ALL_GATHER
    return reshard.volume(kind, table.value_bytes({result.name}, rows), ranks)


def _summed(each: GradientSum, scored: Score, rewritten: Rewritten) -> tuple[int, int]:
    """What all its ranks send in a step: gradients, parameters that are shared out (``pricing.zero`` says when)."""
    stage, microbatches = rewritten.local.plan.stages[each.stages[0]], scored.plan.schedule.microbatches
    table = rewritten.tables(stage, stage.place(each.ranks[0])[1])
    own = {p.name: p for p in table.parameters(*interval(table, stage))}
    frozen = {name for name, parameter in own.items() if not parameter.trainable}
    trained = sum(elements(own[name]) for name in each.parameters)
    shared = sum(own[name].value.numel(1) for name in each.shared_out(frozen))
    kept, others = PRECISIONS[table.precision], len(each.ranks) - 1
    sums = microbatches if each.zero >= 2 else 1 if each.zero else 2  # scattered; an all_reduce is that and a gather
    gathers = (0, 1, 1, 2 * microbatches)[each.zero]
    return others * sums * trained * kept.gradient_bytes, others * gathers * shared * kept.parameter_bytes
