"""A rank's list cut into steps: a computation with the receives before it and the sends after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from autopart.program.program import Action, Kind


class ProgramError(AssertionError):
    """A program that can't be executed. Programs are made, not written: a mistake of autopart's own."""


class Step(NamedTuple):
    """``action`` is an F, B, S or U; peers that its messages come from and go to, in order."""

    action: Action
    receives: tuple[int, ...] = ()
    sends: tuple[int, ...] = ()

    @property
    def actions(self) -> Iterator[Action]:
        """The step as it stands in the list."""
        owner = self.action
        for peer in self.receives:
            yield Action(Kind.RECEIVE, owner.stage, owner.microbatch, peer, owner.backward)
        yield owner
        for peer in self.sends:
            yield Action(Kind.SEND, owner.stage, owner.microbatch, peer, owner.backward)


def split_steps(actions: Sequence[Action]) -> list[Step]:
    """The steps of a list. A list whose messages do not stand beside their computation is refused: it has no text either."""
    steps: list[Step] = []
    owner: Action | None = None
    arrived: tuple[int, ...] = ()
    receives: list[Action] = []
    sends: list[int] = []
    for action in actions:
        if action.kind is Kind.RECEIVE:
            receives.append(action)
        elif action.kind is Kind.SEND:
            if receives or owner is None or not _belongs(action, owner):
                raise ProgramError(f"{describe(action)} does not stand after it")
            sends.append(action.peer)
        else:
            if owner is not None:
                steps.append(Step(owner, arrived, tuple(sends)))
            owner, arrived, receives, sends = action, _peers(receives, action), [], []
    if receives:
        raise ProgramError(f"{describe(receives[0])} stands before nothing")
    return [*steps, Step(owner, arrived, tuple(sends))] if owner is not None else steps


def _peers(receives: Sequence[Action], owner: Action) -> tuple[int, ...]:
    for receive in receives:
        if not _belongs(receive, owner):
            raise ProgramError(f"{describe(receive)} stands before {describe(owner)}")
    return tuple(receive.peer for receive in receives)


def places(actions: Sequence[Action]) -> dict[tuple[int, bool], int]:
    """Where each computation of a microbatch stands in a rank's list, by (microbatch, backward). A message that a computation
    made proves that its rank has taken whatever it receives up to there.
    """
    return {
        (step.action.microbatch, step.action.backward): index
        for index, step in enumerate(split_steps(actions))
        if step.action.kind in (Kind.FORWARD, Kind.BACKWARD)
    }


def join_steps(steps: Iterable[Step]) -> tuple[Action, ...]:
    """The list that the steps were cut from."""
    return tuple(action for step in steps for action in step.actions)


def describe(action: Action) -> str:
    """One action by itself: ``1F0``, ``0S``, ``<2 for 1F0``, ``>3 after 1F0``."""
    letter = "B" if action.backward else "F"
    match action.kind:
        case Kind.FORWARD | Kind.BACKWARD:
            return f"{action.stage}{action.kind.value}{action.microbatch}"
        case Kind.REDUCE | Kind.UPDATE:
            return f"{action.stage}{action.kind.value}"
        case Kind.SEND:
            return f">{action.peer} after {action.stage}{letter}{action.microbatch}"
        case Kind.RECEIVE:
            return f"<{action.peer} for {action.stage}{letter}{action.microbatch}"


def _belongs(message: Action, owner: Action) -> bool:
    kind = Kind.BACKWARD if message.backward else Kind.FORWARD
    return owner.kind is kind and (owner.stage, owner.microbatch) == (message.stage, message.microbatch)
