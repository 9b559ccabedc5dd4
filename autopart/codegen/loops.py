"""Calls in a row that are rounds of a loop.

Each round calls the same functions, over the subtree with the next number, on the results of the round before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST = 6  # calls in a round


@dataclass(frozen=True)
class Call:
    """A function called on a subtree; inputs and outputs by value name."""

    function: str
    path: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Carried:
    """A value that a round takes from the round before: output ``output`` of call ``call``; ``start`` goes into the first."""

    call: int
    output: int
    start: str


@dataclass(frozen=True)
class Loop:
    """``rounds`` of ``calls`` (those of the first round) over ``tree[first : first + rounds]``.

    ``paths`` say where below its item a call's tree is, None for no tree of its own. ``results`` are the
    last round's outputs, call by call.
    """

    calls: tuple[Call, ...]
    rounds: int
    tree: str
    first: int
    paths: tuple[str | None, ...]
    carried: tuple[Carried, ...]
    results: tuple[tuple[str, ...], ...]


def fold(calls: Sequence[Call], reads: dict[str, int]) -> list[Call | Loop]:
    """The calls with every run of rounds folded. ``reads`` counts how often a value is read in the stage and after it."""
    found: list[Call | Loop] = []
    at = 0
    while at < len(calls):
        loop = max(_loops(calls, at, reads), key=lambda loop: (loop.rounds - 1) * len(loop.calls), default=None)
        found.append(loop or calls[at])
        at += loop.rounds * len(loop.calls) if loop else 1
    return found


def _loops(calls: Sequence[Call], at: int, reads: dict[str, int]) -> Iterator[Loop]:
    for length in range(1, LONGEST + 1):
        rounds = 1
        best: Loop | None = None
        while at + (rounds + 1) * length <= len(calls):
            rounds += 1
            loop = _loop(calls, at, length, rounds, reads)
            if loop is None:
                break
            best = loop
        if best:
            yield best


def _loop(calls: Sequence[Call], at: int, length: int, rounds: int, reads: dict[str, int]) -> Loop | None:
    """The loop of ``rounds`` rounds, if they are one."""
    table = [calls[at + r * length : at + (r + 1) * length] for r in range(rounds)]
    if any([c.function for c in row] != [c.function for c in table[0]] for row in table):
        return None
    place = _place(table)
    carried = _carried(table)
    if place is None or carried is None or not _closed(table, reads):
        return None
    tree, first, paths = place
    return Loop(tuple(table[0]), rounds, tree, first, paths, carried, tuple(c.outputs for c in table[-1]))


def _place(table: Sequence[Sequence[Call]]) -> tuple[str, int, tuple[str | None, ...]] | None:
    """The container that the rounds count through, the first number, and each call's path below the item."""
    first, second = table[0], table[1]
    differing = [_differing(a.path, b.path) for a, b in zip(first, second, strict=True) if a.path]
    if not differing or differing[0] is None or any(place != differing[0] for place in differing):
        return None
    position = differing[0]
    head = next(c.path for c in first if c.path).split(".")
    tree, number = head[:position], int(head[position])
    for r, row in enumerate(table):
        for call, model in zip(row, first, strict=True):
            parts, below = call.path.split("."), model.path.split(".")[position + 1 :]
            if call.path and parts != [*tree, str(number + r), *below]:
                return None
    return ".".join(tree), number, tuple(".".join(c.path.split(".")[position + 1 :]) if c.path else None for c in first)


def _differing(a: str, b: str) -> int | None:
    """Where two paths differ, if they do so in one number that goes up by one."""
    first, second = a.split("."), b.split(".")
    places = [i for i, (x, y) in enumerate(zip(first, second, strict=False)) if x != y]
    if len(first) != len(second) or len(places) != 1:
        return None
    x, y = first[places[0]], second[places[0]]
    return places[0] if x.isdigit() and y.isdigit() and int(y) == int(x) + 1 else None


def _carried(table: Sequence[Sequence[Call]]) -> tuple[Carried, ...] | None:
    """What goes from round to round; None where rounds take their inputs from unlike places."""
    made = [{name: (k, j) for k, c in enumerate(row) for j, name in enumerate(c.outputs)} for row in table]
    found: dict[tuple[int, int], str] = {}
    for k, call in enumerate(table[0]):
        for i, start in enumerate(call.inputs):
            names = [row[k].inputs[i] for row in table]
            inside = [made[r].get(name) for r, name in enumerate(names)]
            before = [made[r - 1].get(name) for r, name in enumerate(names) if r]
            if inside[0] is not None:
                if any(place != inside[0] for place in inside):
                    return None
            elif before[0] is not None:
                if any(place != before[0] for place in before) or found.setdefault(before[0], start) != start:
                    return None
            elif any(name != start for name in names):
                return None
    return tuple(Carried(k, j, start) for (k, j), start in sorted(found.items()))


def _closed(table: Sequence[Sequence[Call]], reads: dict[str, int]) -> bool:
    """Whether all that rounds but the last make is read by the same round or the next alone."""
    for r, row in enumerate(table[:-1]):
        near = [name for other in table[r : r + 2] for call in other for name in call.inputs]
        if any(reads[name] != near.count(name) for call in row for name in call.outputs):
            return False
    return True
