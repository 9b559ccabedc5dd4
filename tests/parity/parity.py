"""Split training against the unsplit model, in float64.

    assert_parity("gpt2", Case((Part((2, 1)), Part((3,))), microbatches=2))

compiles a model of the zoo under a plan, trains it on several ranks and compares: the loss on every rank, every gradient (and
which parameters have none), and after some steps all losses, parameters and buffers: after five of each optimizer, or two
of one where the same is asked under many plans (what an optimizer keeps from step to step counts from the second on).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autopart.blocks.blocks import Blocks
from autopart.cluster.load import load_cluster
from autopart.frontend.load import Loaded, batch_of
from autopart.frontend.precision import precision_of
from autopart.frontend.trace import scalar_loss
from autopart.package import write_package
from autopart.pipeline import Built, Front, emit_package, localized
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.check import check_plan
from autopart.program.lower import lower
from autopart.runtime import DistributedModule
from tests.fronts import front
from tests.ranks import run_ranks

Optimizer = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
}
FULL: Mapping[str, int] = {"sgd": 5, "adamw": 5}  # steps by optimizer, each from the same start
BRIEF: Mapping[str, int] = {"adamw": 2}
TOLERANCE = 1e-9
SMALLEST_GRADIENT = 1e-5  # a gradient that is zero but for rounding is not compared with itself
CLUSTER = """\
nodes:
  - name: box
    devices: {{type: cpu-core, count: {ranks}}}
    interconnect: {{bandwidth: 10 GB/s, latency: 10 us}}
    network: {{bandwidth: 10 Gb/s, latency: 50 us}}
