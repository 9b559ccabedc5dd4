"""What comes of a search that ended early."""

from __future__ import annotations

import pytest

from autopart.errors import Infeasible
from autopart.planner import best
from autopart.planner.best import best_plan
from autopart.planner.meshes import Index
from autopart.planner.problem import Problem, Solution
from tests.properties.test_planning import random_index


@pytest.fixture(scope="module")
def index() -> Index:
    return random_index(1)


def ending(monkeypatch: pytest.MonkeyPatch, proof: str, *, found: bool) -> None:
    solve = best.solve

    def ended(problem: Problem, **limits: object) -> Solution:
        whole = solve(problem)
        return Solution(whole.candidates if found else (), whole.lower_bound_s, proof)

    monkeypatch.setattr(best, "solve", ended)


@pytest.mark.parametrize("proof", ["gap", "time limit", "interrupted"])
def test_the_plan_says_how_its_search_ended(proof: str, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, proof, found=True)
    estimate = best_plan(index).estimate
    assert estimate is not None
    assert estimate.proof is not None
    assert estimate.proof.ended == proof
    assert f"{index.table.count} blocks" in estimate.proof.space


def test_interrupted_with_nothing_in_hand(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, "interrupted", found=False)
    with pytest.raises(KeyboardInterrupt):
        best_plan(index)


def test_out_of_time_with_nothing_in_hand_is_not_called_impossible(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, "time limit", found=False)
    monkeypatch.setattr(best, "chosen", lambda *_: None)
    with pytest.raises(Infeasible, match="nor was it ruled out"):
        best_plan(index)
