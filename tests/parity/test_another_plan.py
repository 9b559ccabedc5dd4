"""A run that goes on under another plan: who has what, what is saved and loaded, the numbers of one device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster, parse_cluster
from autopart.package import write_package
from autopart.pipeline import Built, Front, emit_package, localized, model_ref
from autopart.planner.best import best_plan
from autopart.planner.meshes import make_index
from autopart.planner.strategies import Pins
from autopart.plans import Plan, Settings
from autopart.program.check import check_plan
from autopart.program.lower import lower
from autopart.program.state import state_of
from autopart.replan.replan import make_before, replan
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.parity.parity import Case, Part, close, compare, compiled, on_ranks, train_whole, user_batch
from tests.properties.test_elements import listed
from tests.ranks import run_ranks

ROOT = Path(__file__).parents[2]
STEPS = 2
State = dict[str, Tensor]


# Which elements a rank has


def numbered(module: DistributedModule, state: State) -> dict[str, list[float]]:
    """What a rank has of tensors of which every element is its own position."""
    module.load_state_dict(state)
    return {name: tensor.flatten().tolist() for name, tensor in module.named_parameters()}


@pytest.mark.parametrize(
    "case",
    [
        Case((Part((2, 1), tensor=2, tensor_shares=(3, 1), zero=1),)),
        Case((Part((2, 1, 1), zero=3), Part((4,)))),
        Case((Part((2, 2), tensor=2, zero=3),), order=(3, 0, 2, 1)),
    ],
    ids=["uneven columns, zero 1", "zero 3, a stage alone", "columns, zero 3"],
)
def test_ranks_have_the_elements_that_the_account_says(case: Case, tmp_path: Path) -> None:
    """What an optimizer sees of a parameter is what its state is of."""
    source = front("gpt2")
    whole = source.loaded.module.state_dict()
    state = {name: torch.arange(t.numel(), dtype=t.dtype).view(t.shape) for name, t in whole.items()}
    ranks = on_ranks(source, case, numbered, state)
    program = compiled(source, case, tmp_path).program
    account = state_of(program, source.blocks.sharded.graph, "adamw")
    said: dict[tuple[int, str], list[int]] = {}
    for (name, sort), kept in account.items():
        for holding in kept.holdings if sort == "optimizer" else ():
            for rank in holding.ranks:
                said[rank, name] = listed(holding.elements)
    found = {(rank, name): values for rank, held in enumerate(ranks) for name, values in held.items() if values}
    assert found == said


# A run that goes on


def trained(module: DistributedModule, state: State, batch: Any, steps: int) -> tuple[list[Tensor], State]:
    """Plain descent from a state dict: it has no state of its own that a checkpoint would lack."""
    module.load_state_dict(state)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(module.train_step(batch))
        optimizer.step()
    return losses, module.full_state_dict()


def whole(source: Front, batch_size: int, steps: int) -> tuple[list[Tensor], State]:
    run = train_whole(source.loaded, batch_size, lambda parameters: torch.optim.SGD(parameters, lr=0.05), steps)
    return run.losses, run.state


def same(found: tuple[list[Tensor], State], losses: list[Tensor], state: State) -> None:
    for mine, wanted in zip(found[0], losses, strict=True):
        close("loss", mine, wanted)
    compare("after training ", found[1], state)


def test_a_state_dict_of_one_plan_loads_under_any_other() -> None:
    """Two stages, then columns that share all out, then two stages the other way round; the same batch all the time."""
    source = front("gpt2")
    batch = user_batch(source.loaded, 4)
    cases = (
        Case((Part((1, 1)), Part((2,))), microbatches=2),
        Case((Part((3, 1), tensor=2, zero=3),)),
        Case((Part((2,)), Part((1, 1), zero=1)), microbatches=2, order=(2, 0, 1)),
    )
    state: State = dict(source.loaded.module.state_dict())
    losses: list[Tensor] = []
    for case in cases:
        more, state = on_ranks(source, case, trained, state, batch, STEPS)[0]
        losses += more
    same((losses, state), *whole(source, 4, STEPS * len(cases)))


def built(source: Front, plan: Plan, cluster: Cluster, folder: Path) -> None:
    """The package of a plan."""
    check_plan(plan, source.blocks, cluster)
    local = localized(plan, source, cluster)
    program = lower(local.blocks, local.plan, local.shards)
    package = Built(plan, source, cluster, local, program)
    write_package(folder, emit_package(package), source.loaded, source.traced, None)


def on_rank(rank: int, folder: Path, state: State, batch: Any) -> tuple[list[Tensor], State]:
    return trained(DistributedModule(folder, timeout_s=20.0), state, batch, STEPS)


def test_training_goes_on_after_a_machine_died(tmp_path: Path) -> None:
    """Planned over two unlike machines, planned again for what is left, trained on there: the numbers of one device."""
    source, settings = front("gpt2"), Settings("sgd", "float64")
    old = load_cluster(ROOT / "examples/clusters/cpus.yaml")
    text = (ROOT / "examples/clusters/cpus.yaml").read_text()
    fewer = text.replace("slow-cpu, count: 2", "slow-cpu, count: 1").replace("fast-cpu, count: 2", "fast-cpu, count: 1")
    new = parse_cluster(fewer, "fewer.yaml")
    index = make_index(source.blocks, new, 8, settings, model_ref(source))
    plan = best_plan(make_index(source.blocks, old, 8, settings, model_ref(source)), Pins(stages=2, data=2))
    again = replan(make_before(plan, old, index), index, Pins(stages=2), "1f1b")
    assert again.moves is not None
    assert again.moves.lost == ("fast:1", "slow:1")
    assert again.moves.checkpoint_bytes == 0  # each stage had a replica that is left
    state: State = dict(source.loaded.module.state_dict())
    batch, losses = user_batch(source.loaded, 8), []
    for number, (each, cluster) in enumerate(((plan, old), (again, new))):
        folder = tmp_path / str(number)
        built(source, each, cluster, folder)
        more, state = run_ranks(len(cluster.ranks), on_rank, folder, state, batch)[0]
        losses += more
    same((losses, state), *whole(source, 8, 2 * STEPS))
