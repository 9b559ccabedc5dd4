"""Small graphs exactly: an integer program in the hands of CP-SAT.

Sets
    groups g of ops that are on one rank anyway, ranks r, tensors u with readers
Variables
    x_gr in {0, 1}          group g is on rank r
    y_urs in {0, 1}         tensor u goes from rank r to rank s
    T                       at least every load
    a_vrd, z_vrd in {0, 1}  op v follows (precedes) an op of direction d on rank r
    begin_v                 (latency) start of op v
Objective
    throughput T;  step sum_r load_r + (M - 1) T;  latency T >= begin_v + time
Constraints
    (1) one rank      sum_r x_gr = 1, over ranks whose type can run all of g
    (2) memory        sum_g m_g x_gr <= C_r
    (3) boundary      y_urs >= x_gr + x_hs - 1 for g the group of u and h that of any reader
    (4) load          load_r = sum_g t_gr x_gr + sum_{u,s} (y_urs + y_usr) seconds_urs <= T
    (5) convex        a grows along edges from the ops of direction d on r, z against them; a_vrd + z_vrd - 1 <= x_gr
    (6) symmetry      of ranks that can't be told apart, one is used by a group only if a group before uses the one before
    (7) schedule      (latency) intervals on a rank do not overlap; begin_w >= begin_v + t_vr + seconds_vrs if v is on r, w on s

Seconds are rounded down to integers, so that the program's bound is a bound; what it finds is priced again, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ortools.sat.python import cp_model

from autopart.cpsat import make_solver, run
from autopart.profiled.groups import Groups
from autopart.profiled.order import directions, topological
from autopart.profiled.problem import Problem

RESOLUTION = 2.0**32  # of the incumbent's value
SPEED = 0.5  # seconds of CP-SAT's own clock, which counts work, that are worth one of time

Flag = cp_model.IntVar
Sum = cp_model.LinearExpr | cp_model.IntVar | int


@dataclass(frozen=True, slots=True)
class Found:
    """``places`` of groups, with ``sequence``, the ops by start, for latency; both empty where nothing better was found."""

    places: tuple[int, ...]
    sequence: tuple[int, ...]
    bound_s: float
    infeasible: bool = False


@dataclass(eq=False)
class _Program:
    problem: Problem
    groups: Groups
    unit_s: float
    model: cp_model.CpModel
    on: dict[tuple[int, int], Flag]  # x by group and rank
    begin: list[Flag]

    def ticks(self, seconds: float) -> int:
        """Seconds in units, rounded down."""
        return math.floor(seconds / self.unit_s)


def solve(problem: Problem, groups: Groups, *, upper_s: float, hint: Sequence[int], time_limit_s: float, gap: float) -> Found:
    """The best assignment; one of ``upper_s`` is known (``hint``, by group), or no assignment costs more (no hint)."""
    program = _Program(problem, groups, max(upper_s, 1e-30) / RESOLUTION, cp_model.CpModel(), {}, [])
    _place(program)
    peak = program.model.new_int_var(0, 2 * int(RESOLUTION), "T")
    loads = _loads(program) if problem.goal.objective != "latency" else []
    for load in loads:
        program.model.add(load <= peak)
    if problem.goal.objective == "latency":
        _schedule(program, peak)
    if problem.goal.contiguous:
        _convex(program)
    _order_equal_ranks(program)
    objective: Sum = peak
    if problem.goal.objective == "step":
        objective = sum(loads) + (problem.goal.microbatches - 1) * peak
    program.model.minimize(objective)
    for (group, rank), flag in program.on.items():
        if hint:
            program.model.add_hint(flag, int(hint[group] == rank))
    return _run(program, time_limit_s, gap)


def _place(program: _Program) -> None:
    """(1), (2)."""
    problem, groups, model = program.problem, program.groups, program.model
    for group, rank in np.argwhere(np.isfinite(groups.time_s)):
        program.on[int(group), int(rank)] = model.new_bool_var(f"x{group},{rank}")
    for group in range(groups.count):
        model.add_exactly_one([program.on[group, r] for r in range(problem.ranks) if (group, r) in program.on])
    shift = max(1.0, float(groups.memory_bytes.sum()) / 2.0**52)
    for rank in range(problem.ranks):
        here = [
            (program.on[g, rank], math.floor(groups.memory_bytes[g] / shift))
            for g in range(groups.count)
            if (g, rank) in program.on
        ]
        model.add(sum(flag * nbytes for flag, nbytes in here) <= math.floor(problem.capacity_bytes[rank] / shift))


def _loads(program: _Program) -> list[Sum]:
    """(3), (4)."""
    problem, groups, model = program.problem, program.groups, program.model
    terms: list[list[Sum]] = [[] for _ in range(problem.ranks)]
    for (group, rank), flag in program.on.items():
        terms[rank].append(flag * program.ticks(float(groups.time_s[group, rank])))
    for op in range(problem.count):
        home = groups.of[op]
        readers = sorted({groups.of[each] for each in problem.readers[op]} - {home})
        for source in range(problem.ranks):
            for target in range(problem.ranks):
                here = [program.on[each, target] for each in readers if (each, target) in program.on]
                if source != target and here and (home, source) in program.on:
                    crosses = model.new_bool_var(f"y{op},{source},{target}")
                    for flag in here:
                        model.add_bool_or([crosses, ~program.on[home, source], ~flag])
                    ticks = program.ticks(float(problem.transfer_s[op, source, target]))
                    terms[source].append(crosses * ticks)
                    terms[target].append(crosses * ticks)
    return [sum(each) for each in terms]


def _convex(program: _Program) -> None:
    """(5)."""
    problem, groups, model = program.problem, program.groups, program.model
    for direction in directions(problem):
        for rank in range(problem.ranks):
            after = [model.new_bool_var("") for _ in range(problem.count)]
            before = [model.new_bool_var("") for _ in range(problem.count)]
            for source, target in problem.edges:
                model.add_implication(after[source], after[target])
                model.add_implication(before[target], before[source])
            for op in range(problem.count):
                here = program.on.get((groups.of[op], rank))
                outside = [~after[op], ~before[op]]
                model.add_bool_or(outside if here is None else [*outside, here])
                if here is not None and direction >> op & 1:
                    model.add_implication(here, after[op])
                    model.add_implication(here, before[op])


def _order_equal_ranks(program: _Program) -> None:
    """(6)."""
    for first, second in equal_ranks(program.problem):
        for group in range(program.groups.count):
            if (group, second) in program.on:
                earlier = [program.on[each, first] for each in range(group) if (each, first) in program.on]
                program.model.add_bool_or([~program.on[group, second], *earlier])


def equal_ranks(problem: Problem) -> list[tuple[int, int]]:
    """Neighbours in runs of ranks of which any two can change places: same type, same links to the others."""
    found = []
    for ranks in problem.kind_ranks:
        for first, second in pairwise(ranks):
            swap = list(range(problem.ranks))
            swap[first], swap[second] = second, first
            same = all(
                np.array_equal(table, table[np.ix_(swap, swap)]) for table in (problem.latency_s, problem.bandwidth_bytes_per_s)
            )
            if same:
                found.append((first, second))
    return found


def _schedule(program: _Program, peak: Flag) -> None:
    """(7)."""
    problem, groups, model = program.problem, program.groups, program.model
    horizon = 2 * int(RESOLUTION)
    program.begin = [model.new_int_var(0, horizon, f"begin{op}") for op in range(problem.count)]
    for rank in range(problem.ranks):
        intervals = []
        for op in range(problem.count):
            if (groups.of[op], rank) in program.on:
                here, ticks = program.on[groups.of[op], rank], program.ticks(float(problem.time_s[op, rank]))
                intervals.append(model.new_optional_fixed_size_interval_var(program.begin[op], ticks, here, ""))
                model.add(peak >= program.begin[op] + ticks).only_enforce_if(here)
        model.add_no_overlap(intervals)
    for source, target in problem.edges:
        for (group, rank), flag in program.on.items():
            if group != groups.of[source]:
                continue
            for other in range(problem.ranks):
                there = program.on.get((groups.of[target], other))
                if there is not None and (rank == other or groups.of[target] != group):
                    wait = float(problem.time_s[source, rank]) + float(problem.transfer_s[source, rank, other])
                    row = model.add(program.begin[target] >= program.begin[source] + program.ticks(wait))
                    row.only_enforce_if([flag, there])


def _run(program: _Program, time_limit_s: float, gap: float) -> Found:
    solver = make_solver()
    solver.parameters.relative_gap_limit = gap
    solver.parameters.max_deterministic_time = max(0.0, SPEED * time_limit_s)
    solver.parameters.max_time_in_seconds = max(0.01, time_limit_s)
    status = run(solver, program.model)
    if status == cp_model.INFEASIBLE:
        return Found((), (), math.inf, infeasible=True)
    bound = max(0.0, solver.best_objective_bound) * program.unit_s * (1 - 1e-12)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Found((), (), bound if status == cp_model.UNKNOWN else 0.0)
    places = [0] * program.groups.count
    for (group, rank), flag in program.on.items():
        if solver.boolean_value(flag):
            places[group] = rank
    return Found(tuple(places), _sequence(program, places, [solver.value(begin) for begin in program.begin]), bound)


def _sequence(program: _Program, places: Sequence[int], starts: Sequence[int]) -> tuple[int, ...]:
    """Ops by start; of those that start at once the shorter first, for the others take no time, and producers before readers."""
    if not starts:
        return ()
    problem, of = program.problem, program.groups.of
    place = {op: index for index, op in enumerate(topological(problem.producers, problem.readers))}
    ticks = [program.ticks(float(problem.time_s[op, places[of[op]]])) for op in range(problem.count)]
    return tuple(sorted(range(problem.count), key=lambda op: (starts[op], ticks[op], place[op])))
