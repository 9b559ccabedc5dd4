"""Recordings of all ranks (``runtime.recorder``) as a timeline, with the simulation's own actions and causes.

A rank's time between two computations is ``transfer`` from when all that the next one reads was made, ``bubble`` before
that and before the update (which comes after the sum of the losses, for which all wait); what is left, such as reading the
batch, is ``OTHER``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from autopart import jsonfile
from autopart.errors import InputError
from autopart.program.program import Action, Kind, Program
from autopart.program.steps import describe
from autopart.simulate import Event, Message, Timeline
from autopart.simulate.timeline import CAUSE_OF, CAUSES

OTHER = "other"
WARM_UP = 2  # first steps that are left out where more follow: allocations, agreement on gradients, caches

KIND = jsonfile.FileKind(
    name="recording",
    error=InputError,
    schema="recording.schema.json",
    make="`autopart run plan.json --measure FILE` writes one.",
    reference="docs/reference/measuring.md says what a recording holds.",
)


def load_executed(path: str, program: Program) -> Executed:
    """From a file that was written while ``program`` ran; InputError where it was not."""
    raw = jsonfile.parse(jsonfile.read_text(path, KIND), path, KIND)
    recordings = {int(rank): recording for rank, recording in raw["ranks"].items()}
    _check(recordings, program, path)
    return executed(recordings, program)


def _check(recordings: Recordings, program: Program, path: str) -> None:
    """Every rank of the program, with its computations in their order in every step."""
    for rank, actions in program.actions.items():
        wanted = [describe(action) for action in actions if action.kind not in (Kind.SEND, Kind.RECEIVE)]
        own = recordings.get(rank, {"steps": []})
        ran = [[name for name, _, _ in step["events"]] for step in own["steps"]]
        peers = {action.peer for action in actions}
        named = all(name in wanted and peer in peers for step in own["steps"] for name, peer, _ in step["arrivals"])
        if not ran or any(names != wanted for names in ran) or not named:
            raise InputError(
                f"rank {rank} ran something else than this plan says",
                where=path,
                remedy="Record this very plan: `autopart run plan.json --measure FILE`, or its train.py --timeline FILE.",
            )


Recordings = Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class Executed:
    """``timeline`` is the step whose length is the median of ``steps_s``, those after the warm-up; it has no memory."""

    timeline: Timeline
    steps_s: tuple[float, ...]


def executed(recordings: Recordings, program: Program) -> Executed:
    """Of ranks that ran ``program``; times are those of the clock of process 0."""
    clocks = {rank: _Clock(recording) for rank, recording in sorted(recordings.items()) if rank in program.actions}
    count = min(len(clock.starts) for clock in clocks.values()) - 1
    lengths = [_length_s(clocks, step) for step in range(count)]
    kept = range(WARM_UP if count > WARM_UP else 0, count)
    middle = median(lengths[step] for step in kept)
    chosen = min(kept, key=lambda step: (abs(lengths[step] - middle), step))
    return Executed(_timeline(clocks, chosen, program), tuple(lengths[step] for step in kept))


@dataclass(frozen=True)
class _Clock:
    """One rank's recording on the common clock; ``starts`` has one more than there are steps."""

    recording: Mapping[str, Any]

    @property
    def starts(self) -> list[float]:
        return [self.at(step["start"]) for step in self.recording["steps"]] + [self.at(self.recording["end"])]

    def at(self, time_s: float) -> float:
        return time_s - float(self.recording["offset_s"])


def _length_s(clocks: Mapping[int, _Clock], step: int) -> float:
    """From the first rank's start to the first one's start of the next step."""
    return min(clock.starts[step + 1] for clock in clocks.values()) - min(clock.starts[step] for clock in clocks.values())


def _timeline(clocks: Mapping[int, _Clock], step: int, program: Program) -> Timeline:
    origin = min(clock.starts[step] for clock in clocks.values())
    events = {rank: tuple(_events(clock, rank, step, program, origin)) for rank, clock in clocks.items()}
    ended = {(rank, describe(event.action)): event.end_s for rank, own in events.items() for event in own}
    arrivals = {rank: tuple(_arrivals(clock, rank, step, program, ended, origin)) for rank, clock in clocks.items()}
    step_s = _length_s(clocks, step)
    return Timeline(
        step_s=step_s,
        events=tuple(event for own in events.values() for event in own),
        messages=tuple(sorted((m for own in arrivals.values() for m in own), key=lambda m: (m.end_s, m.sender, m.receiver))),
        memory={},
        peak_bytes={},
        seconds={rank: _seconds(events[rank], arrivals[rank], step_s) for rank in clocks},
    )


def _events(clock: _Clock, rank: int, step: int, program: Program, origin: float) -> Iterator[Event]:
    named = {describe(action): action for action in program.actions[rank]}
    for name, start, end in clock.recording["steps"][step]["events"]:
        yield Event(rank, named[name], clock.at(start) - origin, clock.at(end) - origin)


def _arrivals(
    clock: _Clock, rank: int, step: int, program: Program, ended: Mapping[tuple[int, str], float], origin: float
) -> Iterator[Message]:
    """One message for each peer and computation: several pieces count as the last of them."""
    named = {describe(action): action for action in program.actions[rank]}
    there: dict[tuple[str, int], float] = {}
    for name, peer, time_s in clock.recording["steps"][step]["arrivals"]:
        there[name, peer] = clock.at(time_s) - origin
    for (name, peer), end_s in there.items():
        action = named[name]
        sent_s = ended[peer, describe(_made_by(action, program, peer))]
        yield Message(peer, rank, action.microbatch, action.backward, 0, sent_s, sent_s, max(sent_s, end_s))


def _made_by(action: Action, program: Program, peer: int) -> Action:
    """The computation of a peer whose results a computation reads."""
    same = (a for a in program.actions[peer] if a.kind is action.kind and a.microbatch == action.microbatch)
    return next(same)


def _seconds(events: Sequence[Event], messages: Sequence[Message], step_s: float) -> dict[str, float]:
    """By cause, ``step_s`` together."""
    made: dict[tuple[bool, int], float] = {}
    for message in messages:
        key = message.backward, message.microbatch
        made[key] = max(made.get(key, 0.0), message.ready_s)
    found = dict.fromkeys((*CAUSES, OTHER), 0.0)
    now_s = 0.0
    for event in events:
        kind, gap_s = event.action.kind, max(0.0, event.start_s - now_s)
        key = kind is Kind.BACKWARD, event.action.microbatch
        if kind is Kind.UPDATE:
            found["bubble"] += gap_s
        elif key in made:
            moved_s = min(gap_s, max(0.0, event.start_s - made[key]))
            found["transfer"] += moved_s
            found["bubble"] += gap_s - moved_s
        else:
            found[OTHER] += gap_s
        found[CAUSE_OF[kind]] += event.end_s - event.start_s
        now_s = event.end_s
    found[OTHER] += step_s - sum(found.values())
    return found
