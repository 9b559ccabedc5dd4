"""The loss of a step on every process: summed over the ranks that compute it, who then tell the others.

The others are told while their backwards still run, so the message costs them no time; an all_reduce over all processes would
begin when the last one ends. And nothing stays under way in a thread: a rank that fails in the middle of a step can end.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.program.program import Program
from autopart.runtime.world import World, failing_as, members

TAG = 1 << 20
"""Of messages between any two processes; nothing else is sent in their common group while a step runs."""


class LossSum:
    """``open`` before a step, ``close`` after this rank's last computation. Each of the ranks that compute the loss tells an
    equal part of the others.
    """

    def __init__(self, program: Program, world: World) -> None:
        makers = members(program.stages[-1].ranks)
        processes = [world.process_of[rank] for rank in makers]
        others = [process for process in range(dist.get_world_size()) if process not in processes]
        tellers = {process: processes[i % len(processes)] for i, process in enumerate(others)}
        self.world = world
        self.teller = tellers.get(dist.get_rank())
        self.told = [process for process, teller in tellers.items() if teller == dist.get_rank()]
        self._arriving: tuple[dist.Work, Tensor] | None = None

    def open(self) -> None:
        """Posts the receive of who is told: who tells need not wait for the end of this rank's step. (A receive of NCCL occupies
        the device until it ends, so there it is posted last.)
        """
        if self.teller is not None and self.world.wire.type == "cpu":
            with failing_as(self._doing):
                self._arriving = self._receive(self.teller)

    def close(self, part: Tensor | None) -> Tensor:
        """The loss [], in float64 on this rank's device, from this rank's part (None: it computes none)."""
        with failing_as(self._doing):
            loss = self._summed(part) if self.teller is None else self._told(self.teller)
        return loss.to(self.world.device)[0]

    def _told(self, teller: int) -> Tensor:
        work, loss = self._arriving or self._receive(teller)
        self._arriving = None
        work.wait()
        return loss

    def _receive(self, teller: int) -> tuple[dist.Work, Tensor]:
        buffer = torch.empty(1, dtype=torch.float64, device=self.world.wire)
        work = dist.irecv(buffer, teller, tag=TAG)
        assert work is not None
        return work, buffer

    def _summed(self, part: Tensor | None) -> Tensor:
        assert part is not None, "a rank of the last stage has a part of the loss"
        loss = part.detach().to(self.world.wire, torch.float64, copy=True).reshape(1)
        if self.world.losses is not None:
            dist.all_reduce(loss, group=self.world.losses)
        for work in [dist.isend(loss, process, tag=TAG) for process in self.told]:
            assert work is not None
            work.wait()
        return loss

    def _doing(self) -> str:
        return f"summing the loss, on rank {self.world.rank}"
