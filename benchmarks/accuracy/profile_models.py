"""`autopart profile` on every rank, of one model after the other: where costs files go, the cluster file, models with their rows.

Joins a process group first: the testbed's quotas start when all ranks have.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch.distributed as dist

import autopart.pipeline  # before the quotas start
import autopart.profiling.campaign  # noqa: F401  likewise
from autopart.cli import main
from autopart.cluster.load import load_cluster

QUOTA_S = 1.0  # in which the quotas start: what is measured depends on whether there is one


def profile() -> int:
    dist.init_process_group("gloo")
    dist.barrier()
    time.sleep(QUOTA_S)
    folder, cluster, *words = sys.argv[1:]
    rank = dist.get_rank()
    device = load_cluster(cluster).device(rank).name
    settings = ["--optimizer", "sgd", "--batch-norm", "local", "--by", "block", "--quiet"]
    status = 0
    for path, rows in zip(words[::2], words[1::2], strict=True):
        dist.barrier()
        target = Path(folder) / f"{Path(path).stem}-{rank}.json"
        status |= main(["profile", path, "--devices", cluster, "--type", device, "--rows", rows, "-o", str(target), *settings])
    dist.barrier()
    dist.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(profile())
