"""Two plans side by side: what moved, and what it changes in time, memory and bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from autopart.explain.sent import Sent, sent
from autopart.planner.meshes import Index
from autopart.planner.score import Score
from autopart.plans import Plan


@dataclass(frozen=True)
class Side:
    """A plan in numbers. ``message_bytes`` go between stages in a step, values and gradients; ``network_bytes`` of them between
    nodes; ``collectives`` are beside them. ``fullest``: peak bytes by device type.
    """

    name: str
    step_time_s: float
    breakdown: Mapping[str, float]
    microbatches: int
    message_bytes: int
    network_bytes: int
    collectives: Sent
    fullest: Mapping[str, int]
    peak_bytes: Mapping[int, int]

    @property
    def sent_bytes(self) -> int:
        """By all ranks in a step."""
        return self.message_bytes + self.collectives.total


@dataclass(frozen=True, slots=True)
class Moved:
    """Consecutive blocks that run on other ranks than before."""

    blocks: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """Of a rank, in a step; 0 where it is idle."""

    rank: int
    before: int
    after: int


@dataclass(frozen=True)
class Difference:
    before: Side
    after: Side
    moved: tuple[Moved, ...]
    samples: tuple[Samples, ...]


def difference(names: tuple[str, str], before: Score, after: Score, indices: tuple[Index, Index]) -> Difference:
    """Of two plans as they would run; blocks are those that both have."""
    sides = [_side(name, scored, index) for name, scored, index in zip(names, (before, after), indices, strict=True)]
    return Difference(
        sides[0], sides[1], tuple(moved_blocks(before.plan, after.plan)), tuple(changed_samples(before.plan, after.plan))
    )


def _side(name: str, scored: Score, index: Index) -> Side:
    plan, cluster, peaks = scored.plan, index.cluster, scored.timeline.peak_bytes
    types = dict.fromkeys(cluster.device(rank).name for rank in sorted(peaks))
    every = list(scored.timeline.messages)
    outside = [each for each in every if cluster.ranks[each.sender].node != cluster.ranks[each.receiver].node]
    simulated = scored.program.microbatches  # of very many microbatches only some are; all send alike
    messages, network = (sum(m.nbytes for m in each) * plan.schedule.microbatches // simulated for each in (every, outside))
    return Side(
        name=name,
        step_time_s=scored.step_s,
        breakdown=dict(scored.breakdown),
        microbatches=plan.schedule.microbatches,
        message_bytes=messages,
        network_bytes=network,
        collectives=sent(scored, index),
        fullest={device: max(peak for rank, peak in peaks.items() if cluster.device(rank).name == device) for device in types},
        peak_bytes=dict(sorted(peaks.items())),
    )


def moved_blocks(before: Plan, after: Plan) -> Iterator[Moved]:
    was, now = _ranks(before), _ranks(after)
    common = [name for name in was if name in now]
    for (old, new), names in groupby(common, key=lambda name: (was[name], now[name])):
        if old != new:
            yield Moved(tuple(names), old, new)


def _ranks(plan: Plan) -> dict[str, tuple[int, ...]]:
    """By block, in the model's order."""
    return {name: tuple(sorted(stage.ranks)) for stage in plan.stages for name in stage.blocks}


def changed_samples(before: Plan, after: Plan) -> Iterator[Samples]:
    was, now = _shares(before), _shares(after)
    for rank in sorted(was.keys() | now.keys()):
        if was.get(rank, 0) != now.get(rank, 0):
            yield Samples(rank, was.get(rank, 0), now.get(rank, 0))


def _shares(plan: Plan) -> dict[int, int]:
    """Samples of a step by rank."""
    return {rank: stage.share_of(rank) * plan.schedule.microbatches for stage in plan.stages for rank in stage.ranks}
