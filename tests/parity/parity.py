"""Split training against the unsplit model: ``assert_parity`` compiles a model under a plan, trains it on several ranks and compares.

    assert_parity(ZOO["gpt2"].loaded(), [Part((2, 1)), Part((3,))], batch=6, microbatches=2)

compares the loss, every gradient (and which parameters have none), and after some optimizer steps losses, parameters and buffers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ranks import run_ranks
from torch import Tensor, nn

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.codegen.emit import emit
from autopart.frontend.load import Loaded, batch_of
from autopart.frontend.precision import precision_of
from autopart.frontend.trace import Traced, scalar_loss, trace
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.runtime import DistributedModule
from autopart.sharding.batch import shard_batch

Optimizer = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: Mapping[str, Optimizer] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, eps=1e-3),
}


@dataclass(frozen=True)
class Part:
    """One stage: samples of a microbatch by replica, its weight in the division of the blocks, recomputation."""

    shares: tuple[int, ...]
    weight: float = 1.0
    recompute: bool = False


@dataclass(frozen=True)
class Compiled:
    """A model under a plan, with its package in ``folder``."""

    loaded: Loaded
    traced: Traced
    blocks: Blocks
    plan: Plan
    program: Program
    folder: Path

    @property
    def constants(self) -> dict[str, Tensor]:
        """Buffers that no state dict has."""
        return {b.name: self.traced.tensors[b.value.name] for b in self.traced.graph.buffers if not b.persistent}


def compiled(
    loaded: Loaded,
    parts: Sequence[Part],
    folder: Path,
    *,
    batch: int,
    microbatches: int = 1,
    schedule: str = "1f1b",
    unused: int = 0,
    settings: Settings | None = None,
) -> Compiled:
    """The pipeline from a loaded model to an emitted package, under a plan made of ``parts``; ``unused`` idle ranks at the front."""
    settings = settings or Settings(precision=loaded.precision)
    traced = trace(loaded)
    blocks = group(shard_batch(traced.graph, settings.batch_norm))
    plan = plan_of(blocks, parts, batch, Schedule(schedule, microbatches), settings, unused)
    program = lower(blocks, plan)
    for name, text in emit(program, blocks, plan).items():
        (folder / name).write_text(text)
    result = Compiled(loaded, traced, blocks, plan, program, folder)
    torch.save(result.constants, folder / "constants.pt")
    return result


def plan_of(blocks: Blocks, parts: Sequence[Part], batch: int, schedule: Schedule, settings: Settings, unused: int = 0) -> Plan:
    """Consecutive blocks in proportion to the weights, at least one each; consecutive ranks."""
    names = [block.name for block in blocks.blocks]
    assert len(names) >= len(parts), f"{len(parts)} stages of {len(names)} blocks"
    total, cuts, reached = sum(part.weight for part in parts), [0], 0.0
    for i, part in enumerate(parts):
        reached += part.weight
        wanted = round(reached / total * len(names))
        cuts.append(min(max(wanted, cuts[-1] + 1), len(names) - (len(parts) - 1 - i)))
    stages, rank = [], unused
    for i, part in enumerate(parts):
        ranks = tuple(range(rank, rank + len(part.shares)))
        rank += len(ranks)
        own = tuple(names[cuts[i] : cuts[i + 1]])
        stages.append(Stage(i, own, ranks, part.shares, data=len(ranks), recompute=part.recompute))
    return Plan(ModelRef("model.py"), ClusterRef("cluster.yaml"), batch, settings, schedule, tuple(stages), tuple(range(unused)))


@dataclass
class Trained:
    """What a run leaves: the first loss and gradients, then all losses, then the state."""

    loss: Tensor
    gradients: dict[str, Tensor]
    losses: list[Tensor]
    state: dict[str, Tensor]


def train_whole(loaded: Loaded, data: tuple[Any, tuple[Any, ...]], optimizer: Optimizer, steps: int) -> Trained:
    """The unsplit model on the whole batch."""
    module = copy.deepcopy(loaded.module)
    made = optimizer([p for p in module.parameters() if p.requires_grad])
    first: tuple[Tensor, dict[str, Tensor]] | None = None
    losses = []
    for _ in range(steps):
        made.zero_grad()
        loss = loss_of(loaded, module, data)
        loss.backward()
        first = first or (loss.detach(), gradients_of(module))
        made.step()
        losses.append(loss.detach())
    assert first is not None
    return Trained(*first, losses, {name: tensor.detach().clone() for name, tensor in module.state_dict().items()})


def loss_of(loaded: Loaded, module: nn.Module, data: tuple[Any, tuple[Any, ...]]) -> Tensor:
    inputs, targets = data
    with precision_of(loaded.precision):
        output = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
        return scalar_loss(loaded, output, targets)


def gradients_of(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters(remove_duplicate=False) if p.grad is not None}


def train_rank(_: int, folder: Path, state: Mapping[str, Tensor], batch: Any, optimizer: str, steps: int) -> Trained:
    """One rank of the split model."""
    module = DistributedModule(folder, timeout_s=20.0)
    module.load_state_dict(state)
    made = OPTIMIZERS[optimizer](module.parameters())
    first: tuple[Tensor, dict[str, Tensor]] | None = None
    losses = []
    for _ in range(steps):
        made.zero_grad()
        loss = module.train_step(batch)
        first = first or (loss, {name: grad.clone() for name, grad in module.full_gradients().items()})
        made.step()
        losses.append(loss)
    assert first is not None
    return Trained(*first, losses, module.full_state_dict())


def user_batch(data: tuple[Any, tuple[Any, ...]]) -> Any:
    """What a user passes to train_step."""
    inputs, targets = data
    return (inputs, targets) if targets else inputs


def assert_parity(
    loaded: Loaded,
    parts: Sequence[Part],
    *,
    batch: int,
    microbatches: int = 1,
    schedule: str = "1f1b",
    unused: int = 0,
    settings: Settings | None = None,
    optimizers: Sequence[str] = ("sgd", "adamw"),
    steps: int = 5,
    tolerance: float = 1e-9,
) -> None:
    """The split model computes what the unsplit one does, in float64: first step within ``tolerance``, further ones within 100 times that."""
    with tempfile.TemporaryDirectory() as folder:
        made = compiled(
            loaded,
            parts,
            Path(folder),
            batch=batch,
            microbatches=microbatches,
            schedule=schedule,
            unused=unused,
            settings=settings,
        )
        data = batch_of(loaded, batch)
        for optimizer in optimizers:
            expected = train_whole(loaded, data, OPTIMIZERS[optimizer], steps)
            world = len(made.program.actions) + unused
            args = (made.folder, loaded.module.state_dict(), user_batch(data), optimizer, steps)
            ranks: list[Trained] = run_ranks(world, train_rank, *args)
            for rank in ranks:
                close("loss", rank.loss, expected.loss, tolerance)
            _compare("gradient of ", ranks[0].gradients, expected.gradients, tolerance)
            for i, (found, wanted) in enumerate(zip(ranks[0].losses, expected.losses, strict=True)):
                close(f"{optimizer}: loss of step {i}", found, wanted, 100 * tolerance)
            _compare(f"{optimizer}: after {steps} steps ", ranks[0].state, expected.state, 100 * tolerance)


def _compare(what: str, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> None:
    assert set(found) == set(wanted), f"{what}: {sorted(set(found) ^ set(wanted))} on one side only"
    for name, tensor in wanted.items():
        close(f"{what}{name}", found[name], tensor, tolerance)


def close(what: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Within ``tolerance``, relative to the largest entry where that is above 1."""
    assert found.shape == wanted.shape, f"{what}: {tuple(found.shape)} is not {tuple(wanted.shape)}"
    if not found.is_floating_point():
        assert torch.equal(found, wanted), f"{what} differs"
        return
    difference = (found.double() - wanted.double()).abs().max().item() if found.numel() else 0.0
    limit = tolerance * max(1.0, wanted.abs().max().item() if wanted.numel() else 0.0)
    assert difference <= limit, f"{what} differs by {difference:.3g}, allowed is {limit:.3g}"
