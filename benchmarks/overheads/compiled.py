"""torch.compile on the model, and on what a package's rank runs."""

from __future__ import annotations

import torch
from torch import Tensor

from autopart.runtime import read_package
from benchmarks.versus.contenders import ours
from benchmarks.versus.work import Step, Work, sgd


def compiled_model(work: Work) -> Step:
    """The original, on one device."""
    model = work.model()
    optimizer = sgd(model.parameters())
    inputs, targets = work.batch
    lossy = torch.compile(lambda *given: work.loss(model(*given[: len(inputs)]), *given[len(inputs) :]), dynamic=False)

    def step() -> Tensor:
        loss = lossy(*inputs, *targets)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        found: Tensor = loss.detach()
        return found

    return step


def compiled_package(work: Work, package: str) -> Step:
    """The forward of a package's one stage."""
    found = read_package(package)
    (stage,) = found.stages
    stage.forward = torch.compile(stage.forward, dynamic=False)  # type: ignore[method-assign]
    return ours(work, found)
