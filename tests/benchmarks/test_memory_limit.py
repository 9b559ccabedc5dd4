"""What the trials under a memory limit decide, without a control group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autopart.cluster.load import parse_cluster
from benchmarks.memory import limit
from benchmarks.memory.limit import CLUSTER, PAGE, TRIALS, Trial
from benchmarks.memory.measure import PLANS
from cost_models.memory import usable_bytes
from tests.zoo import ZOO

TRIAL = Trial("mlp", "data 2", 8, 2**29, (5, 7), (6, 8), (5, 6), (False, False), (0, 0))


def usable(memory: int) -> int:
    return usable_bytes(parse_cluster(CLUSTER.format(memory=memory, ranks=1), "cluster.yaml").device(0))


@pytest.mark.parametrize("needed", [1, PAGE, 55_370_824, 140_913_736, 2**33 + 1])
def test_the_least_memory_is_enough_and_two_pages_less_are_not(needed: int) -> None:
    memory = limit._least_memory(needed)
    assert memory % PAGE == 0
    assert usable(memory) >= needed
    assert usable(memory - 2 * PAGE) < needed


def test_a_trial_survives_where_no_rank_was_killed_or_failed() -> None:
    assert TRIAL.survived
    assert not replace(TRIAL, killed=(False, True)).survived
    assert not replace(TRIAL, statuses=(0, 1)).survived
    assert not replace(TRIAL, statuses=(-9, -9)).survived


def test_a_line_shows_the_rank_that_has_most() -> None:
    assert limit._line(TRIAL).split()[3:] == ["512", "MiB", "7", "B", "8", "B", "6", "B", "survived"]
    assert limit._line(replace(TRIAL, statuses=(-9, 0))).endswith("died (-9, 0)")


def test_numbers_of_a_group(tmp_path: Path) -> None:
    file = tmp_path / "memory.oom_control"
    file.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert limit._numbers(file) == {"oom_kill_disable": 0, "under_oom": 0, "oom_kill": 3}


def test_trials_are_of_models_and_plans_that_there_are() -> None:
    assert len(set(TRIALS)) == len(TRIALS) >= 20
    assert {name for name, _ in TRIALS} <= set(ZOO)
    assert {plan for _, plan in TRIALS} <= set(PLANS)
