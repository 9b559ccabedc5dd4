"""Three ways to run a model's step on columns: what autopart emits, written by hand with c10d, and DTensor's.

A contender's ``step()`` is a forward, a backward with gradients in ``.grad``, and the loss, averaged over ranks as a training
loop reports it; ``gradients()`` are those of the whole parameters, by name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, PrepareModuleInput, RowwiseParallel, parallelize_module

from autopart.runtime import DistributedModule
from benchmarks.tensor.blocks import COLUMN, MLP, ROW, Attention, Half, Model, split_dim

Batch = Mapping[str, Tensor]
Gradients = Mapping[str, Tensor]


@dataclass(frozen=True)
class Contender:
    step: Callable[[], Tensor]
    gradients: Callable[[], Gradients]
    zero_grad: Callable[[], None]


# What autopart emits


def emitted(package: Path, model: Model, batch: Batch) -> Contender:
    """``train_step`` of the package."""
    module = DistributedModule(package)
    module.load_state_dict(model.state_dict())
    return Contender(lambda: module.train_step(batch), module.full_gradients, module.zero_grad)


# By hand


class _Copied(torch.autograd.Function):
    """What every column reads: the gradient is the sum of theirs (Megatron's f)."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        dist.all_reduce(grads[0])
        return grads[0]


class _Summed(torch.autograd.Function):
    """The sum of the columns' terms (Megatron's g)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def copied(x: Tensor) -> Tensor:
    return _Copied.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def summed(x: Tensor) -> Tensor:
    return _Summed.apply(x)  # type: ignore[no-any-return, no-untyped-call]


def attention_by_hand(m: Attention, x: Tensor) -> Tensor:
    x = copied(x)
    q, k, v = (project(x).unflatten(2, (-1, m.each)).transpose(1, 2) for project in (m.q, m.k, m.v))
    attention = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return summed(F.linear(attention.transpose(1, 2).flatten(2), m.o.weight)) + m.o.bias


def mlp_by_hand(m: MLP, x: Tensor) -> Tensor:
    return summed(F.linear(F.gelu(m.up(copied(x))), m.down.weight)) + m.down.bias


def half_by_hand(half: Half, x: Tensor) -> Tensor:
    inner, normal = half.inner, half.norm(x)
    return x + (mlp_by_hand(inner, normal) if isinstance(inner, MLP) else attention_by_hand(inner, normal))


def by_hand(model: Model, batch: Batch) -> Contender:
    """Megatron's convention: the loss is whole on every rank, and so are gradients of what is replicated."""
    m, rank, columns = copy.deepcopy(model), dist.get_rank(), dist.get_world_size()
    for name, parameter in m.named_parameters():
        dim = split_dim(name)
        if dim is not None:
            parameter.data = parameter.data.chunk(columns, dim)[rank].clone()

    def step() -> Tensor:
        x = batch["x"]
        for half in m.parts:
            x = half_by_hand(half, x)
        loss = F.mse_loss(x, batch["target"])
        loss.backward()  # type: ignore[no-untyped-call]
        return averaged(loss)

    def gradients() -> Gradients:
        return {name: _whole(parameter.grad, split_dim(name)) for name, parameter in m.named_parameters()}

    return Contender(step, gradients, m.zero_grad)


def _whole(grad: Tensor | None, dim: int | None) -> Tensor:
    assert grad is not None, "a parameter has no gradient"
    if dim is None:
        return grad
    parts = [torch.empty_like(grad) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, grad.contiguous())
    return torch.cat(parts, dim)


def averaged(loss: Tensor) -> Tensor:
    """What a training loop reports."""
    total = loss.detach().double() / dist.get_world_size()
    dist.all_reduce(total)
    return total


# DTensor


def dtensor(model: Model, batch: Batch) -> Contender:
    """``parallelize_module``; what several column-parallel linears read is one DTensor, so that its gradient is summed once."""
    m = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for half in m.parts:
        linears = dict(half.inner.named_children())
        plan = {
            "inner": PrepareModuleInput(input_layouts=Replicate(), desired_input_layouts=Replicate()),
            **{f"inner.{name}": ColwiseParallel() for name in linears if name in COLUMN},
            **{f"inner.{name}": RowwiseParallel() for name in linears if name in ROW},
        }
        parallelize_module(half, mesh, plan)

    def step() -> Tensor:
        loss = m(**batch)
        loss.backward()
        return averaged(loss)

    def gradients() -> Gradients:
        return {name: _gathered(parameter.grad) for name, parameter in m.named_parameters()}

    return Contender(step, gradients, m.zero_grad)


def _gathered(grad: Tensor | None) -> Tensor:
    assert grad is not None, "a parameter has no gradient"
    return grad.full_tensor() if isinstance(grad, DTensor) else grad
