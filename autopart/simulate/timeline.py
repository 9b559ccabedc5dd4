"""What a simulation says: a step of the program as it would run, in seconds from its start, and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from autopart.program.program import Action, Kind

CAUSES = ("forward", "backward", "transfer", "bubble", "reduce", "update")
"""What a rank's time goes to. ``transfer`` is waiting while the message is on its way or waits for a busy uplink, ``bubble``
waiting for another rank to compute, or for the others at the end; ``reduce`` what gradient sums add after the last backward."""

CAUSE_OF = {Kind.FORWARD: "forward", Kind.BACKWARD: "backward", Kind.REDUCE: "reduce", Kind.UPDATE: "update"}


class Event(NamedTuple):
    """A computation (F, B, S or U) of one rank."""

    rank: int
    action: Action
    start_s: float
    end_s: float


class Message(NamedTuple):
    """What a rank sends another after one computation. From ``ready_s`` it waits for a free uplink, at ``start_s`` it leaves."""

    sender: int
    receiver: int
    microbatch: int
    backward: bool
    nbytes: int
    ready_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Timeline:
    """``memory[rank]`` is (time, bytes from then on); ``seconds[rank]`` has every cause of ``CAUSES`` and sums to ``step_s``."""

    step_s: float
    events: tuple[Event, ...]
    messages: tuple[Message, ...]
    memory: Mapping[int, tuple[tuple[float, int], ...]]
    peak_bytes: Mapping[int, int]
    seconds: Mapping[int, Mapping[str, float]]

    @property
    def idle_s(self) -> Mapping[int, float]:
        """What each rank waits, for messages or for others."""
        return {rank: causes["transfer"] + causes["bubble"] for rank, causes in self.seconds.items()}

    @property
    def breakdown(self) -> Mapping[str, float]:
        """Where the step of the rank that waits least goes; the values sum to ``step_s``."""
        idle_s = self.idle_s
        return self.seconds[min(idle_s, key=lambda rank: (idle_s[rank], rank))]
