"""What every rank runs: contenders made once, then timed in turns, so that whatever slows the machine slows all of them.

    worker.py job.json result.json

A job is {"model", "batch", "warm_up", "rounds", "steps", "runs": [{"name", "kind", "options"}, ...]}; the result, written by the
first rank, {name: {"losses", "wall_s", "cpu_s"}}, losses of the warm-up, seconds of a step by round, or {name: {"error"}}.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.overheads.compiled import compiled_model, compiled_package
from benchmarks.overheads.handwritten import handwritten
from benchmarks.versus.contenders import CONTENDERS
from benchmarks.versus.work import Step, Work
from benchmarks.versus.worker import total

KINDS = {**CONTENDERS, "handwritten": handwritten, "compiled": compiled_model, "ours compiled": compiled_package}


def main() -> None:
    job, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = measured(Work(job["model"], job["batch"]), job)
    if dist.get_rank() == 0:
        result.write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def measured(work: Work, job: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every run's first losses, and seconds of its steps round by round."""
    steps: dict[str, Step] = {}
    found: dict[str, dict[str, Any]] = {}
    for run in job["runs"]:
        try:
            steps[run["name"]], losses = started(work, run, job["warm_up"])
            found[run["name"]] = {"losses": losses, "wall_s": [], "cpu_s": []}
        except Exception as error:
            if dist.get_world_size() > 1:
                raise  # the others wait for this rank
            found[run["name"]] = {"error": f"{type(error).__name__}: {error}"}
    for _ in range(job["rounds"]):
        for name, step in steps.items():
            wall_s, cpu_s = timed(step, job["steps"])
            found[name]["wall_s"].append(wall_s)
            found[name]["cpu_s"].append(cpu_s)
    return found


def started(work: Work, run: Mapping[str, Any], warm_up: int) -> tuple[Step, list[float]]:
    """A contender after its first steps, and their losses."""
    step = KINDS[run["kind"]](work, **run["options"])
    assert step is not None, "every rank takes part"
    return step, [total(step()) for _ in range(warm_up)]


def timed(step: Step, times: int) -> tuple[float, float]:
    """Seconds of a step between two points at which all ranks meet, and of their processors: user and system, all threads,
    summed over the ranks.
    """
    dist.barrier()
    start, busy = perf_counter(), process_time()
    for _ in range(times):
        step()
    spent = torch.tensor([process_time() - busy], dtype=torch.float64)
    dist.barrier()
    wall_s = (perf_counter() - start) / times
    dist.all_reduce(spent)
    return wall_s, spent.item() / times


if __name__ == "__main__":
    main()
