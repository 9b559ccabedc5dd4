"""The last of the gap between the best chain and what it really costs, for ``throughput``.

A chain charges a tensor once to the part that makes it, even where two further parts read it. Built from its end, a chain knows
who reads what: its parts are charged in full, and the rest costs at least what ``chain.reach`` says. Depth first, the better
first. Only what is below the best plan, and below the best chain that no plan matches, goes on; and of two ends that look alike
from the front (the same ideal and devices, the same tensors read by as many parts) the better one.

A chain in full that is still not matched by a plan (it has a joined step, or unlike links make the plan dearer) stays as a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from autopart.profiled.chain import Chain, Field, Limits, Part, Step, TooLate, reach, step_loads
from autopart.profiled.problem import Array, Ints
from autopart.profiled.readers import Tensor
from autopart.profiled.relax import CAREFUL
from autopart.profiled.windows import State

NODES = 4_000


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a chain: parts from the last one back, what each carries; ``state`` devices are left for ``ideal``."""

    parts: tuple[Part, ...]
    loads_s: tuple[float, ...]
    state: State
    ideal: int

    @property
    def value_s(self) -> float:
        return max(self.loads_s, default=0.0)


class Closing:
    """One search. ``offer`` takes a chain and answers what the best plan costs then."""

    def __init__(self, field: Field, tensors: list[Tensor], value_s: float, offer: Callable[[Chain], float]) -> None:
        self.field, self.tensors, self.offer = field, tensors, offer
        self.value_s, self.open_s = value_s, float("inf")
        self.seen: dict[object, float] = {}
        self.nodes = 0

    @property
    def limit_s(self) -> float:
        return min(self.value_s, self.open_s) * (1 - CAREFUL)

    def run(self) -> float:
        """A bound on every assignment; 0 where the search grew too large."""
        self.reached = reach(self.field, Limits(self.value_s, float("inf"), summed=False), joined=True)
        last = len(self.field.tables.ideals) - 1
        ends = [state for state, value in self.reached.value_s.items() if value[last] < self.limit_s]
        for state in sorted(ends, key=lambda each: (self.reached.value_s[each][last], each)):
            if not self._extend(Tail((), (), state, last)):
                return 0.0
        return min(self.value_s, self.open_s)

    def _extend(self, tail: Tail) -> bool:
        """Try all parts before a tail; whether that came to an end."""
        if not sum(tail.state):
            self._finish(tail)
            return True
        self.nodes += 1
        if self.field.late():
            raise TooLate
        if self.nodes > NODES:
            return False
        for bound_s, longer in sorted(self._longer(tail), key=lambda each: (each[0], each[1].ideal)):
            if bound_s < self.limit_s and self._fresh(longer) and not self._extend(longer):
                return False
        return True

    def _longer(self, tail: Tail) -> Iterator[tuple[float, Tail]]:
        """Tails with one more part that stay below the limit, and what the whole chain costs at least."""
        ideals = self.field.tables.ideals
        for step in self.reached.steps:
            state = tuple(used - taken for used, taken in zip(tail.state, step.use, strict=True))
            before = self.reached.value_s.get(state, np.zeros(0))
            rows = np.flatnonzero(before < self.limit_s)
            if not len(rows):
                continue
            loads = self._loads(step, rows, tail.ideal)
            for place in np.flatnonzero(loads < self.limit_s):
                row = int(rows[place])
                part = Part(ideals[tail.ideal] & ~ideals[row], step.use)
                longer = self._charged(Tail((*tail.parts, part), (*tail.loads_s, float(loads[place])), state, row))
                bound_s = max(longer.value_s, float(before[row]))
                if bound_s < self.limit_s:
                    yield bound_s, longer

    def _loads(self, step: Step, rows: Ints, ideal: int) -> Array:
        """Of the parts between ideals and one ideal; a joined step's rows have to have as many pivots each."""
        column = np.array([ideal])
        if step.inner_s is None:
            return step_loads(self.field, step, rows, column)[:, 0]
        pivots = self.field.tables.pivots
        found = np.full(len(rows), np.inf)
        alike = np.flatnonzero(pivots[rows] == pivots[ideal])
        if len(alike):
            found[alike] = step_loads(self.field, step, rows[alike], column)[:, 0]
        return found

    def _charged(self, tail: Tail) -> Tail:
        """The tail with what the new part adds to those that make a tensor which a further part reads."""
        new, rest = tail.parts[-1], self.field.tables.ideals[tail.ideal]
        loads = list(tail.loads_s)
        for tensor in self.tensors:
            if new.units & (tensor.maker | tensor.readers):
                owner = next((index for index, part in enumerate(tail.parts) if part.units & tensor.maker), None)
                if owner is None or sum(tail.parts[owner].use) > 1:
                    continue
                more = self._readers(tail, tensor, rest, owner) - 1
                if owner != len(tail.parts) - 1:  # what was known before the new part
                    more -= max(1, self._readers(Tail(tail.parts[:-1], (), (), 0), tensor, rest | new.units, owner)) - 1
                if more > 0:
                    loads[owner] += more * float(tensor.least_s[tail.parts[owner].use.index(1)])
        return Tail(tail.parts, tuple(loads), tail.state, tail.ideal)

    def _readers(self, tail: Tail, tensor: Tensor, rest: int, owner: int | None) -> int:
        """How many parts but the owner read a tensor at least; all that is not divided yet counts as one, a circle as one too."""
        apart = sum(bool(part.units & tensor.readers) for index, part in enumerate(tail.parts) if index != owner)
        return apart + bool(rest & tensor.readers)

    def _fresh(self, tail: Tail) -> bool:
        """Whether no tail that looks alike from the front is as good."""
        rest = self.field.tables.ideals[tail.ideal]
        look: list[object] = [tail.ideal, tail.state]
        for number, tensor in enumerate(self.tensors):
            pins = tensor.maker | tensor.readers
            if pins & rest and pins & ~rest:
                owner = next((index for index, part in enumerate(tail.parts) if part.units & tensor.maker), None)
                look.append((number, self._readers(tail, tensor, 0, owner), tail.loads_s[owner] if owner is not None else None))
        best = self.seen.get(tuple(look), float("inf"))
        self.seen[tuple(look)] = min(best, tail.value_s)
        return tail.value_s < best

    def _finish(self, tail: Tail) -> None:
        """A chain in full: a plan, or a bound that stays."""
        if all(sum(part.use) == 1 for part in tail.parts):
            self.value_s = self.offer(Chain(tail.value_s, tail.value_s, tuple(reversed(tail.parts))))
        if tail.value_s < self.limit_s:
            self.open_s = tail.value_s
