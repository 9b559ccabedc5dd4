"""Playing a program: the ranks' own action lists, in the time of a cost model.

How a list runs is what ``program/schedule.py`` says: a rank does one step after the other, waits for the step's messages,
computes, sends. Sends do not block. Receives are posted one step ahead, and a message starts when it is both sent and
posted. Gradient sums start while the last backward still runs: they go in buckets, the first as soon as its share of the
last backward is over on all ranks of the stage; sums over several stages follow when those stages' own are through.

On a CPU a message takes time from computing: every F and B is longer by what its rank spends on the messages that it waits for
and those that leave after it, the last backward by what the sums beside it take.

Memory: what is static, gradients from the end of the first B; the activations of every microbatch from the start of its F to
the end of its B; what an F, B, S or U needs while it runs; received values from their posting until F starts, received gradients
until B ends; sent gradients until a later message of the receiver proves that it took them, or the last B is over (sent values
are among the activations).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil

from autopart.cluster.cluster import Cluster
from autopart.pricing.costs import RankCosts, Reduction, StageCosts
from autopart.program.pieces import message_bytes, messages, nbytes
from autopart.program.program import Kind, Program
from autopart.program.reductions import BUCKET_BYTES
from autopart.program.steps import Step, places, split_steps
from autopart.simulate.network import Network, Parcel
from autopart.simulate.timeline import CAUSE_OF, CAUSES, Event, Message, Timeline

Key = tuple[int, int, bool, int]  # sender, receiver, backward, microbatch


def simulate(program: Program, costs: StageCosts, cluster: Cluster) -> Timeline:
    """One training step of a matched program."""
    run = _Run(program, costs, cluster)
    run.play()
    step_s = max(rank.now_s for rank in run.ranks.values())
    memory = {number: _levels(rank.changes) for number, rank in run.ranks.items()}
    for rank in run.ranks.values():
        rank.seconds["bubble"] += step_s - rank.now_s
    return Timeline(
        step_s=step_s,
        played=tuple(event for rank in run.ranks.values() for event in rank.events),
        sent=tuple(run.messages),
        memory=memory,
        peak_bytes={number: max(level for _, level in levels) for number, levels in memory.items()},
        seconds={number: rank.seconds for number, rank in run.ranks.items()},
    )


def _levels(changes: list[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Bytes held from each time on; of what happens at one time only the result."""
    changes.sort()
    level, found = 0, {}
    for time_s, change in changes:
        level += change
        found[time_s] = level
    return tuple(found.items())


@dataclass(slots=True)
class _Rank:
    """Where a rank stands. ``now_s`` is when its last step ended; ``missing`` counts what posted steps still wait for."""

    number: int
    costs: RankCosts
    steps: Sequence[Step]
    received_bytes: dict[bool, int]  # by direction, of one microbatch
    backwards: Sequence[int]  # the steps that are a B
    handling_s: dict[bool, float]  # likewise, what its messages take from computing
    at: int = 0
    now_s: float = 0.0
    missing: dict[int, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)
    sent: list[tuple[int, int]] = field(default_factory=list)  # peer and microbatch of gradients that it may not have taken
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0.0))


