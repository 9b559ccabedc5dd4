"""Several ranks on this machine, forked after torch is imported: seconds, not tens of seconds.

``run_ranks(world, function, *args)`` calls ``function(rank, *args)`` in ``world`` processes with torchrun's variables and a
process group over a file, and returns their results in order. A rank that fails, or does not end in time, fails the caller
with its traceback; those of ``dying`` may die or hang: nobody waits for them, their result is None.
"""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT_S = 40.0


class RankFailed(AssertionError):  # noqa: N818  (what happened, not what is wrong)
    """What a rank said when it failed."""


def run_ranks(
    world: int,
    function: Callable[..., Any],
    *args: Any,
    timeout_s: float = TIMEOUT_S,
    group_timeout_s: float = 20.0,
    dying: Sequence[int] = (),
) -> list[Any]:
    """Results of all ranks; ``args`` are inherited by the fork, results come back pickled."""
    context = mp.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        ends: list[Connection] = []
        processes = []
        for rank in range(world):
            ours, theirs = context.Pipe(duplex=False)
            job = (rank, world, str(Path(folder) / "store"), group_timeout_s, theirs, function, args)
            processes.append(context.Process(target=_rank, args=job, daemon=True))
            processes[-1].start()
            theirs.close()
            ends.append(ours)
        try:
            return _collected(ends, time.monotonic() + timeout_s, dying)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _collected(ends: list[Connection], deadline: float, dying: Sequence[int]) -> list[Any]:
    results: dict[int, Any] = dict.fromkeys(dying)
    while len(results) < len(ends):
        open_ends = [end for rank, end in enumerate(ends) if rank not in results]
        ready = wait(open_ends, max(0.0, deadline - time.monotonic()))
        if not ready:
            raise RankFailed(f"ranks {sorted(set(range(len(ends))) - set(results))} did not end in time")
        for end in ready:
            rank = ends.index(end)  # type: ignore[arg-type]
            try:
                failure, result = pickle.loads(end.recv_bytes())  # type: ignore[union-attr]
            except EOFError:
                raise RankFailed(f"rank {rank} died without a word") from None
            if failure:
                raise RankFailed(f"rank {rank}:\n{failure}")
            results[rank] = result
    return [results[rank] for rank in range(len(ends))]


def _rank(
    rank: int,
    world: int,
    store: str,
    group_timeout_s: float,
    end: Connection,
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    gc.freeze()  # what was there before the fork: going through it would copy every page of it
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    try:
        timeout = timedelta(seconds=group_timeout_s)
        dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world, timeout=timeout)
        answer = (None, function(rank, *args))
    except BaseException:
        answer = (traceback.format_exc(), None)
    end.send_bytes(pickle.dumps(answer))
    end.close()
    os._exit(0)
