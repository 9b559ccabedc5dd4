"""Small random profiled graphs, and what they cost by brute force: an oracle that shares no formula with the planner."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations, product

import numpy as np

from autopart.profiled.problem import Goal, Problem

INFINITE = float("inf")


def draw(seed: int, goal: Goal, *, ops: int = 6, training: bool = False) -> Problem:
    """Ops with edges to later ones; two or three ranks of one or two types; links, labels, memory and types that matter."""
    rng = random.Random(seed)
    count = rng.randint(3, ops)
    kinds = rng.choice([[0, 0], [0, 1], [0, 0, 0], [0, 0, 1], [0, 1, 1]])
    backward = [False] * count
    edges = [(a, b) for a in range(count) for b in range(a + 1, count) if rng.random() < 0.45]
    labels: list[str | None] = [None] * count
    if training:
        half = (count + 1) // 2
        edges = [(a, b) for a, b in edges if b < half]
        mirror = {a: count - 1 - a for a in range(count - half)}
        edges += [(mirror[b], mirror[a]) for a, b in edges if a in mirror and b in mirror]
        edges += [(a, mirror[a]) for a in mirror if rng.random() < 0.9]
        backward = [op >= half for op in range(count)]
        for a in mirror:
            if rng.random() < 0.5:
                labels[a] = labels[mirror[a]] = f"c{a}"
    elif rng.random() < 0.4:
        for op in rng.sample(range(count), 2):
            labels[op] = "pair"
    order = rng.sample(range(count), count)  # file order is not topological
    place = {op: order[op] for op in range(count)}
    speed = [1.0, rng.choice([1.0, 3.0, 0.5])]
    base = [rng.choice([0.0, 1.0, 2.0, 5.0]) * rng.uniform(0.5, 1.0) for _ in range(count)]
    time_s = np.array([[time * speed[kind] * rng.uniform(0.8, 1.2) for kind in range(2)] for time in base])
    if max(kinds):
        for op in range(count):
            if rng.random() < 0.15:
                time_s[op, rng.randrange(2)] = INFINITE
    memory = np.array([float(rng.randint(0, 10)) for _ in range(count)])
    ranks = len(kinds)
    slow = rng.choice([0.0, 0.1, 1.0])
    latency, bandwidth = np.zeros((ranks, ranks)), np.full((ranks, ranks), INFINITE)
    for a in range(ranks):
        for b in range(a):
            latency[a, b] = latency[b, a] = slow * rng.uniform(0.0, 0.5)
            bandwidth[a, b] = bandwidth[b, a] = 1.0 / max(slow * rng.choice([0.5, 1.0, 2.0]), 1e-9)
    room = rng.choice([1.0, 0.7, 0.5]) * memory.sum()
    back = np.argsort([place[op] for op in range(count)])
    return Problem(
        names=tuple(f"n{op}" for op in range(count)),
        time_s=time_s[np.ix_(back, kinds)],
        memory_bytes=memory[back],
        output_bytes=np.array([rng.choice([0.0, 0.2, 1.0]) for _ in range(count)]),
        backward=np.array(backward)[back],
        labels=tuple(labels[op] for op in back),
        edges=tuple((place[a], place[b]) for a, b in edges),
        kinds=np.array(kinds),
        capacity_bytes=np.array([room + (3.0 if kind else 0.0) for kind in kinds]),
        latency_s=latency,
        bandwidth_bytes_per_s=bandwidth,
        goal=goal,
    )


def with_goal(problem: Problem, goal: Goal) -> Problem:
    return replace(problem, goal=goal)


def best_by_force(problem: Problem) -> float:
    """The least value of any assignment; infinite where none is allowed."""
    reach = _reachable(problem)
    return min(
        (cost(problem, each) for each in product(range(problem.ranks), repeat=problem.count) if allowed(problem, each, reach)),
        default=INFINITE,
    )


def allowed(problem: Problem, assignment: Sequence[int], reach: set[tuple[int, int]] | None = None) -> bool:
    """Types, labels, memory, convexity, one at a time."""
    reach = _reachable(problem) if reach is None else reach
    ops = range(problem.count)
    if any(problem.time_s[op, assignment[op]] == INFINITE for op in ops):
        return False
    if any(
        problem.labels[a] and problem.labels[a] == problem.labels[b] and assignment[a] != assignment[b] for a in ops for b in ops
    ):
        return False
    for rank in range(problem.ranks):
        if sum(problem.memory_bytes[op] for op in ops if assignment[op] == rank) > problem.capacity_bytes[rank]:
            return False
    if not problem.goal.contiguous:
        return True
    return not any(
        assignment[a] == assignment[b] != assignment[v] and problem.backward[a] == problem.backward[b]
        for a, v in reach
        for b in ops
        if (v, b) in reach
    )


def _reachable(problem: Problem) -> set[tuple[int, int]]:
    found = set(problem.edges)
    while True:
        more = {(a, d) for a, b in found for c, d in found if b == c} - found
        if not more:
            return found
        found |= more


def cost(problem: Problem, assignment: Sequence[int]) -> float:
    """The objective of an assignment, over all orders of ops for latency."""
    goal = problem.goal
    if goal.objective == "latency":
        return min(_makespan(problem, assignment, order) for order in linear_orders(problem))
    load = [0.0] * problem.ranks
    for op, rank in enumerate(assignment):
        load[rank] += problem.time_s[op, rank]
    pairs = {(a, assignment[a], assignment[b]) for a, b in problem.edges if assignment[a] != assignment[b]}
    for op, source, target in pairs:
        seconds = problem.latency_s[source, target] + problem.output_bytes[op] / problem.bandwidth_bytes_per_s[source, target]
        load[source] += seconds
        load[target] += seconds
    return max(load) if goal.objective == "throughput" else sum(load) + (goal.microbatches - 1) * max(load)


def linear_orders(problem: Problem) -> Iterator[tuple[int, ...]]:
    """All orders of ops in which producers come first."""
    for order in permutations(range(problem.count)):
        place = {op: index for index, op in enumerate(order)}
        if all(place[a] < place[b] for a, b in problem.edges):
            yield order


def _makespan(problem: Problem, assignment: Sequence[int], order: Sequence[int]) -> float:
    free = [0.0] * problem.ranks
    end: dict[int, float] = {}
    for op in order:
        rank = assignment[op]
        inputs = [
            end[a]
            + problem.latency_s[assignment[a], rank]
            + problem.output_bytes[a] / problem.bandwidth_bytes_per_s[assignment[a], rank]
            for a, b in problem.edges
            if b == op
        ]
        end[op] = max([free[rank], *inputs]) + problem.time_s[op, rank]
        free[rank] = end[op]
    return max(end.values())


def two_chains(seed: int) -> Problem:
    """Two chains with few edges between, on equal and unlike ranks, where two parts may well need each other in a circle."""
    rng = random.Random(seed)
    count = rng.choice([6, 7, 8])
    ranks = rng.choice([2, 2, 3]) if count < 8 else 2
    split = rng.randint(2, count - 2)
    edges = [(op, op + 1) for op in range(count - 1) if op + 1 != split]
    edges += [(a, b) for a in range(count) for b in range(a + 1, count) if rng.random() < 0.08]
    kinds = [0] * ranks if rng.random() < 0.6 else [0] * (ranks - 1) + [1]
    time_s = np.array([[rng.choice([1, 2, 5, 9]) * speed for speed in (1.0, rng.choice([0.7, 1.6]))] for _ in range(count)])
    labels: list[str | None] = [None] * count
    if rng.random() < 0.5:
        for op in rng.sample(range(count), 2):
            labels[op] = "pair"
    second, apart = rng.choice([0.01, 0.1, 0.5]), ~np.eye(ranks, dtype=bool)
    return Problem(
        names=tuple(f"n{op}" for op in range(count)),
        time_s=time_s[:, kinds],
        memory_bytes=np.ones(count),
        output_bytes=np.array([rng.choice([0.0, 1.0]) for _ in range(count)]),
        backward=np.zeros(count, dtype=bool),
        labels=tuple(labels),
        edges=tuple(edges),
        kinds=np.array(kinds),
        capacity_bytes=np.full(ranks, 1e9),
        latency_s=np.where(apart, second / 3, 0.0),
        bandwidth_bytes_per_s=np.where(apart, 1 / second, INFINITE),
        goal=Goal("throughput") if rng.random() < 0.6 else Goal("step", microbatches=4),
    )
