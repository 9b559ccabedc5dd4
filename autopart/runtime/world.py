"""Which process is which rank of the plan, on which device, and the process groups between them.

Messages of forwards and of backwards go through two groups, so that between two ranks each group carries one direction. No
group is made that nothing is sent through: each of gloo's has threads that wake up a hundred times a second.
"""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.errors import RunError
from autopart.program.program import Program
from autopart.program.reductions import gradient_sums

Ranks = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class World:
    """The place of this process: its rank in the plan, the processes of all ranks, its device.

    ``wire`` is where messages lie: the device under NCCL, the CPU under gloo. ``replicas`` are the groups that share samples,
    ``columns`` those that share out the work on one replica's samples, ``sums`` those that sum gradients: apart, because they
    run at the same time; ``gathers`` those that share parameters out, and run beside both. ``losses`` are the ranks that
    compute the loss, where they are several: one of ``replicas`` where each is a replica. ``forward`` and ``backward`` are None
    where there is one stage.
    """

    rank: int
    process_of: Mapping[int, int]
    device: torch.device
    wire: torch.device
    forward: dist.ProcessGroup | None
    backward: dist.ProcessGroup | None
    replicas: Mapping[Ranks, dist.ProcessGroup]
    columns: Mapping[Ranks, dist.ProcessGroup]
    sums: Mapping[Ranks, dist.ProcessGroup]
    gathers: Mapping[Ranks, dist.ProcessGroup]
    losses: dist.ProcessGroup | None


def members(ranks: Iterable[int]) -> Ranks:
    """Ranks as the key of their group; one rank alone has none."""
    return tuple(sorted(set(ranks)))


class failing_as:  # noqa: N801  (a context manager)
    """Turns what c10d raises into one message that says what this rank was doing, which is asked for only then.

    A class, for it stands around every message: contextlib's generators take several times as long.
    """

    __slots__ = ("doing",)

    def __init__(self, doing: str | Callable[[], str]) -> None:
        self.doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, RuntimeError | ValueError):
            return
        doing = self.doing if isinstance(self.doing, str) else self.doing()
        raise RunError(
            f"stopped while {doing}: {_reason(error)}",
            remedy="Another rank died, hangs, or is much slower: its own message is the one to read first.",
        ) from error


def _reason(error: Exception) -> str:
    """The first line of what c10d says, without its source file and its advice."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return re.sub(r"^\[[^\]]*/[^\]]*\] ", "", line).split(". This is typically")[0]


def join(
    program: Program, ranks: int, *, backend: str | None = None, device: str | None = None, timeout_s: float = 600.0
) -> World:
    """Joins the processes of a run, by torchrun's environment unless torch.distributed is initialised already.

    ``ranks`` counts the ranks of the cluster file, used or not. Without ``device`` it is the GPU under NCCL, the CPU under gloo.
    """
    if not dist.is_initialized():
        _initialise(program, backend, timeout_s)
    process_of = _processes(program, ranks)
    rank = {process: rank for rank, process in process_of.items()}[dist.get_rank()]
    nccl = "nccl" in dist.get_backend()
    here = _device(device or ("cuda" if nccl else "cpu"))
    used = [process_of[r] for r in sorted(program.actions)]
    timeout = timedelta(seconds=timeout_s)

    def group(processes: Sequence[int]) -> dist.ProcessGroup:
        made: dist.ProcessGroup = dist.new_group(processes, timeout=timeout)
        return made  # a process outside of the group gets a placeholder that it never uses

    def groups(sets: Iterable[Sequence[int]]) -> dict[Ranks, dist.ProcessGroup]:
        wanted = sorted({members(each) for each in sets if len(each) > 1})
        return {each: group([process_of[r] for r in each]) for each in wanted}

    several, last = len(program.stages) > 1, program.stages[-1].ranks
    with failing_as(f"setting up the process groups on rank {rank}"):
        forward, backward = (group(used) if several else None for _ in range(2))
        replicas = groups(stage.column(t).ranks for stage in program.stages for t in range(stage.tensor))
        return World(
            rank,
            process_of,
            here,
            here if nccl else torch.device("cpu"),
            forward=forward,
            backward=backward,
            replicas=replicas,
            columns=groups(stage.replica(d) for stage in program.stages for d in range(len(stage.shares))),
            sums=groups(each.ranks for each in gradient_sums(program)),
            gathers=groups(each.ranks for each in gradient_sums(program) if each.zero),
            losses=replicas.get(members(last)) or groups([last]).get(members(last)),
        )


def total(world: World, tensor: Tensor, *, maximum: bool = False) -> Tensor:
    """Sum (or maximum) over all processes, used or not; a new tensor on this rank's device."""
    moved = tensor.detach().to(world.wire, copy=True)
    with failing_as(f"summing a number over all ranks, on rank {world.rank}"):
        dist.all_reduce(moved, dist.ReduceOp.MAX if maximum else dist.ReduceOp.SUM)
    return moved.to(world.device)


def leave() -> None:
    """Ends the process groups of a run: a process that ends with them open may die of gloo's threads after all is done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _initialise(program: Program, backend: str | None, timeout_s: float) -> None:
    atexit.register(leave)
    timeout = timedelta(seconds=timeout_s)
    chosen = backend or ("nccl" if torch.cuda.is_available() else "gloo")
    if "WORLD_SIZE" in os.environ:
        with failing_as("joining the other processes"):
            dist.init_process_group(chosen, timeout=timeout)
        return
    if len(program.actions) > 1:
        raise RunError(
            f"the plan uses {len(program.actions)} ranks, this process is alone",
            remedy="Start it with torchrun, one process for each rank, or with `autopart run`.",
        )
    dist.init_process_group(
        chosen,
        store=dist.HashStore(),  # type: ignore[attr-defined]
        rank=0,
        world_size=1,
        timeout=timeout,
    )


def _processes(program: Program, ranks: int) -> dict[int, int]:
    """Process by rank: one process for every rank of the cluster, or for every used one in order."""
    used = sorted(program.actions)
    size = dist.get_world_size()
    if size == ranks:
        return {rank: rank for rank in range(ranks)}
    if size == len(used):
        return {rank: process for process, rank in enumerate(used)}
    wanted = f"{len(used)}" if len(used) == ranks else f"{len(used)} (the used ranks) or {ranks} (all of the cluster)"
    raise RunError(
        f"{size} processes were started, the plan needs {wanted}",
        remedy=f"For example: torchrun --nproc-per-node {len(used)} train.py",
    )


def _device(kind: str) -> torch.device:
    if kind != "cuda":
        return torch.device(kind)
    local = int(os.environ.get("LOCAL_RANK", dist.get_rank())) % torch.cuda.device_count()
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
