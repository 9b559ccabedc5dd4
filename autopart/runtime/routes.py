"""The messages of a rank, worked out once: every microbatch moves the same pieces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from autopart.program.pieces import messages, shape
from autopart.program.program import Piece, Program, Transfer
from autopart.runtime.tree import torch_dtype
from autopart.runtime.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A piece between this rank and ``peer``, or with ``backward`` its gradient: as a tensor of ``shape`` and ``dtype``, by
    ``group`` to or from ``process``. ``tag`` is of microbatch 0; every message of a step has one of its own.
    """

    piece: Piece
    backward: bool
    peer: int
    process: int
    group: dist.ProcessGroup
    shape: tuple[int, ...]
    dtype: torch.dtype
    tag: int

    @property
    def transfer(self) -> Transfer:
        return self.piece.transfer

    def tag_of(self, m: int) -> int:
        return self.tag + 2 * m

    def receiving(self, m: int) -> str:
        """In words."""
        return f"receiving {self._what(m)} from rank {self.peer}"

    def sending(self, m: int) -> str:
        return f"sending {self._what(m)} to rank {self.peer}"

    def _what(self, m: int) -> str:
        value = self.transfer.value
        return f"{f'the gradient of {value}' if self.backward else value} of microbatch {m}"


Routes = dict[tuple[int, bool], tuple[Route, ...]]
"""By peer and direction, in the order of ``program.transfers``."""


def routes(program: Program, world: World) -> tuple[Routes, Routes]:
    """What this rank receives, and what it sends."""
    receives: Routes = {}
    sends: Routes = {}
    for backward in (False, True):
        for (sender, receiver), pieces in messages(program, backward=backward).items():
            if sender == world.rank:
                sends[receiver, backward] = tuple(_route(program, world, piece, receiver, backward) for piece in pieces)
            elif receiver == world.rank:
                receives[sender, backward] = tuple(_route(program, world, piece, sender, backward) for piece in pieces)
    return receives, sends


def _route(program: Program, world: World, piece: Piece, peer: int, backward: bool) -> Route:
    transfer, group = piece.transfer, world.backward if backward else world.forward
    assert group is not None, "messages are between stages"
    return Route(
        piece,
        backward,
        peer,
        world.process_of[peer],
        group,
        shape(piece, program.batch_size),
        torch_dtype(transfer.dtype),
        2 * program.microbatches * program.transfers.index(transfer) + backward,
    )
