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

LEARNING_RATE = 1e-3


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    output, rounds, count, *folders = sys.argv[1:]
    steps(Path(output), int(rounds), int(count), folders)
    dist.barrier()
    dist.destroy_process_group()


def steps(output: Path, rounds: int, count: int, folders: Sequence[str]) -> None:
    """Seconds of ``rounds * count`` steps of every package, a few at a time of each; saved after every round. The step that comes
    after another package's is not timed: caches, heap and connections are the other's.
    """
    run = {folder: trainer(Path(folder)) for folder in folders}
    times: dict[str, list[float]] = {folder: [] for folder in folders}
    for folder in folders:
        run[folder]()
    for number in range(rounds):
        for folder in folders:
            run[folder]()
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
