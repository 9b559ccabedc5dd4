"""The program: one static list of actions per rank, the same for the simulator and the executor.

Text form of a rank's list, one token an action: ``<2 1F0 >3`` receives from rank 2 what forward 0 of stage 1 needs,
runs it, sends its results to rank 3. B is backward, ``0S`` sums the gradients of stage 0, ``0U`` is the optimizer's update.
A receive belongs to the next F or B in the list, a send to the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from autopart.ir.graph import Dim
from autopart.sharding.placement import Placement, Shard


class Kind(Enum):
    """FORWARD and BACKWARD of one microbatch; SEND and RECEIVE the values (or gradients) of one; REDUCE gradients; UPDATE."""

    FORWARD = "F"
    BACKWARD = "B"
    SEND = ">"
    RECEIVE = "<"
    REDUCE = "S"
    UPDATE = "U"


@dataclass(frozen=True, slots=True)
class Action:
    """``stage`` and ``microbatch`` name the computation that a SEND follows or a RECEIVE precedes.

    ``backward`` says whether that computation is a B.
    ``peer`` is the other rank of a message, else -1; ``microbatch`` is -1 for REDUCE and UPDATE.
    """

    kind: Kind
    stage: int
    microbatch: int = -1
    peer: int = -1
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Transfer:
    """A value made in stage ``source`` and read in stage ``target`` (any later stage). ``shape`` is by samples."""

    value: str
    source: int
    target: int
    shape: tuple[Dim, ...]
    dtype: str
    placement: Placement
    differentiable: bool


@dataclass(frozen=True, slots=True)
class StageSpec:
    """What the runtime needs to know of a stage, which runs on a mesh of data times tensor ranks, row major.

    ``shares``: samples of a microbatch by replica; ``weights``: of the columns of a replica, by which they share out what
    is split over them (empty: evenly). ``inputs`` are names of graph inputs that the stage reads; ``parameters`` and
    ``buffers`` fully qualified names.
    """

    index: int
    ranks: tuple[int, ...]
    shares: tuple[int, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    buffers: tuple[str, ...] = ()
    recompute: bool = False
    random: bool = False  # it has dropout or another random op: seed before every forward
    tensor: int = 1
    weights: tuple[int, ...] = ()
    zero: int = 0

    def column(self, index: int) -> StageSpec:
        """The ranks of one column: replicas that share samples alone."""
        return replace(self, ranks=self.ranks[index :: self.tensor], tensor=1, weights=())

    def replica(self, index: int) -> tuple[int, ...]:
        """The ranks of one replica, in the order of columns."""
        return self.ranks[index * self.tensor : (index + 1) * self.tensor]

    def place(self, rank: int) -> tuple[int, int]:
        """Replica and column of a rank."""
        return divmod(self.ranks.index(rank), self.tensor)


@dataclass(frozen=True, slots=True)
class Program:
    """All of it. ``actions[rank]`` for every used rank. ``shards``: how parameters and buffers are split over the columns
    of their stages, by name; what is not named is held whole.
    """

    batch_size: int
    microbatches: int
    schedule: str
    stages: tuple[StageSpec, ...]
    transfers: tuple[Transfer, ...]
    actions: Mapping[int, tuple[Action, ...]]
    shards: Mapping[str, Shard] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a transfer that goes from one rank to another.

    ``rows`` samples, starting at ``source_start`` of the source rank's own rows and at ``target_start`` of the target's.
    For Replicate and Partial values the whole value goes, rows = 0.
    """

    transfer: Transfer
    source_rank: int
    target_rank: int
    source_start: int = 0
    target_start: int = 0
    rows: int = 0
