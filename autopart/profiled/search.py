"""The state of a search: the best assignment so far, the best bound so far, when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from autopart.profiled.evaluate import Assignment, value_s, violation
from autopart.profiled.groups import Groups, spread
from autopart.profiled.order import Order
from autopart.profiled.problem import Problem
from autopart.profiled.schedule import Starts, in_sequence, schedule

CLOSED = 1e-9  # relative gap that rounding alone can leave

Progress = Callable[[float, float, float], None]


class Search:
    """Collects incumbents, exactly evaluated, and bounds; ``places`` are ranks of groups."""

    def __init__(
        self, problem: Problem, groups: Groups, order: Order, gap: float, time_limit_s: float, progress: Progress | None
    ) -> None:
        self.problem, self.groups, self.order, self.gap, self.progress = problem, groups, order, gap, progress
        self.started = time.monotonic()
        self.deadline = self.started + time_limit_s
        self.value_s, self.bound_s = float("inf"), 0.0
        self.places: tuple[int, ...] = ()
        self.assignment: Assignment = ()
        self.start_s: Starts = ()

    def offer(self, places: Sequence[int], sequence: Sequence[int] = ()) -> bool:
        """Take an assignment if it keeps all rules and is better; for latency with the order of its ops, if known."""
        assignment = spread(self.groups, places)
        if violation(self.problem, assignment, self.order):
            return False
        starts: list[Starts] = [()]
        if self.problem.goal.objective == "latency":
            starts = [schedule(self.problem, assignment)]
            if sequence:
                starts.append(in_sequence(self.problem, assignment, sequence))
        value, best = min((value_s(self.problem, assignment, each), each) for each in starts)
        if not value < self.value_s * (1 - 1e-12):
            return False
        self.value_s, self.places, self.assignment, self.start_s = value, tuple(map(int, places)), assignment, best
        self._say()
        return True

    def prove(self, bound_s: float) -> None:
        """No assignment is better than this."""
        if bound_s > self.bound_s:
            self.bound_s = min(bound_s, self.value_s) if self.places else bound_s
            self._say()

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def late(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() > self.deadline

    def close_enough(self) -> bool:
        """Whether the gap that was asked for is proven."""
        return bool(self.places) and self.value_s - self.bound_s <= max(self.gap, CLOSED) * self.value_s

    def optimal(self) -> bool:
        """Whether nothing is left but rounding."""
        return bool(self.places) and self.value_s - self.bound_s <= CLOSED * self.value_s

    def done(self) -> bool:
        """Whether to stop."""
        return self.close_enough() or self.late()

    def _say(self) -> None:
        if self.progress and self.places:
            self.progress(self.value_s, self.bound_s, time.monotonic() - self.started)
