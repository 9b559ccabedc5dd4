"""Schedules: in which order a rank runs its forwards and backwards, and the messages around them.

``order`` says what a stage computes, ``insert_messages`` adds the sends and receives, ``insert_updates`` ends the step.
Position counts from the end (the last stage is at 1). GPipe runs all forwards, then all backwards. 1F1B runs as many
forwards as there are stages behind it, then alternates, so that a stage holds at most min(M, position) microbatches.

How a list is executed: a rank runs it in order; sends never block; receives are posted one computation ahead, so that a
message for the next one arrives while this one runs; a receive blocks until its message is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from autopart.program.pieces import Pair
from autopart.program.program import Action, Kind, StageSpec

SCHEDULES = ("gpipe", "1f1b")
Actions = tuple[Action, ...]


def in_flight(schedule: str, position: int, microbatches: int) -> int:
    """The most microbatches that a stage holds between their F and the end of their B."""
    match schedule:
        case "gpipe":
            return microbatches
        case "1f1b":
            return min(microbatches, position)
        case _:
            raise AssertionError(f"no schedule {schedule!r}; there are {', '.join(SCHEDULES)}")


def order(schedule: str, stage: int, stages: int, microbatches: int) -> Actions:
    """The forwards and backwards of one stage, messages left out."""
    ahead = in_flight(schedule, stages - stage, microbatches)
    return tuple(
        Action(Kind.BACKWARD if backward else Kind.FORWARD, stage, microbatch, backward=backward)
        for backward, microbatch in _alternate(ahead, microbatches)
    )


def _alternate(ahead: int, microbatches: int) -> Iterator[tuple[bool, int]]:
    """``ahead`` forwards, then one backward and one forward by turns, then the backwards that are left."""
    for microbatch in range(ahead):
        yield False, microbatch
    for microbatch in range(microbatches):
        yield True, microbatch
        if microbatch + ahead < microbatches:
            yield False, microbatch + ahead


def insert_messages(
    computations: Iterable[Action], rank: int, forward: Iterable[Pair], backward: Iterable[Pair]
) -> Iterator[Action]:
    """One rank's list with a receive from every sender before a computation and a send to every receiver after it.

    ``forward`` and ``backward`` are the (sender, receiver) pairs of one microbatch. This version gives a rank one stage, so
    that the peer says which stage is meant.
    """
    arriving = {False: [a for a, b in forward if b == rank], True: [a for a, b in backward if b == rank]}
    leaving = {False: [b for a, b in forward if a == rank], True: [b for a, b in backward if a == rank]}
    for step in computations:
        for peer in arriving[step.backward]:
            yield Action(Kind.RECEIVE, step.stage, step.microbatch, peer, step.backward)
        yield step
        for peer in leaving[step.backward]:
            yield Action(Kind.SEND, step.stage, step.microbatch, peer, step.backward)


def insert_updates(actions: Sequence[Action], stages: Iterable[int]) -> Iterator[Action]:
    """The list, then the gradient sum and the update of every stage that the rank holds."""
    yield from actions
    held = tuple(stages)
    yield from (Action(Kind.REDUCE, stage) for stage in held)
    yield from (Action(Kind.UPDATE, stage) for stage in held)


def actions(
    schedule: str, microbatches: int, stages: Sequence[StageSpec], forward: Iterable[Pair], backward: Iterable[Pair]
) -> Mapping[int, Actions]:
    """Every used rank's whole list."""
    arrows = {False: _by_rank(forward), True: _by_rank(backward)}
    found: dict[int, Actions] = {}
    for stage in stages:
        computations = order(schedule, stage.index, len(stages), microbatches)
        for rank in stage.ranks:
            step = insert_messages(computations, rank, arrows[False].get(rank, ()), arrows[True].get(rank, ()))
            found[rank] = tuple(insert_updates(tuple(step), (stage.index,)))
    return {rank: found[rank] for rank in sorted(found)}


def _by_rank(pairs: Iterable[Pair]) -> dict[int, list[Pair]]:
    found: dict[int, list[Pair]] = {}
    for pair in sorted(pairs):
        for rank in pair:
            found.setdefault(rank, []).append(pair)
    return found
