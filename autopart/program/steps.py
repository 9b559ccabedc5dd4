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
    receives: list[Action] = []
    for action in actions:
        if action.kind is Kind.RECEIVE:
            receives.append(action)
        elif action.kind is Kind.SEND:
            if receives or not steps or not _belongs(action, steps[-1].action):
                raise ProgramError(f"{describe(action)} does not stand after it")
            last = steps[-1]
            steps[-1] = last._replace(sends=(*last.sends, action.peer))
        else:
            for receive in receives:
                if not _belongs(receive, action):
                    raise ProgramError(f"{describe(receive)} stands before {describe(action)}")
            steps.append(Step(action, tuple(receive.peer for receive in receives)))
            receives = []
    if receives:
        raise ProgramError(f"{describe(receives[0])} stands before nothing")
    return steps


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
