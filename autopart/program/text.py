"""Programs as text: a line per rank, for people, and parsed back by the executor.

    rank 0   0F0 >2  0F1 >2  <2 0B0  <2 0B1  0S  0U
    rank 2   3*(<0 1F0 >4)  3*(<4 1B0 >0)  1S  1U

The tokens are those of ``program.py``; ``>2,3`` is ``>2 >3``. ``n*( ... )`` stands for n rounds, the numbers of the
microbatches one higher in each. A list may go on in lines below its rank's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from autopart.errors import PlanError
from autopart.program.program import Action, Kind
from autopart.program.steps import Step, describe, split_steps

WIDTH = 118
LONGEST_ROUND = 8  # computations in a repeated round; 1F1B needs 2
FEWEST_ROUNDS = 3  # fewer are written out

TOKEN = re.compile(r"\s+|(?P<token>\d+\*\(|\)|[<>]\d+(?:,\d+)*|\d+[FB]\d+|\d+[SU])(?=\s|\)|$|(?<=\())")


def format_actions(actions: Mapping[int, Sequence[Action]]) -> str:
    """A table of every rank's list; ``parse_actions`` gives each list back."""
    margin = max((len(f"rank {rank}") for rank in actions), default=0) + 3
    lines: list[str] = []
    for rank in sorted(actions):
        lines += _wrapped(f"rank {rank}".ljust(margin), format_list(actions[rank]), margin)
    return "\n".join(lines) + "\n"


def format_list(actions: Sequence[Action]) -> list[str]:
    """One rank's list: a string for each computation with its messages, or for several rounds of them."""
    return [_rounds_text(steps, count) for steps, count in _rounds(split_steps(actions))]


def parse_actions(text: str, rank: int) -> tuple[Action, ...]:
    """One rank's list from a table."""
    lists: dict[int, str] = {}
    current = -1
    for line in text.splitlines():
        named = re.match(r"\s*rank\s+(\d+)(\s.*|$)", line)
        current = int(named[1]) if named else current
        lists[current] = lists.get(current, "") + "\n" + (named[2] if named else line)
    if lists.get(-1, "").strip():
        raise _malformed(lists[-1].strip(), "stands before the first rank")
    if rank not in lists:
        raise _malformed(f"rank {rank}", "has no list")
    return tuple(_with_owners(_unrolled(_tokens(lists[rank]))))


def _rounds(steps: Sequence[Step]) -> Iterator[tuple[Sequence[Step], int]]:
    """The list as rounds of steps with their number, from the front, always what covers most."""
    marks = [_mark(step) for step in steps]
    start = 0
    while start < len(steps):
        options = [(_repeats(marks, start, length), length) for length in range(1, LONGEST_ROUND + 1)]
        count, length = max(options, key=lambda option: (option[0] - 1) * option[1])
        if count < FEWEST_ROUNDS:
            count, length = 1, 1
        yield steps[start : start + length], count
        start += count * length


def _mark(step: Step) -> tuple[object, int]:
    """What a step does, and for which microbatch."""
    return (step.action.kind, step.action.stage, step.receives, step.sends), step.action.microbatch


def _repeats(marks: Sequence[tuple[object, int]], start: int, length: int) -> int:
    """How many rounds of ``length`` steps follow each other, each a microbatch later than the one before."""
    end = start + length
    while end < len(marks) and marks[end] == (marks[end - length][0], marks[end - length][1] + 1):
        end += 1
    return (end - start) // length


def _rounds_text(steps: Sequence[Step], count: int) -> str:
    text = "  ".join(step_text(step) for step in steps)
    return text if count == 1 else f"{count}*({text})"


def step_text(step: Step) -> str:
    """``<2,3 1F0 >4``."""
    before = "<" + ",".join(map(str, step.receives)) + " " if step.receives else ""
    after = " >" + ",".join(map(str, step.sends)) if step.sends else ""
    return before + describe(step.action) + after


def _wrapped(head: str, groups: Sequence[str], margin: int) -> Iterator[str]:
    line = head
    for group in groups:
        if len(line) > margin and len(line) + len(group) > WIDTH:
            yield line.rstrip()
            line = " " * margin
        line += group + "  "
    yield line.rstrip()


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            raise _malformed(text[at:].split()[0], "is no action")
        if found["token"]:
            yield found["token"]
        at = found.end()


def _unrolled(tokens: Iterator[str]) -> Iterator[tuple[str, int]]:
    """Every token in order, with what its round adds to the number of its microbatch."""
    for token in tokens:
        if token == ")":
            raise _malformed(token, "closes nothing")
        if not token.endswith("("):
            yield token, 0
            continue
        body = list(_body(tokens))
        for offset in range(int(token.removesuffix("*("))):
            yield from ((word, offset) for word in body)


def _body(tokens: Iterator[str]) -> Iterator[str]:
    for token in tokens:
        if token == ")":
            return
        if token.endswith("("):
            raise _malformed(token, "stands inside other rounds")
        yield token
    raise _malformed("*(", "is not closed")


def _with_owners(tokens: Iterable[tuple[str, int]]) -> Iterator[Action]:
    """The actions; a receive takes stage and microbatch from the next computation, a send from the last."""
    receives: list[int] = []
    last: Action | None = None
    for token, offset in tokens:
        if token[0] == "<":
            receives += map(int, token[1:].split(","))
        elif token[0] == ">":
            if last is None or receives:
                raise _malformed(token, "follows no forward or backward")
            for peer in token[1:].split(","):
                yield Action(Kind.SEND, last.stage, last.microbatch, int(peer), last.backward)
        else:
            action = _action(token, offset)
            last = None if action.kind in (Kind.REDUCE, Kind.UPDATE) else action
            if receives and last is None:
                raise _malformed(token, "can't receive")
            yield from (Action(Kind.RECEIVE, action.stage, action.microbatch, peer, action.backward) for peer in receives)
            receives = []
            yield action
    if receives:
        raise _malformed(f"<{receives[0]}", "precedes no forward or backward")


def _action(token: str, offset: int) -> Action:
    stage, kind, microbatch = re.split("([A-Z])", token)
    if not microbatch:
        return Action(Kind(kind), int(stage))
    return Action(Kind(kind), int(stage), int(microbatch) + offset, backward=kind == "B")


def _malformed(token: str, why: str) -> PlanError:
    return PlanError(f"{token!r} {why}", where="program", remedy="Compile the plan again.")