"""


@dataclass(frozen=True)
class Part:
    """One stage: samples of a microbatch by replica, its weight in the division of the blocks, recomputation; tensor degree,
    ZeRO level, how columns share what they split, and layouts that are fixed.
    """

    shares: tuple[int, ...]
    weight: float = 1.0
    recompute: bool = False
    tensor: int = 1
    zero: int = 0
    tensor_shares: tuple[int, ...] = ()
    layouts: tuple[tuple[str, str], ...] = ()

    @property
    def ranks(self) -> int:
        return len(self.shares) * self.tensor


@dataclass(frozen=True)
class Case:
    """A plan for any model: stages on consecutive ranks after ``unused`` idle ones, or on the ranks of ``order`` one by one."""

    parts: tuple[Part, ...]
    microbatches: int = 1
    schedule: str = "1f1b"
    unused: int = 0
    order: tuple[int, ...] = ()

    @property
    def batch(self) -> int:
        return sum(self.parts[0].shares) * self.microbatches

    @property
    def ranks(self) -> int:
        return self.unused + sum(part.ranks for part in self.parts)

    def in_one_microbatch(self) -> Case:
        """The same global batch in the same proportions, for models that mix samples."""
        parts = [replace(part, shares=tuple(share * self.microbatches for share in part.shares)) for part in self.parts]
        return replace(self, parts=tuple(parts), microbatches=1)


def compiled(source: Front, case: Case, folder: Path, settings: Settings | None = None) -> Built:
    """The package of a model under a plan, in ``folder``."""
    settings = settings or Settings(precision=source.loaded.precision)
    (folder / "cluster.yaml").write_text(CLUSTER.format(ranks=case.ranks))
    cluster = load_cluster(str(folder / "cluster.yaml"))
    plan = plan_of(source.blocks, case, settings)
    check_plan(plan, source.blocks, cluster)
    local = localized(plan, source, cluster)
    built = Built(plan, source, cluster, local, lower(local.blocks, local.plan, local.shards))
    write_package(folder, emit_package(built), source.loaded, source.traced, None)
    return built


def plan_of(blocks: Blocks, case: Case, settings: Settings) -> Plan:
    """Consecutive blocks in proportion to the weights, at least one each."""
    names = [block.name for block in blocks.blocks]
    free = iter(case.order or range(case.unused, case.ranks))
    stages = []
    for i, (part, own) in enumerate(zip(case.parts, divided(names, [part.weight for part in case.parts]), strict=True)):
        ranks = tuple(next(free) for _ in range(part.ranks))
        stages.append(
            Stage(
                i,
                tuple(own),
                ranks,
                part.shares,
                data=len(part.shares),
                tensor=part.tensor,
                zero=part.zero,
                recompute=part.recompute,
                layouts=dict(part.layouts),
                tensor_shares=part.tensor_shares,
            )
        )
    schedule = Schedule(case.schedule, case.microbatches)
    unused = tuple(sorted(set(range(case.ranks)) - {rank for stage in stages for rank in stage.ranks}))
    return Plan(ModelRef("model.py"), ClusterRef("cluster.yaml"), case.batch, settings, schedule, tuple(stages), unused)


def divided(names: Sequence[str], weights: Sequence[float]) -> list[Sequence[str]]:
    """Consecutive parts in proportion to the weights, none of them empty."""
    assert len(names) >= len(weights), f"{len(weights)} stages of {len(names)} blocks"
    cuts, reached = [0], 0.0
    for i, weight in enumerate(weights):
        reached += weight
        wanted = round(reached / sum(weights) * len(names))
        cuts.append(min(max(wanted, cuts[-1] + 1), len(names) - (len(weights) - 1 - i)))
    return [names[start:stop] for start, stop in pairwise(cuts)]


@dataclass(frozen=True)
class Trained:
    """What a run leaves: the first gradients, all losses, the state at the end."""

    gradients: dict[str, Tensor]
    losses: list[Tensor]
    state: dict[str, Tensor]


@cache
def expected(name: str, batch: int, optimizer: str, steps: int) -> Trained:
    """The unsplit model of the zoo, trained on the whole batch."""
    return train_whole(front(name).loaded, batch, OPTIMIZERS[optimizer], steps)


def train_whole(loaded: Loaded, batch: int, optimizer: Optimizer, steps: int) -> Trained:
    module, data = copy.deepcopy(loaded.module), batch_of(loaded, batch)
    made = optimizer([parameter for parameter in module.parameters() if parameter.requires_grad])
    gradients, losses = {}, []
    for step in range(steps):
        made.zero_grad()
        loss = loss_of(loaded, module, data)
        loss.backward()
        gradients = gradients if step else gradients_of(module)
        made.step()
        losses.append(loss.detach())
    return Trained(gradients, losses, {name: tensor.detach().clone() for name, tensor in module.state_dict().items()})


def loss_of(loaded: Loaded, module: nn.Module, data: tuple[Any, tuple[Any, ...]]) -> Tensor:
    inputs, targets = data
    with precision_of(loaded.precision):
        output = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
        return scalar_loss(loaded, output, targets)


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters(remove_duplicate=False) if p.grad is not None}


def user_batch(loaded: Loaded, batch: int) -> Any:
    """What a user passes to train_step."""
    inputs, targets = batch_of(loaded, batch)
    return (inputs, targets) if targets else inputs


def on_ranks(
    source: Front,
    case: Case,
    function: Callable[..., Any],
    *args: Any,
    settings: Settings | None = None,
    dying: Sequence[int] = (),
    timeout_s: float = 20.0,
) -> list[Any]:
    """``function(module, *args)`` on every rank of the model under a plan, starting from the unsplit model's weights."""
    with tempfile.TemporaryDirectory() as folder:
        compiled(source, case, Path(folder), settings)
        job = (Path(folder), timeout_s, source.loaded.module.state_dict(), function, args)
        return run_ranks(case.ranks, _on_rank, *job, group_timeout_s=timeout_s, dying=dying)


