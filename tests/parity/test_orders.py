"""Stages that are any convex sets of the graph, trained on real processes, are the unsplit model.

Towers side by side in one stage, towers on devices of their own that a third joins, stages cut between any two ops.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from autopart.blocks.flow import block_reads
from autopart.blocks.group import group
from autopart.blocks.orders import in_order, orders
from autopart.pipeline import Front
from tests.fronts import front
from tests.parity.parity import FULL, Case, Part, assert_trained_alike, expected
from tests.zoo import ZOO

THREE = Case((Part((3,)), Part((3,), recompute=True), Part((3,))), microbatches=4)
SHARED = Case((Part((2, 1)), Part((3,)), Part((1, 2))), microbatches=2, schedule="gpipe", order=(3, 0, 2, 1, 4))


def case_of(name: str, case: Case) -> Case:
    return case.in_one_microbatch() if ZOO[name].mixes_samples else case


def train(name: str, source: Front, case: Case) -> None:
    case = case_of(name, case)
    assert_trained_alike(source, case, {"adamw": expected(name, case.batch, "adamw", FULL["adamw"])})


@cache
def at(name: str, granularity: str) -> Front:
    source = front(name)
    return replace(source, blocks=group(source.blocks.sharded, granularity))


@pytest.mark.parametrize("name", ["inception", "recommender", "siamese", "two_towers", "dlrm", "resnet", "t5"])
def test_every_order_of_the_blocks_trains_as_on_one_device(name: str) -> None:
    source = front(name)
    every = orders(source.blocks)
    assert len(every) > 1
    for number, blocks in enumerate(every[1:4]):
        train(name, replace(source, blocks=blocks), SHARED if number == 1 else THREE)


@pytest.mark.parametrize("name", ["inception", "recommender", "resnet", "unet", "mlp", "inplace_cnn", "fno"])
def test_stages_may_be_cut_between_any_ops(name: str) -> None:
    source = at(name, "op")
    assert len(source.blocks.blocks) > len(front(name).blocks.blocks)
    train(name, replace(source, blocks=orders(source.blocks)[-1]), THREE)


@pytest.mark.parametrize("name", ["gpt2", "unet", "inception"])
def test_whole_layers(name: str) -> None:
    train(name, at(name, "layer"), THREE)


def test_two_towers_run_beside_each_other_and_are_joined() -> None:
    """Two stages that read only inputs; the third reads both, and so does what crosses."""
    source = front("recommender")
    names = [block.name for block in source.blocks.blocks]
    user = [name for name in names if name.startswith("user") or name == "items.embedding"]
    join = names[-1:]
    offer = [name for name in names if name not in (*user, *join)]
    blocks = in_order(source.blocks, [*offer, *user, *join])
    reads = block_reads(blocks)
    assert not any(index < len(offer) for read in reads[len(offer) : -1] for index in read)
    weights = (float(len(offer)), float(len(user)), 1.0)
    parts = tuple(replace(part, weight=weight) for part, weight in zip(THREE.parts, weights, strict=True))
    train("recommender", replace(source, blocks=blocks), replace(THREE, parts=parts))
