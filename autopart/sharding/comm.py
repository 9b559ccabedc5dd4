"""The ops that sharding inserts: what each takes, gives and costs. The runtime implements exactly this table.

All act on the data axis of a stage. A rank's rows are ``Size`` at its own number of rows; rows lie in rank order,
so the global batch is the ranks' rows one after the other. Every op returns a new tensor and never writes into its input
(``comm.batch_norm`` writes the running statistics, as ``aten.batch_norm`` does).
Integer and bool tensors pass through all of them without a gradient.

Gradients follow the one convention of ``placement.py``: a shard's gradient is a shard, a replicated value's gradient is
partial, a partial value's gradient is replicated.

With several microbatches only ``comm.to_partial`` occurs in the graph, because whatever else needs
an op of this table mixes samples (``ShardedGraph.mixing``); the prologue may hold any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Comm:
    """One ``comm.…`` kind. ``x`` is a tensor; ``dim`` and ``outer`` are plain ints (the two fields of a ``Shard``)."""

    args: str
    takes: str
    gives: str
    forward: str
    backward: str


ALL_REDUCE = "comm.all_reduce"
ALL_GATHER = "comm.all_gather"
SHARD = "comm.shard"
TO_PARTIAL = "comm.to_partial"
BATCH_NORM = "comm.batch_norm"

COMM: Mapping[str, Comm] = {
    ALL_REDUCE: Comm(
        args="(x,)",
        takes="Partial",
        gives="Replicate",
        forward="the sum of x over the ranks of the axis, on all of them",
        backward="the incoming gradient is partial, the outgoing one replicated: all_reduce (sum) once more",
    ),
    ALL_GATHER: Comm(
        args="(x, dim, outer)",
        takes="Shard(dim, outer)",
        gives="Replicate",
        forward="view dim as [outer, rows of this rank]; concatenate the second part over ranks, in rank order, rows uneven",
        backward="the incoming gradient is partial: reduce_scatter, that is sum over ranks and keep this rank's rows",
    ),
    SHARD: Comm(
        args="(x, dim, outer)",
        takes="Replicate",
        gives="Shard(dim, outer)",
        forward="view dim as [outer, rows of the global batch]; keep this rank's rows; no message",
        backward="the incoming gradient is a shard, the outgoing one partial: zeros outside of this rank's rows; no message",
    ),
    TO_PARTIAL: Comm(
        args="(x,)",
        takes="Replicate",
        gives="Partial",
        forward="x * (rows / rows of the global batch), rows being those of this rank and microbatch (in the prologue: of this"
        " rank in all microbatches); no message",
        backward="gradient * the same factor; no message",
    ),
    BATCH_NORM: Comm(
        args="(x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled), training is True",
        takes="Shard(d), d not 1; the others Replicate (or None)",
        gives="Shard(d)",
        forward="as aten.batch_norm with mean and variance over all ranks' rows (uneven); running statistics, if"
        " given, are updated in place, alike on all ranks, with the unbiased variance of the global batch",
        backward="x as on one device (all_reduce of two sums per channel); weight, bias: this rank's terms, partial",
    ),
}