def _on_rank(
    _: int, folder: Path, timeout_s: float, state: Mapping[str, Tensor], function: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    module = DistributedModule(folder, timeout_s=timeout_s)
    module.load_state_dict(state)
    return function(module, *args)


def train_by_each(
    module: DistributedModule, state: Mapping[str, Tensor], batch: Any, training: Mapping[str, int]
) -> dict[str, Trained]:
    """By each optimizer from the same start."""
    return {name: train_module(module, state, batch, OPTIMIZERS[name], steps) for name, steps in training.items()}


def train_module(module: DistributedModule, state: Mapping[str, Tensor], batch: Any, optimizer: Optimizer, steps: int) -> Trained:
    module.load_state_dict(state)
    made = optimizer(module.parameters())
    gradients, losses = {}, []
    for step in range(steps):
        made.zero_grad()
        losses.append(module.train_step(batch))
        gradients = gradients if step else {name: grad.clone() for name, grad in module.full_gradients().items()}
        made.step()
    return Trained(gradients, losses, module.full_state_dict())


def assert_parity(name: str, case: Case, training: Mapping[str, int] = FULL) -> float:
    """A model of the zoo, split, computes what it does unsplit; the largest deviation, as a part of what is allowed."""
    wanted = {optimizer: expected(name, case.batch, optimizer, steps) for optimizer, steps in training.items()}
    return assert_trained_alike(front(name), case, wanted)


def assert_front_parity(source: Front, case: Case, training: Mapping[str, int] = FULL) -> float:
    """The same for any model."""
    wanted = {name: train_whole(source.loaded, case.batch, OPTIMIZERS[name], steps) for name, steps in training.items()}
    return assert_trained_alike(source, case, wanted)


def assert_trained_alike(source: Front, case: Case, wanted: Mapping[str, Trained]) -> float:
    """By each optimizer, for as many steps as ``wanted`` took."""
    batch, training = user_batch(source.loaded, case.batch), {name: len(trained.losses) for name, trained in wanted.items()}
    ranks = on_ranks(source, case, train_by_each, source.loaded.module.state_dict(), batch, training)
    return max(compare_trained(name, [rank[name] for rank in ranks], trained) for name, trained in wanted.items())


def compare_trained(optimizer: str, ranks: Sequence[Trained], wanted: Trained) -> float:
    """Losses on every rank; gradients and state where they were gathered."""
    losses = [{f"loss of step {i}": loss for i, loss in enumerate(each.losses)} for each in (*ranks, wanted)]
    return max(
        *(compare(f"{optimizer}: ", found, losses[-1]) for found in losses[:-1]),
        compare(f"{optimizer}: gradient of ", ranks[0].gradients, wanted.gradients, smallest=SMALLEST_GRADIENT),
        compare(f"{optimizer}: after {len(wanted.losses)} steps ", ranks[0].state, wanted.state),
    )


def compare(
    what: str,
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    tolerance: float = TOLERANCE,
    smallest: float = 1.0,
) -> float:
    """The largest deviation of tensors by name, as a part of what is allowed."""
    assert set(found) == set(wanted), f"{what}: {sorted(set(found) ^ set(wanted))} on one side only"
    return max((close(f"{what}{name}", found[name], tensor, tolerance, smallest) for name, tensor in wanted.items()), default=0.0)


def close(what: str, found: Tensor, wanted: Tensor, tolerance: float = TOLERANCE, smallest: float = 1.0) -> float:
    """Within ``tolerance`` of the largest entry, or of ``smallest`` where that is more."""
    assert found.shape == wanted.shape, f"{what}: {tuple(found.shape)} is not {tuple(wanted.shape)}"
    if not found.is_floating_point():
        assert torch.equal(found, wanted), f"{what} differs"
        return 0.0
    difference = (found.double() - wanted.double()).abs().max().item() if found.numel() else 0.0
    limit = tolerance * max(smallest, wanted.abs().max().item() if wanted.numel() else 0.0)
    assert difference <= limit, f"{what} differs by {difference:.3g}, allowed is {limit:.3g}"
    return difference / limit
