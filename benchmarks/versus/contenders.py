"""Data parallelism as PyTorch has it, one device, and a compiled plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from autopart.runtime import DistributedModule, Package
from benchmarks.versus.pipelines import pipeline
from benchmarks.versus.tensor import tensor_parallel
from benchmarks.versus.work import Step, Work, group_of, sgd


def single(work: Work, rank: int = 0) -> Step | None:
    """One device alone."""
    return _shared(work, [rank], [work.batch_size], lambda model, _: model) if dist.get_rank() == rank else None


def ddp(work: Work, shares: Sequence[int], bucket_mb: float = 25.0) -> Step | None:
    """``shares``: samples by rank; ranks without any are left out. Uneven shares weigh their losses."""
    ranks = [rank for rank, share in enumerate(shares) if share]

    def wrap(model: nn.Module, group: dist.ProcessGroup) -> nn.Module:
        return DistributedDataParallel(model, process_group=group, bucket_cap_mb=bucket_mb, gradient_as_bucket_view=True)

    return _shared(work, ranks, [shares[rank] for rank in ranks], wrap)


def fsdp(work: Work, shares: Sequence[int]) -> Step | None:
    """FSDP2, every block by itself; shards are even, whatever the shares."""
    ranks = [rank for rank, share in enumerate(shares) if share]

    def wrap(model: nn.Module, group: dist.ProcessGroup) -> nn.Module:
        mesh = DeviceMesh.from_group(group, "cpu")
        assert isinstance(model.blocks, nn.ModuleList), "a chain of blocks"
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    return _shared(work, ranks, [shares[rank] for rank in ranks], wrap)


def ours(work: Work, package: str | Package) -> Step:
    """The package of a plan; every rank of the cluster runs it, used or not."""
    module = DistributedModule(package, backend="gloo")
    module.load_checkpoint(module.package.folder / "weights.pt")
    optimizer = sgd(module.parameters())
    inputs, targets = work.batch

    def step() -> Tensor | None:
        loss = module.train_step((inputs, targets))
        optimizer.step()
        optimizer.zero_grad()
        return loss if module.is_first else None

    return step


def _shared(
    work: Work, ranks: list[int], shares: list[int], wrap: Callable[[nn.Module, dist.ProcessGroup], nn.Module]
) -> Step | None:
    """Each of ``ranks`` trains on its share of the batch; ``wrap`` averages gradients over them."""
    group = group_of(ranks) if len(ranks) > 1 else None
    if dist.get_rank() not in ranks:
        return None
    own = ranks.index(dist.get_rank())
    inputs, targets = work.rows(list(accumulate(shares, initial=0))[own], shares[own])
    model = work.model()
    model = wrap(model, group) if group else model
    optimizer = sgd(model.parameters())
    part = shares[own] / work.batch_size

    def step() -> Tensor | None:
        loss = work.loss(model(*inputs), *targets) * part
        torch.autograd.backward(loss * len(ranks))  # what averages divides by that
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


CONTENDERS = {"single": single, "ddp": ddp, "fsdp": fsdp, "pipeline": pipeline, "tensor": tensor_parallel, "ours": ours}
