"""What a concrete plan costs, rank by rank: the numbers that the simulator plays the program with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RankCosts:
    """What one rank pays for one stage under its share of the rows.

    Seconds of one microbatch without messages to other stages, except ``update_s`` (once a step); ``beside_s`` are those of
    forward and backward that another execution could hide, for ZeRO's messages; ``adding_s`` those of the backward that add its
    gradients to the ones before.

    Bytes on this device. While it runs the rank holds ``static_bytes``, its rows of the batch, ``inflight_bytes`` for every
    microbatch between its F and the end of its B, and ``transient_bytes`` during any F or B; during the update ``static_bytes``
    and ``update_bytes``. Of ``static_bytes``, ``gradient_bytes`` come in the first B of a step. What is needed in its first and
    in its last B, beside gradients that were there before, is in ``backward_bytes`` by (first, last); while gradients are summed
    ``reduce_bytes`` are. ``capacity_bytes`` is the device's memory less the framework's reserve.
    """

    rank: int
    stage: int
    forward_s: float
    backward_s: float  # with the forward once more under recomputation
    update_s: float
    static_bytes: int
    inflight_bytes: int
    transient_bytes: int
    update_bytes: int
    capacity_bytes: int
    beside_s: tuple[float, float] = (0.0, 0.0)
    adding_s: float = 0.0
    gradient_bytes: int = 0
    backward_bytes: Mapping[tuple[bool, bool], int] = field(default_factory=dict, hash=False)
    reduce_bytes: int = 0
    batch_bytes: int = 0

    def backward_needs(self, *, first: bool, last: bool) -> int:
        """Bytes beside what is in flight, while a B of the step runs."""
        return self.backward_bytes.get((first, last), self.transient_bytes)

    def peak_bytes(self, held: int, microbatches: int) -> int:
        """The most in a step with up to ``held`` microbatches in flight, without messages."""
        alone = microbatches == 1
        before = held * self.inflight_bytes + max(self.transient_bytes, self.backward_needs(first=True, last=alone))
        after = min(held, microbatches - 1) * self.inflight_bytes + self.transient_bytes
        ends = (
            self.reduce_bytes
            if alone
            else max(self.reduce_bytes, self.inflight_bytes + self.backward_needs(first=False, last=True))
        )
        return (
            self.static_bytes
            + self.batch_bytes
            + max(before - self.gradient_bytes, 0 if alone else after, ends, self.update_bytes)
        )


@dataclass(frozen=True, slots=True)
class Reduction:
    """A sum of gradients once a step, after the last backward of all its ranks: over the replicas of one stage, or over those
    of every stage that shares a tied parameter (``stages`` has several).
    """

    stages: tuple[int, ...]
    ranks: tuple[int, ...]
    nbytes: int
    seconds: float
    handling_s: float = 0.0  # that it takes from a backward beside which it runs


@dataclass(frozen=True)
class StageCosts:
    """All of a plan: ``of[stage, rank]``, and its gradient reductions (none where a stage has one replica and no tie)."""

    of: Mapping[tuple[int, int], RankCosts]
    reductions: tuple[Reduction, ...]
