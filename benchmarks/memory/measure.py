"""The most that a rank's tensors take in two training steps, and what the simulated step says.

Measured are the bytes of all storages alive at a time (PyTorch's MemTracker): parameters, gradients, optimizer state, the rank's
rows of the batch, and whatever forward, backward, messages and the update need. What no dispatched op returns (memory inside a
kernel or inside gloo) is not seen; the trials under a memory limit see it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_leaves

from autopart.pipeline import Front, simulated
from autopart.runtime import DistributedModule, ShardSampler, pick, samples_in
from tests.parity.parity import Case, compiled, user_batch
from tests.ranks import run_ranks

STEPS = 2  # the optimizer's state is made in the first
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of every used rank of a plan."""

    predicted: tuple[int, ...]
    measured: tuple[int, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """By rank, what is predicted too much, as a part of what was measured."""
        return tuple(ours / theirs - 1 for ours, theirs in zip(self.predicted, self.measured, strict=True))


def peak_of(source: Front, case: Case) -> Peak:
    """A plan of a model, trained on processes of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        predicted = simulated(compiled(source, case, Path(folder))).timeline.peak_bytes
        job = (Path(folder), source.loaded.module.state_dict(), user_batch(source.loaded, case.batch))
        measured = run_ranks(case.ranks, _peak, *job, timeout_s=TIMEOUT_S, group_timeout_s=TIMEOUT_S)
    ranks = sorted(predicted)
    return Peak(tuple(predicted[rank] for rank in ranks), tuple(measured[rank] for rank in ranks))


def _peak(_: int, folder: Path, state: Mapping[str, Tensor], data: Any) -> int:
    """Of one rank."""
    module = DistributedModule(folder)
    module.load_state_dict(state)
    optimizer = torch.optim.AdamW(module.parameters())
    (rows,) = ShardSampler(module, samples_in(module, data), shuffle=False)
    batch = pick(module, data, rows)
    tracker = MemTracker()
    tracker.track_external(module, optimizer, *tree_leaves(batch))
    with tracker:
        for _ in range(STEPS):
            module.train_step(batch, local=True)
            optimizer.step()
            optimizer.zero_grad()
    found = tracker.get_tracker_snapshot("peak")
    return int(sum(each["Total"] for each in found.values()))
