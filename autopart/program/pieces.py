"""Which part of a value goes from which rank to which: the rows that both hold.

A stage's replicas hold consecutive rows of a microbatch, in the order of its ranks. Between stages of unlike replica
counts and shares, source and target rank exchange the intersection of their rows; the gradient goes the same
way back. A replicated value goes to every target from one source, its gradients come back to that source, which sums
them (the other sources' terms are zero). A partial value's terms each go to one target, which sums them (a target that gets
none starts from zero); its gradient, the same on every target, goes back to whoever sent a term.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from autopart.ir.graph import DTYPE_BYTES, Size
from autopart.program.program import Piece, Program, StageSpec, Transfer
from autopart.sharding.placement import Partial, Replicate, Shard

Pair = tuple[int, int]


def pieces(transfer: Transfer, source: StageSpec, target: StageSpec) -> tuple[Piece, ...]:
    """The pieces of one transfer, by source rank, then by target rank."""
    match transfer.placement:
        case Shard():
            return tuple(_row_pieces(transfer, source, target))
        case Replicate():
            pairs = [(source.ranks[i * len(source.ranks) // len(target.ranks)], rank) for i, rank in enumerate(target.ranks)]
        case Partial():
            pairs = [(rank, target.ranks[i * len(target.ranks) // len(source.ranks)]) for i, rank in enumerate(source.ranks)]
    return tuple(Piece(transfer, *pair) for pair in pairs)


def messages(program: Program, *, backward: bool = False) -> dict[Pair, tuple[Piece, ...]]:
    """What one microbatch moves, by (sender, receiver), in the order of ``program.transfers``.

    A message is all the pieces of its pair. With ``backward`` it is their gradients, from each piece's target to its source.
    """
    found: dict[Pair, list[Piece]] = {}
    for transfer in program.transfers:
        if backward and not transfer.differentiable:
            continue
        for piece in pieces(transfer, program.stages[transfer.source], program.stages[transfer.target]):
            pair = (piece.source_rank, piece.target_rank)
            found.setdefault(pair[::-1] if backward else pair, []).append(piece)
    return {pair: tuple(found[pair]) for pair in sorted(found)}


def shape(piece: Piece, batch_size: int) -> tuple[int, ...]:
    """Sizes of the tensor that is sent: the piece's rows of a sharded value, else the whole of it."""
    rows = piece.rows if isinstance(piece.transfer.placement, Shard) else batch_size
    return tuple(
        size if isinstance(size, int) else size.at(rows if isinstance(size, Size) else batch_size)
        for size in piece.transfer.shape
    )


def nbytes(piece: Piece, batch_size: int) -> int:
    """Bytes of the piece; its gradient has as many."""
    return prod(shape(piece, batch_size)) * DTYPE_BYTES[piece.transfer.dtype]


def _row_pieces(transfer: Transfer, source: StageSpec, target: StageSpec) -> Iterator[Piece]:
    for source_rank, first, stop in _rows(source):
        for target_rank, target_first, target_stop in _rows(target):
            start, end = max(first, target_first), min(stop, target_stop)
            if start < end:
                yield Piece(transfer, source_rank, target_rank, start - first, start - target_first, end - start)


def _rows(stage: StageSpec) -> Iterator[tuple[int, int, int]]:
    """Each rank with its interval of a microbatch's rows."""
    first = 0
    for rank, share in zip(stage.ranks, stage.shares, strict=True):
        yield rank, first, first + share
        first += share
