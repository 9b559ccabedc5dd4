"""What every rank of the testbed runs: steps of packages, one after the other, interleaved. Times go to a file.

python worker.py times.json rounds steps package ...
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from autopart.runtime import DistributedModule
from benchmarks.accuracy.yardstick import Measured, yardstick_s

LEARNING_RATE = 1e-3


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    output, rounds, count, *folders = sys.argv[1:]
    steps(Path(output), int(rounds), int(count), folders)
    dist.barrier()
    dist.destroy_process_group()


def steps(output: Path, rounds: int, count: int, folders: Sequence[str]) -> None:
    """``rounds`` times a few steps of every package, and the yardstick before them; saved after every round. The step that comes
    after another package's is not timed: caches, heap and connections are the other's.
    """
    run = {folder: trainer(Path(folder)) for folder in folders}
    steps_s: dict[str, list[list[float]]] = {folder: [] for folder in folders}
    yardsticks_s: dict[str, list[list[float]]] = {folder: [] for folder in folders}
    for folder in folders:
        run[folder]()
    for number in range(rounds):
        for folder in folders:
            yardsticks_s[folder].append(everybodys(yardstick_s()))
            run[folder]()
            steps_s[folder].append([slowest(run[folder]) for _ in range(count)])
        if dist.get_rank() == 0:
            found = {folder: Measured(steps_s[folder], yardsticks_s[folder]).to_json() for folder in folders}
            output.write_text(json.dumps(found, indent=1) + "\n")
            print(f"round {number + 1} of {rounds}", flush=True)


def everybodys(own: float) -> list[float]:
    """By rank."""
    found = [0.0] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found


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
