"""Models under tensor degrees, trained on real processes: what the planner chooses, and layouts drawn at random."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autopart.pipeline import Front
from tests.fronts import front, front_of
from tests.parity.layouts import drawn_layout
from tests.parity.parity import BRIEF, FULL, Case, Part, assert_front_parity, assert_parity
from tests.parity.test_zoo import RANDOM
from tests.zoo import ZOO, Entry
from tests.zoo.transformer import causal_inputs, gpt2, llama

CASES = {
    "tensor": Case((Part((4,), tensor=2, recompute=True),), microbatches=3),
    "data": Case((Part((3, 1), tensor=2),), microbatches=3),
    "stages": Case((Part((4,), tensor=2), Part((4,), tensor=2, recompute=True)), microbatches=3),
    "unlike": Case((Part((3, 1)), Part((4,), tensor=3)), microbatches=3),
    "all": Case((Part((3, 1), tensor=2), Part((2, 2), tensor=2)), microbatches=3, order=(3, 2, 1, 0, 7, 5, 6, 4)),
}
MODELS = ("gpt2", "llama", "bert", "vit", "resnet", "dlrm", "mixtral")
OTHERS = tuple(name for name in ZOO if name not in (*RANDOM, *MODELS))
SPLIT_HEADS = (("*:scaled_dot_product_attention", "S(1)"),)


def fitting(name: str, case: Case) -> Case:
    """One microbatch for models that mix samples, one replica for those that have none."""
    if ZOO[name].batchless:
        return Case((Part((12,), tensor=2),))
    return case.in_one_microbatch() if ZOO[name].mixes_samples else case


def with_drawn(source: Front, case: Case, seed: int) -> Case:
    """The case with a layout of its own for every stage of several columns; in one microbatch, because messages are many."""

    def drawn(part: Part, lot: int) -> Part:
        weights = part.tensor_shares or (1,) * part.tensor
        return replace(part, layouts=drawn_layout(source, weights, lot)) if part.tensor > 1 else part

    return replace(case, microbatches=1, parts=tuple(drawn(part, seed + i) for i, part in enumerate(case.parts)))


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for number, name in enumerate(MODELS) for case in ("all", *list(CASES)[number % 3 : number % 3 + 2])],
)
def test_as_planned(name: str, case: str) -> None:
    assert_parity(name, fitting(name, CASES[case]), FULL if case == "all" else BRIEF)


@pytest.mark.parametrize("name", OTHERS[::2])
def test_other_models_as_planned(name: str) -> None:
    assert_parity(name, fitting(name, CASES["tensor"]), BRIEF)


@pytest.mark.parametrize(("name", "seed"), [(name, number % 3) for number, name in enumerate(MODELS)])
def test_drawn_layouts(name: str, seed: int) -> None:
    case = fitting(name, (CASES["tensor"], CASES["stages"], CASES["data"])[seed])
    assert_parity(name, with_drawn(front(name), case, 10 * seed), BRIEF)


@pytest.mark.parametrize("name", OTHERS[1::2])
def test_drawn_layouts_of_other_models(name: str) -> None:
    assert_parity(name, with_drawn(front(name), fitting(name, CASES["tensor"]), 1), BRIEF)


@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_uneven_heads(model: str) -> None:
    """Three of four heads on one column, one on the other; the feed-forward layers in the same proportion."""
    source = front("llama") if model == "llama" else front_of(Entry(lambda: gpt2(heads=4), causal_inputs).loaded())
    part = Part((2, 1), tensor=2, tensor_shares=(3, 1), layouts=SPLIT_HEADS)
    assert_front_parity(source, Case((part,), microbatches=2))


def test_uneven_layouts_drawn() -> None:
    source = front_of(Entry(llama, causal_inputs).loaded())
    case = Case((Part((3,), tensor=2, tensor_shares=(2, 1)), Part((3,), tensor=2, tensor_shares=(1, 3))), microbatches=2)
    assert_front_parity(source, with_drawn(source, case, 5), BRIEF)
