"""Pipelines as `torch.distributed.pipelining` has them, with replicas that sum their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B

from benchmarks.models.chain import Chain
from benchmarks.versus.work import Step, Work, group_of, sgd

ONE_STAGE = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


def pipeline(work: Work, grid: Sequence[Sequence[int]], cuts: Sequence[int], schedule: str, microbatches: int) -> Step | None:
    """``grid[r]`` are the ranks of replica r, stage after stage; ``cuts`` are the numbers of blocks before each boundary.

    An interleaved schedule has a multiple of the ranks' number of stages. Replicas have even shares of the batch.
    """
    rows = [group_of(list(ranks)) for ranks in grid]
    columns = [group_of(list(ranks)) for ranks in zip(*grid, strict=True)]
    rank = dist.get_rank()
    place = next(((r, s) for r, ranks in enumerate(grid) for s, other in enumerate(ranks) if other == rank), None)
    if place is None:
        return None
    replica, column = place
    share = work.batch_size // len(grid)
    inputs, targets = work.rows(replica * share, share)
    made = pieces(work, cuts)
    own = [(number, piece) for number, piece in enumerate(made) if number % len(grid[0]) == column]
    stages = [PipelineStage(piece, number, len(made), torch.device("cpu"), group=rows[replica]) for number, piece in own]
    for stage in stages:  # groups number their processes by rank, whatever the order of the stages
        row = grid[replica]
        stage.stage_index_to_group_rank = {n: sorted(row).index(row[n % len(row)]) for n in range(len(made))}
    parameters = [parameter for _, piece in own for parameter in piece.parameters()]
    optimizer = sgd(parameters)
    losses: list[Tensor] = []

    def loss_of(output: Tensor, target: Tensor) -> Tensor:
        return work.loss(output, target) / len(grid)

    if schedule in ONE_STAGE:
        plays = ONE_STAGE[schedule](stages[0], microbatches, loss_fn=loss_of)
    else:
        plays = ScheduleInterleaved1F1B(stages, microbatches, loss_fn=loss_of)  # type: ignore[assignment,arg-type]
    first, last = own[0][0] == 0, own[-1][0] == len(made) - 1

    def step() -> Tensor | None:
        losses.clear()
        given = inputs if first else ()
        plays.step(*given, **({"target": targets[0], "losses": losses} if last else {}))
        if len(grid) > 1:
            _sum(parameters, columns[column])
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack([loss.detach() for loss in losses]).mean() if last else None

    return step


def pieces(work: Work, cuts: Sequence[int]) -> list[nn.Module]:
    blocks = list(work.model().blocks)
    return [Chain(blocks[start:stop]) for start, stop in pairwise((0, *cuts, len(blocks)))]


def _sum(parameters: Sequence[nn.Parameter], group: dist.ProcessGroup) -> None:
    """In one bucket."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat, group=group)
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, start in zip(gradients, accumulate(sizes, initial=0), strict=False):
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
