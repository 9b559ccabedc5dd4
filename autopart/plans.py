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
OBJECTIVES = ("step", "cost", "energy")
GRANULARITIES = ("op", "block", "layer")  # where stages may be cut: anywhere, at cheap cuts, between repeated units
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
class NodeRef:
    """A node by its name, and its devices, which are ranks that follow each other."""

    name: str
    devices: int
    type: str


@dataclass(frozen=True, slots=True)
class ClusterRef:
    """``nodes``, in the order of ranks, say what each rank was, whatever becomes of the file; () in a plan by hand."""

    path: str
    digest: str = ""
    nodes: tuple[NodeRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for beside the model and the cluster. ``batch_norm``: "global" equals one device (one microbatch,
    statistics over all ranks); "local" takes each rank's microbatch by itself.
    """

    optimizer: str = "adamw"
    precision: str = "float32"  # float32, float64, bfloat16 (autocast over float32 parameters)
    batch_norm: str = "global"
    granularity: str = "block"  # what a block of a plan is: see GRANULARITIES


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str  # "1f1b" or "gpipe"
    microbatches: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks on a mesh of ranks (data x tensor, row major: rank of replica d, column t is ``ranks[d * tensor + t]``).

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
class Draw:
    """What a step takes: ``value`` in ``unit`` (a currency, or J), at ``rate`` (of that an hour, or W) while it lasts."""

    unit: str
    rate: float
    value: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan made for an ``objective`` beyond time takes. ``rate`` is the sum of what its devices draw, ``each`` of one by
    node entry; ``value`` is rate x simulated step. By the formula's step no plan that keeps ``step_limit_s`` takes less than
    ``lower_bound``; ``gap`` is of rate x ``formula_s``, NaN where that step is beyond the limit.
    """

    objective: str
    unit: str
    rate: float
    value: float
    lower_bound: float
    gap: float
    step_limit_s: float | None
    each: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """The fastest plan found on so many ``devices``, ``types`` of them by name. No plan on as many has a formula below
    ``lower_bound_s``. ``cost`` and ``energy`` where all prices or powers are known.
    """

    devices: int
    types: Mapping[str, int]
    step_time_s: float
    formula_s: float
    lower_bound_s: float
    gap: float
    cost: Draw | None = None
    energy: Draw | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """How the search for the plan ended: "gap" (at the one asked for), "time limit", "interrupted", "rounds" (short of the gap,
    after those over what only neighbours pay); what its bound is of.
    """

    ended: str
    space: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the plan is expected to cost; seconds and bytes.

    ``step_time_s`` is simulated. ``formula_s``, ``lower_bound_s`` and ``gap`` belong to the planner's formula; no execution of
    the schedule can be faster than ``schedule_bound_s``. ``busy_s`` is what each rank works in the simulated step; empty in the
    plans of earlier versions.
    """

    step_time_s: float
    formula_s: float
    lower_bound_s: float
    gap: float
    schedule_bound_s: float
    breakdown: Mapping[str, float]
    peak_bytes: Mapping[int, int]
    busy_s: Mapping[int, float] = field(default_factory=dict)
    cost: Cost | None = None
    proof: Proof | None = None  # None where nobody searched


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a user would do instead: its simulated step, or why it can't be done; what a step takes by the objective, if that is
    not time.
    """

    name: str
    step_time_s: float | None = None
    infeasible: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """What a rank takes of the training state of these blocks from a rank that has it; None: only a checkpoint has."""

    source: int | None
    nbytes: int
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RankMoves:
    """Of a used rank: which rank its device was (None: it was not there), what it has already of what it needs, and the rest."""

    rank: int
    was: int | None
    keeps_bytes: int
    takes: tuple[Take, ...] = ()


@dataclass(frozen=True, slots=True)
class Moves:
    """From the plan before to this one: parameters, buffers and the optimizer's state that ranks need and don't have.

    ``nbytes`` are all of them, ``checkpoint_bytes`` those that no device has any more; ``seconds`` what the busiest link takes
    at least for the others. Devices by name: "a0:1" is the second of node a0.
    """

    nbytes: int
    checkpoint_bytes: int
    seconds: float
    step_before_s: float | None
    kept: int
    lost: tuple[str, ...]
    new: tuple[str, ...]
    ranks: tuple[RankMoves, ...]


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
    front: tuple[FrontPoint, ...] = ()
    moves: Moves | None = None
    search: Search | None = None
    notes: tuple[str, ...] = ()  # what to know of the estimate: seconds that nobody measured

    @property
    def used_ranks(self) -> tuple[int, ...]:
        """Of all stages, ascending."""
        return tuple(sorted(rank for stage in self.stages for rank in stage.ranks))

    @property
    def microbatch_size(self) -> int:
        return self.batch_size // self.schedule.microbatches

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of all blocks in the order in which the stages hold them: the plan's order of the graph."""
        return tuple(name for stage in self.stages for name in stage.blocks)


def problem_digest(plan: Plan) -> str:
    """Of what a plan is for: model, cluster, batch size, settings, schedule. Plans of equal problems can be compared, and bounds
    carried over. ``plan`` has the digests of its model and cluster.
    """
    problem = [plan.model.digest, plan.cluster.digest, plan.batch_size, asdict(plan.settings), plan.schedule.name]
    return hashlib.sha256(json.dumps(problem).encode()).hexdigest()[:16]
