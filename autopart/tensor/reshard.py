"""From one layout to another: which collectives, and what they cost forward and backward.

The gradient of a shard is a shard, of a replicated value partial, of a partial value replicated; so each op below has its
opposite as its backward. Volumes are those of ring collectives over the columns (``cost_models.collective``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from cost_models.collective import Topology, all_gather_s, axis_sum_s, reduce_scatter_s

ALL_REDUCE = "tensor.all_reduce"
ALL_GATHER = "tensor.all_gather"
REDUCE_SCATTER = "tensor.reduce_scatter"
ALL_TO_ALL = "tensor.all_to_all"
SHARD = "tensor.shard"
TO_PARTIAL = "tensor.to_partial"

CROSS_ENTROPY = "columns.cross_entropy_loss.default"  # sends a maximum and two sums a label, and one back

BACKWARD: Mapping[str, str] = {
    ALL_REDUCE: ALL_REDUCE,
    ALL_GATHER: REDUCE_SCATTER,
    REDUCE_SCATTER: ALL_GATHER,
    ALL_TO_ALL: ALL_TO_ALL,
}
"""What the gradient of a collective is; the others send nothing either way."""


@dataclass(frozen=True, slots=True)
class Step:
    """One op of a conversion, and how its result lies."""

    kind: str
    place: Placement


def steps(have: Placement, need: Placement) -> tuple[Step, ...]:
    """The cheapest sequence: one op, or two by way of the whole."""
    if have == need:
        return ()
    match have, need:
        case Partial(), Replicate():
            return (Step(ALL_REDUCE, need),)
        case Partial(), Shard():
            return (Step(REDUCE_SCATTER, need),)
        case Shard(), Replicate():
            return (Step(ALL_GATHER, need),)
        case Shard(), Shard() if have.dim != need.dim:
            return (Step(ALL_TO_ALL, need),)
        case Replicate(), Shard():
            return (Step(SHARD, need),)
        case Replicate(), Partial():
            return (Step(TO_PARTIAL, need),)
        case _:
            return (*steps(have, Replicate()), *steps(Replicate(), need))


def collective_s(kind: str, nbytes: float, topology: Topology) -> float:
    """Seconds of one direction; ``nbytes`` are those of the whole value."""
    match kind:
        case "tensor.all_reduce":
            return axis_sum_s(nbytes, topology)
        case "tensor.all_gather":
            return all_gather_s(nbytes, topology)
        case "tensor.reduce_scatter":
            return reduce_scatter_s(nbytes, topology)
        case "tensor.all_to_all":
            return all_gather_s(nbytes / max(topology.ranks, 1), topology)  # each sends all but one part of its part
        case _:
            return 0.0


def volume(kind: str, nbytes: float, ranks: int) -> float:
    """Bytes that each rank sends."""
    ring = (ranks - 1) / ranks * nbytes
    return {ALL_REDUCE: 2 * ring, ALL_GATHER: ring, REDUCE_SCATTER: ring, ALL_TO_ALL: ring / ranks}.get(kind, 0.0)
