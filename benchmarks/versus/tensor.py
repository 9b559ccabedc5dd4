"""Megatron's layout of a transformer layer by DTensor: first matrices by columns, second ones by rows (Shoeybi et al. 2019)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.distributed.tensor.parallel.style import ParallelStyle

from benchmarks.versus.work import Step, Work, group_of, sgd

STYLES: dict[str, dict[str, type[ParallelStyle]]] = {
    "bert": {
        "layer.attention.self.query": ColwiseParallel,
        "layer.attention.self.key": ColwiseParallel,
        "layer.attention.self.value": ColwiseParallel,
        "layer.attention.output.dense": RowwiseParallel,
        "layer.intermediate.dense": ColwiseParallel,
        "layer.output.dense": RowwiseParallel,
    }
}
"""Of a block's linear layers, by model; other blocks are whole on every rank."""


def tensor_parallel(work: Work, ranks: list[int]) -> Step | None:
    """All of the batch on ``ranks``, which share out each layer evenly."""
    group = group_of(ranks)
    if dist.get_rank() not in ranks:
        return None
    mesh = DeviceMesh.from_group(group, "cpu")
    model = work.model()
    for block in model.blocks:
        names = dict(block.named_modules())
        styles = {name: style() for name, style in STYLES[work.name].items() if isinstance(names.get(name), nn.Linear)}
        if styles:
            parallelize_module(block, mesh, styles)
    optimizer = sgd(model.parameters())
    inputs, targets = work.batch

    def step() -> Tensor | None:
        loss = work.loss(model(*inputs), *targets)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach() if dist.get_rank() == ranks[0] else None

    return step
