"""The planner's problem: numbers only, no torch, no solver.

A chain of n blocks is cut into consecutive intervals [i, j); each becomes a stage under one *option*: which devices, how
many samples each, split inside ops or not, recomputation or not. Everything that an option costs is a sum over its blocks, so
that prefix sums price any interval.

A graph that branches has several orders, each a chain of the same blocks: a setting belongs to one of them. They are all
solved at once, so that the bound is of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Equal devices of one group: replicas of ``tensor`` devices each, all of a replica in one node. ``samples[i]`` of every
    microbatch for the i-th replica.

    Parts with ``weights`` are *joined*: the columns of one replica are spread over all of them, ``tensor`` of them are here, by
    these weights. Each then has all the replicas and all the samples. ``nodes`` has the replicas on each node, most first, where
    these are not as few nodes as hold them.
    """

    group: int
    samples: tuple[int, ...]
    tensor: int = 1
    weights: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()

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
    boundary_s: Array  # [n + 1] a stage [i, j) pays [i] + [j], half of moving the cut values and gradients; 0 at both ends
    sync_s: Array  # [n] gradient reduction and optimizer update, once a step
    capacity_bytes: Array  # [p] memory less what is there whatever the blocks
    static_bytes: Array  # [p, n] parameters, gradients, optimizer state
    inflight_bytes: Array  # [p, n] kept for every microbatch in flight
    transient_bytes: Array  # [p, n] needed only while the block runs: the largest counts, once
    output_bytes: Array | None = None  # [p, n + 1] a stage [i, j) keeps [:, j] more for every microbatch in flight; 0 at n
    overlap: Overlap | None = None  # None: nothing of sync_s is hidden
    end_s: Array | None = None  # [n + 1] a stage [i, j) pays [j] more: whole values of its columns, what it makes for itself
    tied_bytes: tuple[float, ...] | None = None  # what holding both ends of a tie saves here, by tie; None: as the ties say
    slots: tuple[int, ...] = ()  # taken of each kind that the problem has, for nodes that devices must share (``packing``)
    place: int = 0  # where its devices are, by number: a row of ``Routes``
    zero: int = 0
    layouts: Mapping[str, str] = field(default_factory=dict)

    def hand_on_s(self, stop: int) -> float:
        """What a stage that ends at ``stop`` pays for it beside the message."""
        return float(self.end_s[stop]) if self.end_s is not None else 0.0

    def saved_bytes(self, ties: Sequence[Tie]) -> tuple[float, ...]:
        """Static bytes that a stage on these devices saves where it holds both blocks of a tie."""
        return tuple(tie.static_bytes for tie in ties) if self.tied_bytes is None else self.tied_bytes

    def stage_s(self, start: int, stop: int) -> float:
        """Seconds of a microbatch in a stage [start, stop), whatever its neighbours."""
        inside = float(self.time_s[:, start:stop].sum(axis=1).max())
        return inside + float(self.boundary_s[start] + self.boundary_s[stop]) + self.hand_on_s(stop)

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


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the blocks: by place their classes, and the ties between them."""

    kinds: tuple[int, ...]
    ties: tuple[Tie, ...] = ()


@dataclass(frozen=True, eq=False)
class Routes:
    """What moving a microbatch takes from a stage at one place to the next stage at another: as long as the slower of both ends.

    Each of the two stages pays half of what its own end takes (``Option.boundary_s``). What the way takes beyond both
    halves is *extra*, and each pays half of it too.
    """

    latency_s: Array  # [places, places] of a message
    byte_s: Array  # [places, places] seconds for every byte that a whole microbatch has there
    messages: Array  # [n + 1] one after the other: 2 with gradients; 0 at both ends
    nbytes: Array  # [n + 1] of a whole microbatch, values and gradients

    def seconds(self, before: int, after: int, boundary: int) -> float:
        """From a stage at place ``before`` to one at place ``after``, both ways."""
        fixed, each = self.latency_s[before, after], self.byte_s[before, after]
        return float(self.messages[boundary] * fixed + self.nbytes[boundary] * each)

    def extra_s(self, before: Option, after: Option, boundary: int) -> float:
        """What two stages with a boundary between them pay together beyond what each pays by itself."""
        own_s = float(before.boundary_s[boundary] + after.boundary_s[boundary])
        return max(0.0, self.seconds(before.place, after.place, boundary) - own_s)


@dataclass(frozen=True, eq=False)
class Setting:
    """A schedule with its number of microbatches, and the options it leaves. 1f1b holds min(M, j) microbatches in
    flight at position j counted from the end; gpipe holds all M. ``order``: of the blocks, 0 is the problem's own. Without
    ``routes`` nothing is extra.
    """

    schedule: str
    microbatches: int
    options: tuple[Option, ...]
    order: int = 0
    routes: Routes | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What all stages together take beside the devices themselves, in whole units: ``each[g]`` for every device of group g that
    works in a stage, at most ``limit`` of them. Every unit counts ``unit_s`` more seconds in what a solver minimises.
    """

    each: tuple[int, ...]
    limit: int
    unit_s: float = 0.0

    def taken(self, option: Option) -> int:
        """By a stage under this option."""
        return sum(part.devices * self.each[part.group] for part in option.parts)


