"""When ops start, for ``latency``: a rank runs one op at a time, an op starts once its inputs have arrived.

A tensor leaves as soon as it is there and takes latency + bytes / bandwidth; transfers delay and take no rank's time.
"""

from __future__ import annotations

from collections.abc import Sequence

from autopart.profiled.order import topological
from autopart.profiled.problem import Problem

Starts = tuple[float, ...]  # seconds by op


def in_sequence(problem: Problem, assignment: Sequence[int], sequence: Sequence[int]) -> Starts:
    """The earliest starts if every rank takes its ops in the order of ``sequence``, which is topological."""
    free = [0.0] * problem.ranks
    start = [0.0] * problem.count
    for op in sequence:
        rank = assignment[op]
        begin = max((arrival(problem, assignment, start, each, rank) for each in problem.producers[op]), default=0.0)
        start[op] = max(begin, free[rank])
        free[rank] = start[op] + float(problem.time_s[op, rank])
    return tuple(start)


def arrival(problem: Problem, assignment: Sequence[int], start: Sequence[float], op: int, rank: int) -> float:
    """When the output of a scheduled op is on a rank."""
    home = assignment[op]
    return start[op] + float(problem.time_s[op, home]) + float(problem.transfer_s[op, home, rank])


def makespan_s(problem: Problem, assignment: Sequence[int], start: Sequence[float]) -> float:
    """When the last op ends."""
    return max(begin + float(problem.time_s[op, rank]) for op, (begin, rank) in enumerate(zip(start, assignment, strict=True)))


def urgency(problem: Problem, time_s: Sequence[float]) -> list[float]:
    """By op: seconds of the longest path that begins with it; transfers are not counted."""
    found = [0.0] * problem.count
    for op in reversed(topological(problem.producers, problem.readers)):
        found[op] = time_s[op] + max((found[reader] for reader in problem.readers[op]), default=0.0)
    return found


def schedule(problem: Problem, assignment: Sequence[int]) -> Starts:
    """A good schedule: of the ops that could start first, the one with the longest path behind it (list scheduling)."""
    times = [float(problem.time_s[op, rank]) for op, rank in enumerate(assignment)]
    urgent = urgency(problem, times)
    missing = [len(each) for each in problem.producers]
    ready = {op: 0.0 for op, count in enumerate(missing) if not count}
    free = [0.0] * problem.ranks
    start = [0.0] * problem.count
    while ready:
        op = min(ready, key=lambda each: (max(ready[each], free[assignment[each]]), -urgent[each], each))
        rank = assignment[op]
        start[op] = max(ready.pop(op), free[rank])
        free[rank] = start[op] + times[op]
        for reader in problem.readers[op]:
            missing[reader] -= 1
            if not missing[reader]:
                inputs = problem.producers[reader]
                ready[reader] = max(arrival(problem, assignment, start, each, assignment[reader]) for each in inputs)
    return tuple(start)


def critical_path_s(problem: Problem) -> float:
    """No schedule is shorter: every op on its fastest type, transfers free."""
    return max(urgency(problem, problem.time_s.min(axis=1).tolist()))
