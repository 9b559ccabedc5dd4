"""All ranks of a sharded graph in one process, op by op: an oracle for placements, comm ops, statistics and gradients.

Ranks share the parameters (so their gradients add up as a gradient sync would make them) and nothing else; a ``comm.…`` op
sees all ranks at once. Autograd through the whole simulated cluster gives what each comm op's backward must do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autopart.frontend.interpret import evaluate, overload
from autopart.ir.graph import Op
from autopart.sharding import comm
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Placement, Replicate, Shard

Kernels = Mapping[str, Callable[..., Any]]


def split(whole: Tensor, place: Shard, shares: Sequence[int]) -> list[Tensor]:
    """The ranks' parts of a sharded tensor."""
    opened = whole.unflatten(place.dim, (place.outer, -1))
    inner = opened.shape[place.dim + 1] // max(sum(shares), 1)
    parts = opened.split([share * inner for share in shares], place.dim + 1)
    return [part.flatten(place.dim, place.dim + 1) for part in parts]


def join(parts: Sequence[Tensor], place: Shard) -> Tensor:
    opened = [part.unflatten(place.dim, (place.outer, -1)) for part in parts]
    return torch.cat(opened, place.dim + 1).flatten(place.dim, place.dim + 1)


def combine(parts: Sequence[Tensor], place: Placement) -> Tensor:
    """The value that the ranks hold together."""
    match place:
        case Shard():
            return join(parts, place)
        case Partial():
            return torch.stack(list(parts)).sum(0) if parts[0].dtype != torch.bool else torch.stack(list(parts)).any(0)
        case Replicate():
            for part in parts[1:]:
                torch.testing.assert_close(part, parts[0], equal_nan=True, rtol=1e-9, atol=1e-9)
            return parts[0]


@dataclass
class Ranks:
    """Some ranks at work on one microbatch (or, in the prologue, on all). ``values[r]`` are rank r's tensors by name."""

    values: list[dict[str, Tensor]]
    rows: Sequence[int]
    global_batch: int
    kernels: Kernels

    def step(self, op: Op) -> None:
        results = self.collective(op) if op.kind in comm.COMM else [self.local(op, rank) for rank in range(len(self.rows))]
        for values, made in zip(self.values, results, strict=True):
            for value, tensor in zip(op.outputs, made, strict=True):
                values[value.name] = tensor

    def arguments(self, op: Op, rank: int) -> tuple[list[Any], dict[str, Any]]:
        place = (self.values[rank], self.rows[rank], self.global_batch)
        return [evaluate(arg, *place) for arg in op.args], {key: evaluate(arg, *place) for key, arg in op.kwargs}

    def local(self, op: Op, rank: int) -> tuple[Tensor, ...]:
        args, kwargs = self.arguments(op, rank)
        kernel = self.kernels[op.kind] if op.kind in self.kernels else overload(op.kind)
        result = kernel(*args, **kwargs)
        if not op.outputs:
            return ()
        return tuple(result) if isinstance(result, tuple | list) else (result,)

    def collective(self, op: Op) -> list[tuple[Tensor, ...]]:
        args = [self.arguments(op, rank)[0] for rank in range(len(self.rows))]
        parts = [each[0] for each in args]
        match op.kind:
            case comm.ALL_REDUCE:
                made = [sum(parts[1:], parts[0])] * len(parts)
            case comm.ALL_GATHER:
                made = [join(parts, Shard(*args[0][1:]))] * len(parts)
            case comm.SHARD:
                made = [split(part, Shard(*args[0][1:]), self.rows)[rank] for rank, part in enumerate(parts)]
            case comm.TO_PARTIAL:
                made = [part * (rows / self.global_batch) for part, rows in zip(parts, self.rows, strict=True)]
            case comm.BATCH_NORM:
                made = self.batch_norm(args)
            case _:
                raise AssertionError(f"{op.kind} has no meaning here")
        return [(tensor,) for tensor in made]

    def batch_norm(self, args: list[list[Any]]) -> list[Tensor]:
        x = torch.cat([each[0] for each in args])
        first = args[0]
        y = F.batch_norm(x, *first[3:5], *first[1:3], *first[5:8])
        for each in args[1:]:
            for mine, theirs in zip(each[3:5], first[3:5], strict=True):
                if mine is not None:
                    mine.copy_(theirs)
        return list(y.split([each[0].shape[0] for each in args]))


@dataclass
class Outcome:
    """The summed loss with its graph; every rank's values by microbatch; the ranks' buffers."""

    loss: Tensor
    microbatches: list[list[dict[str, Tensor]]]
    buffers: list[dict[str, Tensor]]


def run(
    sharded: ShardedGraph,
    batch: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    shares: Sequence[int],
    microbatches: int = 1,
    kernels: Kernels | None = None,
) -> Outcome:
    """The loss of the global ``batch`` (inputs by name) with parameters and buffers ``state``; rank r takes ``shares[r]`` samples
    of each microbatch.
    """
    graph, total = sharded.graph, sum(shares) * microbatches
    inputs = {each.value.name: each.batch_dim for each in graph.inputs if each.value.name not in sharded.statistics}
    slices = [rows_of(shares, rank, microbatches) for rank in range(len(shares))]
    buffers = [{buffer.value.name: state[buffer.value.name].clone() for buffer in graph.buffers} for _ in shares]
    parameters = {parameter.value.name: state[parameter.value.name] for parameter in graph.parameters}

    def take(rank: int, chosen: Iterable[int]) -> dict[str, Tensor]:
        rows = torch.tensor([row for m in chosen for row in slices[rank][m]], dtype=torch.long)
        return {name: batch[name] if dim is None else batch[name].index_select(dim, rows) for name, dim in inputs.items()}

    everything = [{**take(rank, range(microbatches)), **buffers[rank]} for rank in range(len(shares))]
    before = Ranks(everything, [share * microbatches for share in shares], total, kernels or {})
    with torch.no_grad():
        for op in sharded.prologue:
            before.step(op)
    ran = []
    for m in range(microbatches):
        statistics = [{name: values[name] for name in sharded.statistics} for values in before.values]
        ranks = Ranks(
            [{**take(rank, [m]), **parameters, **buffers[rank], **statistics[rank]} for rank in range(len(shares))],
            shares,
            total,
            kernels or {},
        )
        for op in graph.ops:
            ranks.step(op)
        ran.append(ranks.values)
    loss = sum((values[graph.loss] for ranks_values in ran for values in ranks_values), torch.zeros((), dtype=torch.float64))
    return Outcome(loss, ran, buffers)


def rows_of(shares: Sequence[int], rank: int, microbatches: int) -> list[range]:
    """The rows of the global batch that a rank takes, by microbatch."""
    size, start = sum(shares), sum(shares[:rank])
    return [range(m * size + start, m * size + start + shares[rank]) for m in range(microbatches)]
