"""The planner's problem: numbers only, no torch, no solver.

A chain of n blocks is cut into consecutive intervals [i, j); each becomes a stage under one *option*: which devices, how
many samples each, split inside ops or not, recomputation or not. Everything that an option costs is a sum over its blocks, so
that prefix sums price any interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """Equal devices of one group: replicas of ``tensor`` devices each, all of a replica in one node. ``samples[i]`` of every
    microbatch for the i-th replica.

    Parts with ``weights`` are *joined*: the columns of one replica are spread over all of them, ``tensor`` of them are here, by
    these weights. Each then has all the replicas and all the samples.
    """

    group: int
    samples: tuple[int, ...]
    tensor: int = 1
    weights: tuple[int, ...] = ()

    @property
    def devices(self) -> int:
        return len(self.samples) * self.tensor


def replicas_of(parts: Sequence[Part]) -> tuple[int, ...]:
    """Samples of every replica."""
    return parts[0].samples if parts[0].weights else tuple(samples for part in parts for samples in part.samples)


def columns_of(parts: Sequence[Part]) -> int:
    """Of every replica."""
    return sum(part.tensor for part in parts) if parts[0].weights else parts[0].tensor


@dataclass(frozen=True, eq=False)
class Overlap:
    """What of ``sync_s`` runs beside the last backward: a reduction of gradients in buckets, all but the last of them hidden
    as far as the backward lasts. ``bucket_s`` is the time of one full bucket.
    """

    reduce_s: Array  # [n] the part of sync_s that can be hidden
    backward_s: Array  # [n] of one microbatch, on the part that has it shortest
    bucket_s: float

    def hidden_s(self, reduce_s: Array, backward_s: Array) -> Array:
        """Of stages whose blocks sum up to these reductions and backwards."""
        last = 1.0 / np.maximum(1.0, reduce_s / self.bucket_s)
        found: Array = np.minimum(reduce_s, backward_s) * (1.0 - last)
        return found


@dataclass(frozen=True, eq=False)
class Option:
    """One way to run a stage, whatever blocks it holds, at a fixed number of microbatches. All its parts have one tensor degree,
    or all are joined; ``zero`` and ``layouts`` are for the plan, what they cost is in the numbers.

    n blocks; p lines, one for each part or more (a part may have several lines of memory, for different moments of a step).
    Seconds per microbatch, on the busiest device of each part; bytes per device, the fullest of each part.
    """

    parts: tuple[Part, ...]
    recompute: bool
    usage: tuple[int, ...]  # devices taken of each group
    time_s: Array  # [p, n] forward and backward (and forward again under recomputation)
    boundary_s: Array  # [n + 1] a stage [i, j) pays [i] + [j], its side of moving the cut values and gradients; 0 at both ends
    sync_s: Array  # [n] gradient reduction and optimizer update, once a step
    capacity_bytes: Array  # [p] memory less what is there whatever the blocks
    static_bytes: Array  # [p, n] parameters, gradients, optimizer state
    inflight_bytes: Array  # [p, n] kept for every microbatch in flight
    transient_bytes: Array  # [p, n] needed only while the block runs: the largest counts, once
    output_bytes: Array | None = None  # [p, n + 1] a stage [i, j) keeps [:, j] more for every microbatch in flight; 0 at n
    overlap: Overlap | None = None  # None: nothing of sync_s is hidden
    end_s: Array | None = None  # [n + 1] a stage [i, j) pays [j] more: what it hands on is brought together from its columns
    tied_bytes: tuple[float, ...] | None = None  # what holding both ends of a tie saves here, by tie; None: as the ties say
    zero: int = 0
    layouts: Mapping[str, str] = field(default_factory=dict)

    def hand_on_s(self, stop: int) -> float:
        """What a stage that ends at ``stop`` pays for it beside the message."""
        return float(self.end_s[stop]) if self.end_s is not None else 0.0

    def saved_bytes(self, ties: Sequence[Tie]) -> tuple[float, ...]:
        """Static bytes that a stage on these devices saves where it holds both blocks of a tie."""
        return tuple(tie.static_bytes for tie in ties) if self.tied_bytes is None else self.tied_bytes

    def exposed_s(self, start: int, stop: int) -> float:
        """What is left of the reduction and update of a stage [start, stop) after the last backward: its g."""
        total = float(self.sync_s[start:stop].sum())
        if self.overlap is None:
            return total
        own = (self.overlap.reduce_s[start:stop].sum(), self.overlap.backward_s[start:stop].sum())
        return total - float(self.overlap.hidden_s(*own))


@dataclass(frozen=True, slots=True)
class Tie:
    """Blocks ``first`` < ``second`` share a parameter: where one stage holds both, its static bytes count once.
    ``static_bytes`` is by what one copy takes on a device.
    """

    first: int
    second: int
    static_bytes: float


@dataclass(frozen=True, eq=False)
class Setting:
    """A schedule with its number of microbatches, and the options it leaves. 1f1b holds min(M, j) microbatches in
    flight at position j counted from the end; gpipe holds all M.
    """

    schedule: str
    microbatches: int
    options: tuple[Option, ...]


@dataclass(frozen=True, eq=False)
class Problem:
    """``kinds[b]`` is the class of block b: intervals of equal kinds cost the same under every option."""

    kinds: tuple[int, ...]
    devices: tuple[int, ...]  # of each group
    settings: tuple[Setting, ...]
    ties: tuple[Tie, ...] = ()
    stages: int | None = None  # pinned number of stages
    least: tuple[int, ...] = ()  # devices of each group that a pipeline takes at least; empty: none

    @property
    def blocks(self) -> int:
        return len(self.kinds)


@dataclass(frozen=True, slots=True)
class Choice:
    """One stage of a solution: blocks [start, stop) under option ``option`` of the solution's setting."""

    start: int
    stop: int
    option: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feasible pipeline in chain order, and its step by the formula: sum t + (M-1) max t + max g (``Option.exposed_s``)."""

    setting: int
    choices: tuple[Choice, ...]
    step_s: float


@dataclass(frozen=True, slots=True)
class Solution:
    """``candidates`` best first (the first is the incumbent; none: infeasible); every plan of the problem costs at least
    ``lower_bound_s``. ``proof`` says how it ended: "gap", "time limit", "infeasible", "interrupted".
    """

    candidates: tuple[Candidate, ...]
    lower_bound_s: float
    proof: str

    @property
    def gap(self) -> float:
        if not self.candidates:
            return float("inf")
        best = self.candidates[0].step_s
        return max(0.0, (best - self.lower_bound_s) / best)
