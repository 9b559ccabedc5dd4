"""What `diff` says that collectives send, by counting what two ranks do send in a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

from autopart.cluster.load import parse_cluster
from autopart.explain.sent import Sent, sent
from autopart.planner.meshes import make_index
from autopart.planner.score import score
from autopart.plans import ModelRef, Settings
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import CLUSTER, Case, Part, on_ranks, plan_of, user_batch

STRAY = 1024  # bytes of a rank that are none of the model's: the loss, masks of parameters without gradient, padding
CASES = {
    "replicas": ("gpt2", Case((Part((2, 1)),), microbatches=2)),
    "zero 1": ("gpt2", Case((Part((2, 1), zero=1),), microbatches=2)),
    "zero 2": ("gpt2", Case((Part((2, 1), zero=2),), microbatches=2)),
    "zero 3": ("gpt2", Case((Part((2, 1), zero=3),), microbatches=2)),
    "columns": ("vit", Case((Part((3,), tensor=2),), microbatches=2)),
    "batch norm": ("resnet", Case((Part((2, 2)),))),
}


@pytest.mark.parametrize("case", CASES)
def test_as_ranks_send(case: str) -> None:
    found = told(*CASES[case])
    assert abs(counted(*CASES[case]) - found.total) <= 2 * STRAY, found


@pytest.mark.parametrize("model", ["vit", "llama"])
def test_recomputation_repeats_collectives_at_most(model: str) -> None:
    """It ends with the last value that the backward needs; what comes after it is told all the same."""
    once = Case((Part((3,), tensor=2),), microbatches=2)
    again = Case((Part((3,), tensor=2, recompute=True),), microbatches=2)
    assert counted(model, once) - 2 * STRAY < counted(model, again) <= told(model, again).total + 2 * STRAY
    assert told(model, once).total < told(model, again).total


def test_what_is_told_apart() -> None:
    """The same parameters: scattered and gathered once a step instead of summed; gathered twice a microbatch."""
    found = {case: told(*CASES[case]) for case in ("replicas", "zero 1", "zero 3")}
    parameters = sum(p.value.numel(1) for p in front("gpt2").blocks.sharded.graph.parameters if p.trainable)
    assert found["replicas"] == Sent(0, 0, gradients=2 * parameters * 8, gathered=0)
    assert found["zero 1"] == Sent(0, 0, gradients=parameters * 8, gathered=parameters * 8)
    assert found["zero 3"] == Sent(0, 0, gradients=2 * parameters * 8, gathered=4 * parameters * 8)


def counted(name: str, case: Case) -> int:
    """By all ranks."""
    source = front(name)
    return sum(on_ranks(source, case, step_counted, user_batch(source.loaded, case.batch)))


def told(name: str, case: Case) -> Sent:
    source, settings = front(name), Settings(precision="float64")
    plan = plan_of(source.blocks, case, settings)
    cluster = parse_cluster(CLUSTER.format(ranks=2), "cluster.yaml")
    index = make_index(source.blocks, cluster, plan.batch_size, settings, ModelRef(""))
    return sent(score(plan, index), index)


def step_counted(module: DistributedModule, batch: Any) -> int:
    """Bytes that this one of two ranks sends in a step: as many as it has of what it sums or passes on."""
    counted = 0
    kept = {name: getattr(dist, name) for name in ("all_reduce", "batch_isend_irecv", "all_gather_single")}

    def counting(name: str) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal counted
            counted += passed_on(name, *args)
            return kept[name](*args, **named)

        return call

    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    for name in kept:
        setattr(dist, name, counting(name))
    module.train_step(batch)
    optimizer.step()
    for name, function in kept.items():
        setattr(dist, name, function)
    return counted


def passed_on(name: str, first: Any, second: Any = None) -> int:
    """To the other rank."""
    match name:
        case "all_reduce":  # half of it each way, twice
            return int(first.nbytes)
        case "all_gather_single":
            return int(second.nbytes)
        case _:
            return sum(each.tensor.nbytes for each in first if each.op is dist.isend)
