"""`autopart profile` on every rank, of one model after the other: where costs files go, the cluster file, what is timed (`--by`),
models with their rows. Beside each costs file goes the yardstick of that time.

Joins a process group first: the testbed's quotas start when all ranks have.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import mean

import torch.distributed as dist

import autopart.pipeline  # before the quotas start
import autopart.profiling.campaign  # noqa: F401  likewise
from autopart.cli import main
from autopart.cluster.load import load_cluster
from benchmarks.accuracy.yardstick import YARDSTICK, yardstick_s

YARDSTICKS = 3  # before a model is timed, and after
QUOTA_S = 1.0  # in which the quotas start: what is measured depends on whether there is one


def profile() -> int:
    dist.init_process_group("gloo")
    dist.barrier()
    time.sleep(QUOTA_S)
    folder, cluster, by, *words = sys.argv[1:]
    rank = dist.get_rank()
    device = load_cluster(cluster).device(rank).name
    settings = ["--optimizer", "sgd", "--batch-norm", "local", "--by", by, "--quiet"]
    status = 0
    for path, rows in zip(words[::2], words[1::2], strict=True):
        dist.barrier()
        target = Path(folder) / f"{Path(path).stem}-{rank}.json"
        yardsticks = [yardstick_s() for _ in range(YARDSTICKS)]
        status |= main(["profile", path, "--devices", cluster, "--type", device, "--rows", rows, "-o", str(target), *settings])
        yardsticks += [yardstick_s() for _ in range(YARDSTICKS)]
        target.with_suffix(YARDSTICK).write_text(json.dumps(mean(yardsticks)))
    dist.barrier()
    dist.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(profile())
