"""When a rank ran each computation: what ``autopart run --measure`` sets beside the simulation.

A recording is plain data, JSON as it is (recording.schema.json): seconds of the rank's monotonic clock, computations by the
names of ``program.steps.describe``. A step ends where the next one starts, the last at ``end``. An arrival is when a message
was there at the latest: nobody looks before the computation that reads it is next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from autopart.program.program import Action, Kind
from autopart.program.steps import describe
from autopart.runtime.world import World, total

Recording = dict[str, Any]

ROUNDS = 9  # of the comparison of clocks
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Recorder:
    """Of one rank, of stage ``stage`` (None: idle), until ``close``. The step of an optimizer of ``parameters`` is its U.

    On a GPU it waits for the device at each mark, which costs the overlap of the host with the device.
    """

    def __init__(self, world: World, stage: int | None, parameters: Iterable[nn.Parameter]) -> None:
        self._own = {id(parameter) for parameter in parameters}
        self.steps: list[Recording] = []
        self._world, self._stage = world, stage
        self._update_s = 0.0
        self._hooks = (
            register_optimizer_step_pre_hook(self._update_starts),
            register_optimizer_step_post_hook(self._update_ends),
        )

    def step(self) -> None:
        """A step starts."""
        self.steps.append({"start": self._now(), "events": [], "arrivals": []})

    @contextmanager
    def running(self, action: Action) -> Iterator[None]:
        """An F, B or S."""
        start = self._now()
        yield
        self._ran(action, start)

    def arrived(self, peer: int, action: Action) -> None:
        """The message of a peer that a computation reads is there."""
        self.steps[-1]["arrivals"].append([describe(action), peer, self._now()])

    def close(self) -> Recording:
        """What was recorded; nothing more is."""
        for hook in self._hooks:
            hook.remove()
        return {"steps": self.steps, "end": self._now()}

    def _update_starts(self, *_: object) -> None:
        self._update_s = self._now()

    def _update_ends(self, optimizer: Optimizer, *_: object) -> None:
        updated = (parameter for group in optimizer.param_groups for parameter in group["params"])
        if self.steps and self._stage is not None and any(id(parameter) in self._own for parameter in updated):
            self._ran(Action(Kind.UPDATE, self._stage), self._update_s)

    def _ran(self, action: Action, start: float) -> None:
        self.steps[-1]["events"].append([describe(action), start, self._now()])

    def _now(self) -> float:
        if self._world.device.type == "cuda":
            torch.cuda.synchronize(self._world.device)
        return monotonic()


def gathered(mine: Recording, world: World) -> Recording:
    """What all ranks recorded, on process 0, as recording.schema.json has it; empty elsewhere."""
    offset_s = _offset_s(world)
    found: list[tuple[str, Recording]] = [("", {})] * dist.get_world_size()
    dist.all_gather_object(found, (str(world.rank), {"offset_s": offset_s, **mine}))
    return {"format": 1, "kind": "recording", "ranks": dict(found)} if dist.get_rank() == 0 else {}


def _offset_s(world: World) -> float:
    """By how much this machine's clock is ahead of process 0's: none on the same machine; else as the end of a sum that all
    wait for tells, which is right to within a message's latency.
    """
    machine = BOOT_ID.read_text() if BOOT_ID.is_file() else ""
    seen = []
    for _ in range(ROUNDS):
        total(world, torch.zeros(1, device=world.device))
        seen.append(monotonic())
    everybody: list[tuple[str, list[float]]] = [("", [])] * dist.get_world_size()
    dist.all_gather_object(everybody, (machine, seen))
    first, theirs = everybody[0]
    if machine and machine == first:
        return 0.0
    return median(mine - other for mine, other in zip(seen, theirs, strict=True))