class _Run:
    """The state of a simulation; ``_heap`` holds calls by the time at which they are due."""

    def __init__(self, program: Program, costs: StageCosts, cluster: Cluster) -> None:
        self.messages: list[Message] = []
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = self._parcels = 0
        self._network = Network(cluster, self._schedule, self._delivered)
        self._nbytes = {back: message_bytes(program, backward=back) for back in (False, True)}
        self._places = {rank: places(actions) for rank, actions in program.actions.items()}
        self._handling_s = {back: _handling_s(program, cluster, back) for back in (False, True)}
        self._halves: dict[Key, int] = {}  # messages that are sent (-1) or posted (the receiver's step), but not both
        stage_of = {rank: stage.index for stage in program.stages for rank in stage.ranks}
        self.ranks = {rank: self._rank(program, costs, rank, stage_of[rank]) for rank in sorted(stage_of)}
        self._sums = _Sums(costs.reductions)

    def _rank(self, program: Program, costs: StageCosts, rank: int, stage: int) -> _Rank:
        received = {back: sum(size for pair, size in sizes.items() if pair[1] == rank) for back, sizes in self._nbytes.items()}
        handling_s = {back: each.get(rank, 0.0) for back, each in self._handling_s.items()}
        steps = split_steps(program.actions[rank])
        backwards = [number for number, step in enumerate(steps) if step.action.kind is Kind.BACKWARD]
        state = _Rank(rank, costs.of[stage, rank], steps, received, backwards, handling_s)
        held = state.costs.static_bytes + state.costs.batch_bytes
        state.changes.append((0.0, held - state.costs.gradient_bytes))
        return state

    def play(self) -> None:
        for rank in self.ranks.values():
            self._post(rank, 0, 0.0)
            self._begin(rank, 0.0)
        while self._heap:
            now_s, _, call, arguments = heappop(self._heap)
            call(*arguments, now_s)
        for rank in self.ranks.values():
            assert rank.at == len(rank.steps), f"rank {rank.number} waits for ever at {rank.steps[rank.at]}"

    def _schedule(self, time_s: float, call: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self._count += 1
        heappush(self._heap, (time_s, self._count, call, arguments))

    def _begin(self, rank: _Rank, now_s: float) -> None:
        """The step before is over: post the next step's receives, run this one once its messages are there."""
        rank.now_s = now_s
        if rank.at == len(rank.steps):
            return
        self._post(rank, rank.at + 1, now_s)
        if not rank.missing.get(rank.at):
            self._start(rank, now_s)

    def _post(self, rank: _Rank, index: int, now_s: float) -> None:
        if index >= len(rank.steps) or not rank.steps[index].receives:
            return
        action, receives, _ = rank.steps[index]
        rank.missing[index] = len(receives)
        rank.changes.append((now_s, rank.received_bytes[action.backward]))
        for peer in receives:
            self._meet((peer, rank.number, action.backward, action.microbatch), index, now_s)

    def _meet(self, key: Key, step: int, now_s: float) -> None:
        """One side of a message is there; with the other it can leave."""
        other = self._halves.pop(key, None)
        if other is None:
            self._halves[key] = step
            return
        sender, receiver, backward, microbatch = key
        size = self._nbytes[backward][sender, receiver]
        self._parcels += 1
        parcel = Parcel(self._parcels, sender, receiver, microbatch, backward, size, max(step, other), now_s)
        self._network.offer(parcel, now_s)

    def _delivered(self, parcel: Parcel, start_s: float, now_s: float) -> None:
        _, sender, receiver, microbatch, backward, size, step, ready_s = parcel
        self.messages.append(Message(sender, receiver, microbatch, backward, size, ready_s, start_s, now_s))
        rank = self.ranks[receiver]
        rank.missing[step] -= 1
        if rank.at == step and not rank.missing[step]:
            moved_s = now_s - max(ready_s, rank.now_s)
            rank.seconds["transfer"] += moved_s
            rank.seconds["bubble"] += now_s - rank.now_s - moved_s
            self._start(rank, now_s)

    def _start(self, rank: _Rank, now_s: float) -> None:
        action = rank.steps[rank.at].action
        costs, received = rank.costs, rank.received_bytes[action.backward]
        match action.kind:
            case Kind.FORWARD:
                seconds = costs.forward_s + rank.handling_s[False]
                begin, end = costs.inflight_bytes + costs.transient_bytes - received, -costs.transient_bytes
            case Kind.BACKWARD:
                seconds = costs.backward_s + rank.handling_s[True]
                first, last = rank.at == rank.backwards[0], rank.at == rank.backwards[-1]
                begin = costs.backward_needs(first=first, last=last)
                end = -begin - costs.inflight_bytes - received + (costs.gradient_bytes if first else 0)
            case Kind.UPDATE:
                seconds = costs.update_s
                begin, end = costs.update_bytes, -costs.update_bytes
            case Kind.REDUCE:
                rank.changes.append((now_s, costs.reduce_bytes))
                self._reduce(rank)
                return
            case Kind.SEND | Kind.RECEIVE:
                raise AssertionError(f"a step is no {action.kind}")
        rank.changes += ((now_s, begin), (now_s + seconds, end))
        self._schedule(now_s + seconds, self._finish, (rank, now_s))

    def _finish(self, rank: _Rank, start_s: float, now_s: float) -> None:
        action, _, sends = rank.steps[rank.at]
        rank.events.append(Event(rank.number, action, start_s, now_s))
        for peer in rank.steps[rank.at].receives:
            self._retire(rank, now_s, peer, (action.microbatch, action.backward))
        rank.seconds[CAUSE_OF[action.kind]] += now_s - start_s
        if action.kind is Kind.REDUCE:
            rank.changes.append((now_s, -rank.costs.reduce_bytes))
        for peer in sends:
            if action.backward:
                rank.changes.append((now_s, self._nbytes[True][rank.number, peer]))
                rank.sent.append((peer, action.microbatch))
            self._meet((rank.number, peer, action.backward, action.microbatch), -1, now_s)
        rank.at += 1
        if rank.at == rank.backwards[-1] + 1:
            self._retire(rank, now_s)
        self._begin(rank, now_s)

    def _retire(self, rank: _Rank, now_s: float, peer: int | None = None, key: tuple[int, bool] = (0, False)) -> None:
        """Sent gradients that a message of the peer proves to be taken; without a peer all, after the last B."""
        for other, microbatch in list(rank.sent):
            if peer is None or (other == peer and self._places[peer][microbatch, True] <= self._places[peer][key]):
                rank.sent.remove((other, microbatch))
                rank.changes.append((now_s, -self._nbytes[True][rank.number, other]))

    def _reduce(self, rank: _Rank) -> None:
        """The last rank of those that sum gradients together brings the sums' times."""
        last = rank.events[-1]
        for number, start_s, end_s in self._sums.arrive(rank.number, last.start_s, last.end_s):
            self._schedule(end_s, self._finish, (self.ranks[number], start_s))


def _handling_s(program: Program, cluster: Cluster, backward: bool) -> dict[int, float]:
    """What a microbatch's messages in one direction take from computing on each of their ends; inside a node not by bytes."""
    found: dict[int, float] = {}
    for (sender, receiver), sent in messages(program, backward=backward).items():
        across = cluster.ranks[sender].node != cluster.ranks[receiver].node
        size = sum(nbytes(piece, program.batch_size) for piece in sent) if across else 0
        for rank in (sender, receiver):
            found[rank] = found.get(rank, 0.0) + cluster.device(rank).message_work_s(size, len(sent))
    return found


class _Sums:
    """Gradient sums: who sums with whom, and when they are through."""

    def __init__(self, reductions: Sequence[Reduction]) -> None:
        self._reductions = sorted(reductions, key=lambda reduction: (len(reduction.stages), reduction.stages))
        self._last: dict[int, tuple[float, float]] = {}  # start and end of each rank's last backward

    def arrive(self, rank: int, start_s: float, end_s: float) -> list[tuple[int, float, float]]:
        """A rank's last backward is over. Once that is so for all that it depends on: (rank, start, end) of their REDUCE."""
        self._last[rank] = start_s, end_s
        ranks = self._together(rank)
        if not ranks <= self._last.keys():
            return []
        through = {number: self._last[number][1] for number in ranks}
        for reduction in self._reductions:
            if ranks.issuperset(reduction.ranks):
                end_s = self._end(reduction, max(through[number] for number in reduction.ranks))
                through.update(dict.fromkeys(reduction.ranks, end_s))
        return [(number, self._last[number][1], through[number]) for number in sorted(ranks)]

    def _together(self, rank: int) -> set[int]:
        """Ranks that share a reduction, or share one with one that does, ..."""
        found, grown = {rank}, True
        while grown:
            touching = [set(reduction.ranks) for reduction in self._reductions if not found.isdisjoint(reduction.ranks)]
            larger = found.union(*touching)
            found, grown = larger, larger != found
        return found

    def _end(self, reduction: Reduction, earliest_s: float) -> float:
        """One stage's sum runs in buckets beside the last backward; one over several stages starts when all is there."""
        if len(reduction.stages) > 1:
            return earliest_s + reduction.seconds
        buckets = max(1, ceil(reduction.nbytes / BUCKET_BYTES))
        through_s, last_s = 0.0, max(self._last[rank][1] for rank in reduction.ranks)
        for bucket in range(1, buckets + 1):
            ready_s = max(
                start + (end - start) * bucket / buckets for start, end in (self._last[rank] for rank in reduction.ranks)
            )
            through_s = max(through_s, ready_s) + reduction.seconds / buckets
        beside = 1 - min(1.0, (through_s - last_s) / reduction.seconds) if reduction.seconds else 0.0
        return through_s + beside * reduction.handling_s
