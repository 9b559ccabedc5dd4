"""1F1B written for one model by hand, as an expert would: no plan, no classes, nothing but what it takes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks.models.chain import Values
from benchmarks.versus.pipelines import pieces
from benchmarks.versus.work import Step, Work, sgd


def handwritten(work: Work, cuts: Sequence[int], microbatches: int) -> Step:  # noqa: C901  (a script would have it in one)
    """One stage a rank; ``cuts`` as of ``benchmarks.versus.pipelines``."""
    rank, stages = dist.get_rank(), len(cuts) + 1
    first, last = rank == 0, rank == stages - 1
    every, rows = pieces(work, cuts), work.batch_size // microbatches
    piece, arriving = every[rank], _arriving(work, every[:rank], rows)
    optimizer = sgd(piece.parameters())
    batches = [work.rows(m * rows, rows) for m in range(microbatches)]
    warm_up = min(microbatches, stages - 1 - rank)

    def receive(like: Sequence[Tensor], peer: int) -> list[Tensor]:
        found = [torch.empty_like(each) for each in like]
        for work_ in [dist.irecv(each, peer, tag=tag) for tag, each in enumerate(found)]:
            work_.wait()
        return found

    def step() -> Tensor | None:
        sent: list[tuple[dist.Work, Tensor]] = []
        alive: dict[int, tuple[Sequence[Tensor], Values]] = {}
        losses: list[Tensor] = []

        def send(values: Sequence[Tensor], peer: int) -> None:
            sent.extend((dist.isend(each, peer, tag=tag), each) for tag, each in enumerate(values))

        def forward(m: int) -> None:
            inputs, targets = batches[m]
            given = inputs if first else [each.requires_grad_(each.is_floating_point()) for each in receive(arriving, rank - 1)]
            made = piece(*given)
            if last:
                made = work.loss(made, *targets) / microbatches
                losses.append(made.detach())
            made = made if isinstance(made, tuple) else (made,)
            alive[m] = given, made
            if not last:
                send([each.detach() for each in made], rank + 1)

        def backward(m: int) -> None:
            given, made = alive.pop(m)
            roots = [each for each in made if each.requires_grad]
            torch.autograd.backward(roots, None if last else receive(roots, rank + 1))
            if not first:
                send([each.grad for each in given if each.grad is not None], rank - 1)

        for m in range(microbatches + warm_up):
            if m < microbatches:
                forward(m)
            if m >= warm_up:
                backward(m - warm_up)
        for work_, _ in sent:
            work_.wait()
        optimizer.step()
        optimizer.zero_grad()
        return torch.stack(losses).sum() if last else None

    return step


def _arriving(work: Work, before: Sequence[torch.nn.Module], rows: int) -> Values:
    """What the stages before hand on, of one microbatch."""
    values, _ = work.rows(0, rows)
    with torch.no_grad():
        for piece in before:
            made = piece(*values)
            values = made if isinstance(made, tuple) else (made,)
    return values if before else ()
