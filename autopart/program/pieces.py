"""Which part of a value goes from which rank to which: the rows that both hold.

A stage's replicas hold consecutive rows of a microbatch, in the order of its ranks. Between stages of unlike replica
counts and shares, source and target rank exchange the intersection of their rows; the gradient goes the same
way back. A replicated value goes to every target from one source, its gradients come back to that source, which sums
them (the other sources' terms are zero). A partial value's terms each go to one target, which sums them (a target that gets
none starts from zero); its gradient, the same on every target, goes back to whoever sent a term.

All this goes on between columns: every column of a stage holds the whole of a value that crosses stages, and each column of
the target reads from one of the source. The gradient is partial over columns: a source column sums what comes back from those
that read from it, and starts from zero where none does.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from autopart.ir.graph import DTYPE_BYTES, Dim, GlobalSize, PartSize, Size
from autopart.program.program import Piece, Program, StageSpec, Transfer
from autopart.sharding.placement import Partial, Replicate, Shard

Pair = tuple[int, int]


def pieces(transfer: Transfer, source: StageSpec, target: StageSpec) -> tuple[Piece, ...]:
    """The pieces of one transfer, by source rank, then by target rank."""
    read = [source.column(column * source.tensor // target.tensor) for column in range(target.tensor)]
    found = [piece for column, each in enumerate(read) for piece in _between(transfer, each, target.column(column))]
    order = {rank: place for place, rank in enumerate((*source.ranks, *target.ranks))}
    return tuple(sorted(found, key=lambda piece: (order[piece.source_rank], order[piece.target_rank])))


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


def message_bytes(program: Program, *, backward: bool = False) -> dict[Pair, int]:
    """Bytes of each message."""
    found = messages(program, backward=backward)
    return {pair: sum(nbytes(piece, program.batch_size) for piece in pieces) for pair, pieces in found.items()}


def shape(piece: Piece, batch_size: int) -> tuple[int, ...]:
    """Sizes of the tensor that is sent: the piece's rows of a sharded value, else the whole of it."""
    rows = piece.rows if isinstance(piece.transfer.placement, Shard) else batch_size
    return tuple(_size(dim, rows, batch_size) for dim in piece.transfer.shape)


def _size(dim: Dim, rows: int, batch_size: int) -> int:
    match dim:
        case int():
            return dim
        case Size():
            return dim.at(rows)
        case GlobalSize():
            return dim.at(batch_size)
        case PartSize():
            raise AssertionError("a value that crosses stages is whole on every column")


def nbytes(piece: Piece, batch_size: int) -> int:
    """Bytes of the piece; its gradient has as many."""
    return prod(shape(piece, batch_size)) * DTYPE_BYTES[piece.transfer.dtype]


def _between(transfer: Transfer, source: StageSpec, target: StageSpec) -> Iterator[Piece]:
    """Between two columns."""
    match transfer.placement:
        case Shard():
            yield from _row_pieces(transfer, source, target)
        case Replicate():
            for i, rank in enumerate(target.ranks):
                yield Piece(transfer, source.ranks[i * len(source.ranks) // len(target.ranks)], rank)
        case Partial():
            for i, rank in enumerate(source.ranks):
                yield Piece(transfer, rank, target.ranks[i * len(target.ranks) // len(source.ranks)])


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
