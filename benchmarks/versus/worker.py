"""What every rank runs: a job's contenders one after the other, in one launch.

    worker.py job.json result.json

A job is {"model", "batch", "warm_up", "steps", "patience", "runs": [{"name", "kind", "options"}, ...]}; the result, which the
first rank writes after every run, {name: {"step_s", "steps", "loss"}}. A run whose first timed step takes more than ``patience``
times the least step of the runs before it has that one step alone.
"""

from __future__ import annotations

import gc
import json
import math
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.versus.contenders import CONTENDERS
from benchmarks.versus.work import Step, Work


def main() -> None:
    job, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    work = Work(job["model"], job["batch"])
    found: dict[str, Any] = {}
    for run in job["runs"]:
        least_s = min((each["step_s"] for each in found.values()), default=math.inf)
        found[run["name"]] = _run(work, run, job["warm_up"], job["steps"], job["patience"] * least_s)
        if dist.get_rank() == 0:
            result.write_text(json.dumps(found))
        gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def _run(work: Work, run: dict[str, Any], warm_up: int, steps: int, limit_s: float) -> dict[str, Any]:
    """Seconds of a step, the mean of ``steps`` or, of one that takes longer than the limit, of one; the first step's loss."""
    step = CONTENDERS[run["kind"]](work, **run["options"])
    loss = total(step() if step else None)
    _repeat(step, warm_up - 1)
    first_s = _seconds(step, 1)
    rest = steps - 1 if first_s <= limit_s else 0
    return {"step_s": (first_s + _seconds(step, rest)) / (1 + rest), "steps": 1 + rest, "loss": loss}


def _seconds(step: Step | None, times: int) -> float:
    """Between two points at which all ranks meet, by the clock of the first: the same number on all."""
    dist.barrier()
    start = perf_counter()
    _repeat(step, times)
    dist.barrier()
    taken = torch.tensor([perf_counter() - start], dtype=torch.float64)
    dist.broadcast(taken, 0)
    return float(taken)


def _repeat(step: Step | None, times: int) -> None:
    for _ in range(times if step else 0):
        step()  # type: ignore[misc]


def total(loss: torch.Tensor | None) -> float:
    """Over all ranks."""
    found = torch.zeros(1) if loss is None else loss.reshape(1).float()
    dist.all_reduce(found)
    return float(found)


if __name__ == "__main__":
    main()
