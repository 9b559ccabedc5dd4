"""What is to be decided, as numbers: times of ops by rank, bytes, links. No names of files, no solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autopart.cluster.cluster import Cluster
from autopart.profiled.profile import Profile
from cost_models.memory import usable_bytes

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Objective = Literal["step", "throughput", "latency"]
OBJECTIVES: tuple[Objective, ...] = ("step", "throughput", "latency")


@dataclass(frozen=True)
class Goal:
    """What is minimised, and whether a rank's part must be convex. ``microbatches`` counts in ``step`` alone."""

    objective: Objective = "step"
    contiguous: bool = True
    microbatches: int = 1


@dataclass(frozen=True, eq=False)
class Problem:
    """Ops 0..n-1 and ranks 0..R-1. Every op goes to one rank, ops of equal label to the same one.

    The tensor of an op crosses a boundary once for each rank other than its own that reads it; from rank r to rank s it takes
    ``latency_s[r, s] + output_bytes / bandwidth[r, s]``.
    """

    names: tuple[str, ...]
    time_s: Array  # by op and rank; infinite where the rank's type can't run the op
    memory_bytes: Array  # by op
    output_bytes: Array  # by op
    backward: Flags  # by op
    labels: tuple[str | None, ...]  # by op
    edges: tuple[tuple[int, int], ...]
    kinds: Ints  # by rank: its device type, by first appearance
    capacity_bytes: Array  # by rank
    latency_s: Array  # by two ranks
    bandwidth_bytes_per_s: Array  # by two ranks; infinite on the diagonal
    goal: Goal = Goal()

    @property
    def count(self) -> int:
        return len(self.names)

    @property
    def ranks(self) -> int:
        return len(self.kinds)

    @cached_property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """By op: the ops that read its output, ascending."""
        return _neighbours(self.count, self.edges)

    @cached_property
    def producers(self) -> tuple[tuple[int, ...], ...]:
        """By op: the ops whose output it reads, ascending."""
        return _neighbours(self.count, [(target, source) for source, target in self.edges])

    @cached_property
    def transfer_s(self) -> Array:
        """By op and two ranks: seconds of its output from one to the other; zero on the diagonal."""
        seconds: Array = self.latency_s + self.output_bytes[:, None, None] / self.bandwidth_bytes_per_s
        return seconds

    @cached_property
    def kind_ranks(self) -> tuple[tuple[int, ...], ...]:
        """By device type: its ranks."""
        return tuple(tuple(map(int, np.flatnonzero(self.kinds == kind))) for kind in range(int(self.kinds.max()) + 1))

    @cached_property
    def kind_time_s(self) -> Array:
        """By op and device type."""
        return self.time_s[:, [ranks[0] for ranks in self.kind_ranks]]

    @cached_property
    def kind_transfer_s(self) -> Array:
        """By op and device type: the least that a rank of the type pays to send its output to, or to get it from, any other."""
        paths = self.transfer_s + np.where(np.eye(self.ranks, dtype=bool), np.inf, 0.0)
        best = np.minimum(paths.min(axis=1), paths.min(axis=2))  # by op and rank
        least: Array = np.stack([best[:, ranks].min(axis=1) for ranks in self.kind_ranks], axis=1)
        return np.where(np.isfinite(least), least, 0.0)


def _neighbours(count: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    found: list[set[int]] = [set() for _ in range(count)]
    for source, target in pairs:
        found[source].add(target)
    return tuple(tuple(sorted(each)) for each in found)


def make_problem(profile: Profile, cluster: Cluster, goal: Goal) -> Problem:
    """The numbers of a profile on a cluster."""
    ranks = range(len(cluster.ranks))
    types = [cluster.device(rank).name for rank in ranks]
    first = list(dict.fromkeys(types))
    links = [[None if a == b else cluster.link(a, b) for b in ranks] for a in ranks]
    return Problem(
        names=tuple(op.name for op in profile.ops),
        time_s=np.array([[op.time_s.get(name, np.inf) for name in types] for op in profile.ops], dtype=float),
        memory_bytes=np.array([float(op.memory_bytes) for op in profile.ops]),
        output_bytes=np.array([float(op.output_bytes) for op in profile.ops]),
        backward=np.array([op.backward for op in profile.ops]),
        labels=tuple(op.colocate for op in profile.ops),
        edges=profile.edges,
        kinds=np.array([first.index(name) for name in types]),
        capacity_bytes=np.array([float(usable_bytes(cluster.device(rank))) for rank in ranks]),
        latency_s=np.array([[link.latency_s if link else 0.0 for link in row] for row in links]),
        bandwidth_bytes_per_s=np.array([[link.bandwidth_bytes_per_s if link else np.inf for link in row] for row in links]),
        goal=goal,
    )
