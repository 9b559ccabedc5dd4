"""The loss of a step on every process: summed over the ranks that compute it, who then tell the others.

The sum travels while those ranks' last backward runs, and the others are told while theirs do, so neither costs time; an
all_reduce over all processes would begin when the last one ends. A process's receive lies there from its step before, so that
nobody waits for a rank that is slow, or idle.
"""

from __future__ import annotations

from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.program.program import Program
from autopart.runtime.world import World, failing_as, members

TAGS = count(1 << 20)
"""Of messages between any two processes, by module: all processes make theirs in one order."""


class LossSum:
    """Each of the ranks that compute the loss tells an equal part of the others."""

    def __init__(self, program: Program, world: World) -> None:
        makers = members(program.stages[-1].ranks)
        processes = [world.process_of[rank] for rank in makers]
        others = [process for process in range(dist.get_world_size()) if process not in processes]
        tellers = {process: processes[i % len(processes)] for i, process in enumerate(others)}
        self.world = world
        self.teller = tellers.get(dist.get_rank())
        self.told = [process for process, teller in tellers.items() if teller == dist.get_rank()]
        self.tag = next(TAGS)
        self._arriving = self._post()
        self._leaving: tuple[dist.Work | None, Tensor] | None = None

    def start(self, part: Tensor) -> None:
        """Sends this rank's part off, after its last forward of a step."""
        loss = part.detach().to(self.world.wire, torch.float64, copy=True).reshape(1)
        with failing_as(self._doing):
            group = self.world.losses
            self._leaving = (None if group is None else dist.all_reduce(loss, group=group, async_op=True), loss)

    def close(self) -> Tensor:
        """The loss [], in float64 on this rank's device, after its last computation of a step."""
        with failing_as(self._doing):
            loss = self._summed() if self.teller is None else self._told(self.teller)
            self._arriving = self._post()
        return loss.to(self.world.device)[0]

    def _post(self) -> tuple[dist.Work, Tensor] | None:
        """The receive of the next step. There is none where the other process has ended, which is no error before the message is
        due. A receive of NCCL occupies the device until it ends, so there it is posted when it is due.
        """
        if self.teller is None or self.world.wire.type != "cpu":
            return None
        try:
            return self._receive(self.teller)
        except RuntimeError:
            return None

    def _told(self, teller: int) -> Tensor:
        work, loss = self._arriving or self._receive(teller)
        work.wait()
        return loss

    def _receive(self, teller: int) -> tuple[dist.Work, Tensor]:
        buffer = torch.empty(1, dtype=torch.float64, device=self.world.wire)
        work = dist.irecv(buffer, teller, tag=self.tag)
        assert work is not None
        return work, buffer

    def _summed(self) -> Tensor:
        assert self._leaving is not None, "a rank of the last stage has a part of the loss"
        (sum_of_parts, loss), self._leaving = self._leaving, None
        if sum_of_parts is not None:
            sum_of_parts.wait()
        for work in [dist.isend(loss, process, tag=self.tag) for process in self.told]:
            assert work is not None
            work.wait()
        return loss

    def _doing(self) -> str:
        return f"summing the loss, on rank {self.world.rank}"
