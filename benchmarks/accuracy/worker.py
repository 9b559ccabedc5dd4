"""What every rank of the testbed runs: whole models by themselves, or packages one after the other. Times go to a file.

python worker.py compute times.json model.py rows rows ...      a step of the whole model on each rank
python worker.py steps times.json rounds steps package ...      steps of plans
"""

from __future__ import annotations

import json
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from autopart.runtime import DistributedModule

WARM_UP, ENOUGH_S, LEAST, MOST = 2, 1.5, 5, 40
LEARNING_RATE = 1e-3


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    mode, output, *words = sys.argv[1:]
    if mode == "compute":
        compute(Path(output), words)
    else:
        steps(Path(output), int(words[0]), int(words[1]), words[2:])
    dist.barrier()
    dist.destroy_process_group()


def compute(output: Path, words: Sequence[str]) -> None:
    """Seconds by rank of every pair of a model file and a number of rows; all ranks are busy at the same time."""
    mine = {}
    for path, rows in zip(words[::2], words[1::2], strict=True):
        file = runpy.run_path(path)
        torch.manual_seed(0)
        step = whole_step(file["model"](), file["example_inputs"](int(rows)))
        dist.barrier()
        mine[f"{Path(path).stem} {rows}"] = timed(step)
    found: list[dict[str, float]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(found, mine)
    if dist.get_rank() == 0:
        output.write_text(json.dumps(found, indent=1) + "\n")


def whole_step(module: nn.Module, batch: Sequence[torch.Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        torch.autograd.backward(module(*batch))
        optimizer.step()
        optimizer.zero_grad()

    return step


def timed(step: Callable[[], None]) -> float:
    """The median of steps for a while."""
    for _ in range(WARM_UP):
        step()
    times: list[float] = []
    while len(times) < LEAST or (sum(times) < ENOUGH_S and len(times) < MOST):
        start_s = time.perf_counter()
        step()
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def steps(output: Path, rounds: int, count: int, folders: Sequence[str]) -> None:
    """Seconds of ``rounds * count`` steps of every package, a few at a time of each; saved after every round."""
    run = {folder: trainer(Path(folder)) for folder in folders}
    times: dict[str, list[float]] = {folder: [] for folder in folders}
    for folder in folders:
        for _ in range(WARM_UP):
            run[folder]()
    for number in range(rounds):
        for folder in folders:
            times[folder] += [slowest(run[folder]) for _ in range(count)]
        if dist.get_rank() == 0:
            output.write_text(json.dumps(times, indent=1) + "\n")
            print(f"round {number + 1} of {rounds}", flush=True)


def trainer(folder: Path) -> Callable[[], None]:
    """A step of this rank's part: forward, backward, sums, update."""
    module = DistributedModule(folder)
    module.load_checkpoint(folder / "weights.pt")
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)
    batch = torch.load(folder / "batch.pt", weights_only=True)

    def step() -> None:
        module.train_step(batch)
        optimizer.step()
        optimizer.zero_grad()

    return step


def slowest(step: Callable[[], None]) -> float:
    """Of a step that all ranks start together, the time until the last is through."""
    dist.barrier()
    start_s = time.perf_counter()
    step()
    taken = torch.tensor([time.perf_counter() - start_s], dtype=torch.float64)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return float(taken)


if __name__ == "__main__":
    main()