@dataclass(frozen=True, eq=False)
class Problem:
    """``kinds[b]`` is the class of block b: intervals of equal kinds cost the same under every option. ``others`` are the orders
    of the blocks beside that of ``kinds`` and ``ties``.
    """

    kinds: tuple[int, ...]
    devices: tuple[int, ...]  # of each group
    settings: tuple[Setting, ...]
    ties: tuple[Tie, ...] = ()
    stages: int | None = None  # pinned number of stages
    slots: tuple[int, ...] = ()  # beside devices, another limit of the same sort
    budgets: tuple[Budget, ...] = ()
    others: tuple[Order, ...] = ()
    least: tuple[int, ...] = ()  # devices of each group that a pipeline takes at least; empty: none

    @property
    def blocks(self) -> int:
        return len(self.kinds)

    @property
    def limits(self) -> tuple[int, ...]:
        """Devices of each group, slots, units of each budget: what all stages together take at most."""
        return (*self.devices, *self.slots, *(budget.limit for budget in self.budgets))

    def taken(self, option: Option) -> tuple[int, ...]:
        """What a stage under this option takes of them."""
        return (*option.usage, *option.slots, *(budget.taken(option) for budget in self.budgets))

    def under(self, setting: Setting) -> Problem:
        """With the blocks in the order of a setting."""
        if not setting.order:
            return self
        order = self.others[setting.order - 1]
        return replace(self, kinds=order.kinds, ties=order.ties)


@dataclass(frozen=True, slots=True)
class Choice:
    """One stage of a solution: blocks [start, stop) under option ``option`` of the solution's setting."""

    start: int
    stop: int
    option: int


def step_s(setting: Setting, choices: Sequence[Choice]) -> float:
    """The formula, sum t + (M - 1) max t + max g, for stages in chain order."""
    options = [setting.options[choice.option] for choice in choices]
    times = [option.stage_s(choice.start, choice.stop) for option, choice in zip(options, choices, strict=True)]
    for i, extra_s in enumerate(extras_s(setting, choices)):
        times[i] += extra_s / 2
        times[i + 1] += extra_s / 2
    syncs = [option.exposed_s(choice.start, choice.stop) for option, choice in zip(options, choices, strict=True)]
    return sum(times) + (setting.microbatches - 1) * max(times) + max(syncs)


def extras_s(setting: Setting, choices: Sequence[Choice]) -> list[float]:
    """What each boundary between stages costs beyond what the stages pay by themselves."""
    if setting.routes is None:
        return [0.0] * (len(choices) - 1)
    of, routes = setting.options, setting.routes
    return [routes.extra_s(of[a.option], of[b.option], a.stop) for a, b in pairwise(choices)]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A feasible pipeline in chain order, and its step by the formula: sum t + (M-1) max t + max g (``Option.exposed_s``).
    ``surcharge_s`` is what the problem's budgets add to it in the objective.
    """

    setting: int
    choices: tuple[Choice, ...]
    step_s: float
    surcharge_s: float = 0.0

    @property
    def objective_s(self) -> float:
        return self.step_s + self.surcharge_s


@dataclass(frozen=True, slots=True)
class Solution:
    """``candidates`` best first (the first is the incumbent; none: nothing was worth finding); the objective of every plan of the
    problem is at least ``lower_bound_s``: its step, and the surcharge of the budgets. ``proof`` says how it ended: "gap",
    "time limit", "infeasible", "interrupted"; or "rounds", short of the gap, where too many choices of stages differ in little
    but what neighbours pay.
    """

    candidates: tuple[Candidate, ...]
    lower_bound_s: float
    proof: str

    @property
    def gap(self) -> float:
        if not self.candidates:
            return float("inf")
        best = self.candidates[0].objective_s
        return max(0.0, (best - self.lower_bound_s) / best)
