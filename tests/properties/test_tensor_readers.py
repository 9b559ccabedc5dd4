"""A tensor that parts all over a graph read: bounds count its transfers, and not one too many."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from autopart.profiled import chain, solve
from autopart.profiled.problem import Array, Goal, Ints, Problem
from autopart.profiled.readers import Spread
from tests.profiles import best_by_force, draw

NEAR = 1e-6


def masked(seed: int) -> Problem:
    """A chain of six ops on three equal ranks, of which most read one more op's output; some of them take no time to speak of."""
    rng = random.Random(seed)
    chained = [(op, op + 1) for op in range(1, 6)]
    read = [(0, op) for op in range(1, 7) if rng.random() < 0.8]
    times = np.array([0.1, *(rng.choice([0.2, 1.0, 2.0]) * rng.uniform(0.8, 1.2) for _ in range(6))])
    like = draw(0, Goal("throughput"))
    return replace(
        like,
        names=tuple(f"n{op}" for op in range(7)),
        time_s=np.repeat(times[:, None], 3, axis=1),
        memory_bytes=np.ones(7),
        output_bytes=np.array([rng.uniform(0.1, 0.4), *(rng.uniform(0.0, 0.2) for _ in range(6))]),
        backward=np.zeros(7, dtype=bool),
        labels=(None,) * 7,
        edges=tuple(read + chained),
        kinds=np.zeros(3, dtype=np.int64),
        capacity_bytes=np.full(3, 100.0),
        latency_s=np.zeros((3, 3)),
        bandwidth_bytes_per_s=np.where(np.eye(3, dtype=bool), np.inf, 1.0),
    )


CASES = [(problem, best_by_force(problem)) for problem in map(masked, range(40))]


def chained(problem: Problem) -> solve.Solution:
    """By chains alone, without the search that closes what they leave."""
    with pytest.MonkeyPatch.context() as patch:
        for each in ("cover", "_move", "_exactly"):
            patch.setattr(solve, each, lambda *_: None)
        patch.setattr("autopart.profiled.solve.close", lambda *_: None)
        return solve.solve(problem, gap=0.0, time_limit_s=60.0)


def proven() -> list[bool]:
    return [chained(problem).bound_s >= best * (1 - NEAR) for problem, best in CASES]


def too_high() -> list[bool]:
    return [chained(problem).bound_s > best * (1 + NEAR) for problem, best in CASES]


def test_no_bound_is_too_high() -> None:
    assert not any(too_high())


def test_further_readers_close_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    with_readers = sum(proven())
    monkeypatch.setattr(chain, "_more_s", lambda *_: None)
    assert sum(proven()) < with_readers


def test_counting_every_device_as_a_reader_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def every(spread: Spread, rest: Array, worth: Array, left: Ints, slack: float) -> Array:
        return np.full((len(rest), len(spread.makers)), max(float(left.sum()) - 1, 0.0))

    monkeypatch.setattr(chain, "more_readers", every)
    assert any(too_high())
