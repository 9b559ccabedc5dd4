"""What an assignment costs, exactly, and what it violates. Everything that a plan says of itself comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autopart.profiled.order import Order, between, directions, make_order, mask_of
from autopart.profiled.problem import Array, Problem

Assignment = tuple[int, ...]  # rank of every op


@dataclass(frozen=True, eq=False)
class Loads:
    """By rank: seconds of its ops, of what it sends and what it receives, and the bytes of its ops."""

    compute_s: Array
    sent_s: Array
    received_s: Array
    memory_bytes: Array

    @property
    def total_s(self) -> Array:
        return self.compute_s + self.sent_s + self.received_s


def loads(problem: Problem, assignment: Sequence[int]) -> Loads:
    """The load of every rank: a tensor counts once for each pair of its producer's rank and another rank that reads it."""
    ranks = problem.ranks
    compute, sent, received, memory = np.zeros((4, ranks))
    for op, rank in enumerate(assignment):
        compute[rank] += problem.time_s[op, rank]
        memory[rank] += problem.memory_bytes[op]
        for target in destinations(problem, assignment, op):
            seconds = problem.transfer_s[op, rank, target]
            sent[rank] += seconds
            received[target] += seconds
    return Loads(compute, sent, received, memory)


def destinations(problem: Problem, assignment: Sequence[int], op: int) -> list[int]:
    """Ranks other than an op's own that read its output, ascending."""
    return sorted({assignment[reader] for reader in problem.readers[op]} - {assignment[op]})


def throughput_s(found: Loads) -> float:
    """The largest load of any rank."""
    return float(found.total_s.max())


def step_s(found: Loads, microbatches: int) -> float:
    """Fill and steady state of a pipeline of M microbatches: the sum of all loads, and M - 1 times the largest."""
    return float(found.total_s.sum() + (microbatches - 1) * found.total_s.max())


def value_s(problem: Problem, assignment: Sequence[int], start_s: Sequence[float] = ()) -> float:
    """The objective; for latency of the schedule that starts ops at ``start_s``."""
    match problem.goal.objective:
        case "throughput":
            return throughput_s(loads(problem, assignment))
        case "step":
            return step_s(loads(problem, assignment), problem.goal.microbatches)
        case "latency":
            return max(start_s[op] + float(problem.time_s[op, rank]) for op, rank in enumerate(assignment))


def violation(problem: Problem, assignment: Sequence[int], order: Order | None = None) -> str:
    """The first rule that an assignment breaks, in words; empty where it breaks none."""
    for op, rank in enumerate(assignment):
        if not np.isfinite(problem.time_s[op, rank]):
            return f"rank {rank} can't run {problem.names[op]}"
    place: dict[str, int] = {}
    for op, (label, rank) in enumerate(zip(problem.labels, assignment, strict=True)):
        if label is not None and place.setdefault(label, rank) != rank:
            return f"{problem.names[op]} is not with the others of {label}"
    memory = loads(problem, assignment).memory_bytes
    for rank in map(int, np.flatnonzero(memory > problem.capacity_bytes)):
        return f"rank {rank} holds {memory[rank]:.0f} bytes of {problem.capacity_bytes[rank]:.0f}"
    return _not_convex(problem, assignment, order) if problem.goal.contiguous else ""


def _not_convex(problem: Problem, assignment: Sequence[int], order: Order | None) -> str:
    """The first rank whose forward or backward part a path leaves and enters again."""
    order = order or make_order(problem.producers, problem.readers)
    for rank in sorted(set(assignment)):
        part = mask_of(op for op, place in enumerate(assignment) if place == rank)
        for direction in directions(problem):
            if between(order, part & direction) & ~part:
                return f"a path leaves the part of rank {rank} and comes back"
    return ""
