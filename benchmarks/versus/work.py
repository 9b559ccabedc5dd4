"""What every contender trains: the same weights, the same batch, plain SGD."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.models.chain import Chain, Values

LEARNING_RATE = 1e-3
Step = Callable[[], Tensor | None]
"""One training step of this rank; its part of the mean loss of the batch, None where it has none."""


@dataclass(frozen=True)
class Work:
    """``name`` is a module of ``benchmarks.models``."""

    name: str
    batch_size: int

    @cached_property
    def module(self) -> ModuleType:
        return importlib.import_module(f"benchmarks.models.{self.name}")

    def model(self) -> Chain:
        """With the same weights on every rank."""
        torch.manual_seed(0)
        made = self.module.model()
        assert isinstance(made, Chain), f"{self.name} is no chain of blocks"
        return made

    @cached_property
    def batch(self) -> tuple[Values, Values]:
        """Inputs and targets."""
        torch.manual_seed(1)
        return self.module.example_inputs(self.batch_size), self.module.example_targets(self.batch_size)

    def rows(self, start: int, count: int) -> tuple[Values, Values]:
        inputs, targets = self.batch
        return tuple(t[start : start + count] for t in inputs), tuple(t[start : start + count] for t in targets)

    def loss(self, output: Tensor, *targets: Tensor) -> Tensor:
        found: Tensor = self.module.loss(output, *targets)
        return found


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=LEARNING_RATE)


def group_of(ranks: list[int]) -> dist.ProcessGroup:
    """Called by all ranks alike."""
    made: dist.ProcessGroup = dist.new_group(ranks)
    return made
