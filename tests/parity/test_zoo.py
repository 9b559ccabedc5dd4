"""Every model of the zoo, compiled under unlike plans and trained on real processes, is the unsplit model.

A batch has 12 samples; -100 among the labels of language models leaves unlike numbers of tokens on each rank.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fronts import front
from tests.parity.parity import BRIEF, FULL, Case, Part, assert_parity
from tests.zoo import ZOO

CASES = {
    "data": Case((Part((3, 1, 2)),), microbatches=2, schedule="gpipe"),
    "stages": Case((Part((3,)), Part((3,), 2.0, recompute=True), Part((3,)), Part((3,))), microbatches=4),
    "fan_in": Case((Part((3, 1), 2.0, recompute=True), Part((4,))), microbatches=3, unused=1),
    "fan_out": Case((Part((6,)), Part((1, 2, 3), 2.0)), microbatches=2, schedule="gpipe"),
    "crossed": Case((Part((4, 2)), Part((1, 5), recompute=True)), microbatches=2, order=(3, 0, 2, 1)),
}
ALONE = {  # for a graph without samples: one rank a stage
    "two": Case((Part((12,), 2.0, recompute=True), Part((12,))), unused=1),
    "three": Case((Part((12,)), Part((12,)), Part((12,))), order=(2, 0, 1)),
    "four": Case((Part((12,)),) * 4, schedule="gpipe"),
}
LONG = ("crossed", "three")  # trained for more steps, by each optimizer
RANDOM = ("gpt2_dropout", "bert_dropout", "dict_output")  # ranks draw their own masks: see test_randomness
RUNS = [
    (name, case)
    for number, (name, entry) in enumerate(ZOO.items())
    if name not in RANDOM
    for case in (ALONE if entry.batchless else (LONG[0], list(CASES)[number % 4]))
]  # beside those of test_random_plans


def case_for(name: str, case: str) -> Case:
    """The plan, with no more stages than the model has blocks, and one microbatch for a model that mixes samples."""
    if ZOO[name].batchless:
        return ALONE[case]
    plan = CASES[case].in_one_microbatch() if ZOO[name].mixes_samples else CASES[case]
    return replace(plan, parts=plan.parts[: len(front(name).blocks.blocks)])


@pytest.mark.parametrize(("name", "case"), RUNS)
def test_trains_as_on_one_device(name: str, case: str) -> None:
    assert_parity(name, case_for(name, case), FULL if case in LONG else BRIEF)
