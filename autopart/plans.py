"""The plan: which blocks run on which ranks, how samples are shared, what it is expected to cost. See docs/schema/."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "rmsprop", "adagrad")
PRECISIONS = ("float32", "float64", "bfloat16")
ZERO_LEVELS = (0, 1, 2, 3)  # 1: replicas share optimizer state out among themselves, 2: gradients too, 3: parameters too
PLACE = r"(R|P|-|S\(\d+(/\d+)?(:\d+)?\))"
LAYOUT = re.compile(rf"{PLACE}( {PLACE}| ->)*")
"""A layout as text: how an op reads and makes its values, or how one value lies."""


def divisors(batch_size: int) -> tuple[int, ...]:
    """The numbers of equal microbatches that a batch can be cut into, ascending."""
    small = [n for n in range(1, math.isqrt(batch_size) + 1) if batch_size % n == 0]
    return tuple(sorted({*small, *(batch_size // n for n in small)}))


@dataclass(frozen=True, slots=True)
class ModelRef:
    """The model a plan is for; ``digest`` is of its graph, "" in a plan written by hand."""

    path: str
    factory: str = "model"
    digest: str = ""
    blocks: int = 0
    parameters: int = 0


@dataclass(frozen=True, slots=True)
class ClusterRef:
    path: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for beside the model and the cluster. ``batch_norm``: "global" equals one device (one microbatch,
    statistics over all ranks); "local" takes each rank's microbatch by itself.
    """

    optimizer: str = "adamw"
    precision: str = "float32"  # float32, float64, bfloat16 (autocast over float32 parameters)
    batch_norm: str = "global"


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str  # "1f1b" or "gpipe"
    microbatches: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Consecutive blocks on a mesh of ranks (data x tensor, row major: rank of replica d, column t is ``ranks[d * tensor + t]``).

    ``shares[d]`` is the number of samples that replica d takes of every microbatch; ``tensor_shares`` are the weights by which
    the columns of a replica share out what is split over them (empty: evenly). ``layouts`` say how ops are split.
    """

    index: int
    blocks: tuple[str, ...]
    ranks: tuple[int, ...]
    shares: tuple[int, ...]
    data: int = 1
    tensor: int = 1
    zero: int = 0
    recompute: bool = False
    layouts: Mapping[str, str] = field(default_factory=dict)
    tensor_shares: tuple[int, ...] = ()

    def place(self, rank: int) -> tuple[int, int]:
        """Replica and column of a rank."""
        return divmod(self.ranks.index(rank), self.tensor)

    def share_of(self, rank: int) -> int:
        """Samples of every microbatch that go through a rank: all columns of a replica see the same."""
        return self.shares[self.place(rank)[0]]

    def column(self, index: int) -> tuple[int, ...]:
        """Ranks of a column, by replica."""
        return self.ranks[index :: self.tensor]

    def replica(self, index: int) -> tuple[int, ...]:
        """Ranks of a replica, by column."""
        return self.ranks[index * self.tensor : (index + 1) * self.tensor]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the plan is expected to cost; seconds and bytes.

    ``step_time_s`` is simulated. ``formula_s``, ``lower_bound_s`` and ``gap`` belong to the planner's formula; no execution of
    the schedule can be faster than ``schedule_bound_s``.
    """

    step_time_s: float
    formula_s: float
    lower_bound_s: float
    gap: float
    schedule_bound_s: float
    breakdown: Mapping[str, float]
    peak_bytes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a user would do instead: its simulated step, or why it can't be done."""

    name: str
    step_time_s: float | None = None
    infeasible: str = ""


@dataclass(frozen=True, slots=True)
class Search:
    """What the planner was asked, and what came of it, before anybody edited the plan.

    ``lower_bound_s`` bounds the formula of every plan of the problem with this digest that has these ``pins`` (by name: stages,
    data, microbatches, tensor, zero, layouts); ``step_time_s`` is the simulated step of the plan that was chosen.
    """

    problem: str
    pins: Mapping[str, Any]
    step_time_s: float
    lower_bound_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    model: ModelRef
    cluster: ClusterRef
    batch_size: int
    settings: Settings
    schedule: Schedule
    stages: tuple[Stage, ...]
    unused_ranks: tuple[int, ...] = ()
    estimate: Estimate | None = None
    baselines: tuple[Baseline, ...] = ()
    search: Search | None = None

    @property
    def microbatch_size(self) -> int:
        return self.batch_size // self.schedule.microbatches


def problem_digest(plan: Plan) -> str:
    """Of what a plan is for: model, cluster, batch size, settings, schedule. Plans of equal problems can be compared, and bounds
    carried over. ``plan`` has the digests of its model and cluster.
    """
    problem = [plan.model.digest, plan.cluster.digest, plan.batch_size, asdict(plan.settings), plan.schedule.name]
    return hashlib.sha256(json.dumps(problem).encode()).hexdigest()[:16]
