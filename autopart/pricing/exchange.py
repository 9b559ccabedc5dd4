"""Seconds of what the ops of a block send: between the columns of a replica, and between replicas where an op mixes samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autopart.ir.graph import DTYPE_BYTES, Op
from autopart.sharding import comm
from autopart.tensor import reshard
from cost_models.collective import Topology, all_gather_s, axis_sum_s, reduce_scatter_s

if TYPE_CHECKING:
    from autopart.pricing.table import BlockTable


def columns_s(table: BlockTable, index: int, rows: int, topology: Topology) -> tuple[float, float]:
    """Forward and backward of a block's collectives between the columns of a replica."""
    each = [exchange_s(table, table.op(name), rows, topology) for name in table.blocks.blocks[index].ops]
    return sum(forward for forward, _ in each), sum(backward for _, backward in each)


def exchange_s(table: BlockTable, op: Op, rows: int, topology: Topology) -> tuple[float, float]:
    """Forward and backward of what an op sends between the columns of a replica."""
    if op.kind in reshard.BACKWARD:
        whole = _exchanged_bytes(table, op, rows, topology.ranks)
        forward = reshard.collective_s(op.kind, whole, topology)
        return forward, _gradient_s(table, op, reshard.collective_s(reshard.BACKWARD[op.kind], whole, topology))
    if op.kind == reshard.CROSS_ENTROPY:
        each = label_bytes(table, op, rows)
        forward = axis_sum_s(each, topology) + axis_sum_s(2 * each, topology)
        return forward, _gradient_s(table, op, axis_sum_s(each, topology))
    return 0.0, 0.0


def label_bytes(table: BlockTable, op: Op, rows: int) -> int:
    """Of a number as its logits are for every label of a cross entropy."""
    logits, labels = (table.blocks.sharded.graph.values[name] for name in op.inputs[:2])
    return table.nbytes(labels, rows) * DTYPE_BYTES[logits.dtype] // DTYPE_BYTES[labels.dtype]


def _exchanged_bytes(table: BlockTable, op: Op, rows: int, ranks: int) -> float:
    """Of the whole value, were all parts as large as this column's (the widest one is waited for)."""
    given, made = (table.value_bytes({name}, rows) for name in (op.inputs[0], op.outputs[0].name))
    match op.kind:
        case reshard.ALL_GATHER:
            return max(made, given * ranks)
        case reshard.REDUCE_SCATTER:
            return max(given, made * ranks)
        case reshard.ALL_TO_ALL:
            return max(given, made) * ranks
    return made


def _gradient_s(table: BlockTable, op: Op, seconds: float) -> float:
    return seconds if op.inputs[0] in table.trained_values else 0.0


def mixing_s(table: BlockTable, index: int, rows: int, topology: Topology) -> float:
    """Forward and backward of a block's collectives over samples; the sums of a batch norm are two numbers a channel."""
    found = 0.0
    for op in map(table.op, table.blocks.blocks[index].ops):
        if op.kind not in comm.COMM:
            continue
        result = op.outputs[0]
        match op.kind:
            case comm.ALL_REDUCE:
                found += 2 * axis_sum_s(table.nbytes(result, rows), topology)
            case comm.ALL_GATHER:
                nbytes = table.nbytes(result, table.batch_size)
                found += all_gather_s(nbytes, topology) + reduce_scatter_s(nbytes, topology)
            case comm.BATCH_NORM:
                channels = result.shape_at(rows, table.batch_size)[1]
                found += 2 * axis_sum_s(2 * channels * DTYPE_BYTES[result.dtype], topology)
    return found
