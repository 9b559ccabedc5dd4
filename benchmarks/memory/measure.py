"""The most that a rank's tensors take in two training steps, and what the simulated step says.

Measured are the bytes of all storages alive at a time (PyTorch's MemTracker): parameters, gradients, optimizer state, the rank's
rows of the batch, and whatever forward, backward, messages and the update need. What no dispatched op returns (memory inside a
kernel or inside gloo) is not seen; the trials under a memory limit see it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_leaves

from autopart.pipeline import Built, Front, simulated
from autopart.pricing.table import BlockTable
from autopart.runtime import DistributedModule, ShardSampler, pick, samples_in
from benchmarks.memory.results import Peak
from cost_models.hardware import DeviceType
from tests.fronts import front
from tests.parity.parity import Case, Part, compiled, user_batch
from tests.ranks import run_ranks
from tests.zoo import ZOO

STEPS = 2  # the optimizer's state is made in the first
TIMEOUT_S = 300.0

CPU = DeviceType("cpu-core", 2**34, 1e10, {"float32": 5e10}, 1e-6, kind="cpu")  # its kind alone counts
PLANS = ("one rank", "recompute", "two stages", "data 2", "tensor 2", "ZeRO 1", "ZeRO 2", "ZeRO 3")


def source_of(name: str) -> Front:
    """A model of the zoo in float32."""
    return front(name, precision="float32")


def measured_case(name: str, plan: str, rows: int) -> Case | None:
    """A plan with so many rows in a microbatch of all replicas; None where the model has none like it."""
    entry = ZOO[name]
    if entry.batchless and plan not in ("one rank", "recompute", "two stages"):
        return None
    microbatches = 1 if entry.mixes_samples or entry.batchless else 4 if plan == "two stages" else 2
    halves = (rows // 2, rows // 2)
    match plan:
        case "one rank":
            parts: tuple[Part, ...] = (Part((rows,)),)
        case "recompute":
            parts = (Part((rows,), recompute=True),)
        case "two stages":
            parts = (Part((rows,)), Part((rows,)))
        case "data 2":
            parts = (Part(halves),)
        case "tensor 2":
            parts = (Part((rows,), tensor=2),)
        case _:
            parts = (Part(halves, zero=int(plan[-1])),)
    return Case(parts, microbatches=microbatches)


def rows_for(name: str, activation_bytes: int) -> int:
    """A multiple of 4 for which one microbatch saves about so many bytes on one rank."""
    if ZOO[name].batchless:
        return 12
    if name == "two_towers":  # its scores grow with the square of the rows
        return 1500
    table = BlockTable(source_of(name).blocks, "float32", "adamw", 64)
    few, more = (table.kept(CPU, rows, recompute=False).inflight.sum() for rows in (8, 16))
    return max(4, int(8 * activation_bytes / (more - few)) // 4 * 4)


def peak_of(source: Front, case: Case) -> Peak:
    """A plan of a model, trained on processes of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        predicted = predicted_bytes(compiled(source, case, Path(folder)))
        job = (Path(folder), source.loaded.module.state_dict(), user_batch(source.loaded, case.batch))
        measured = run_ranks(case.ranks, _peak, *job, timeout_s=TIMEOUT_S, group_timeout_s=TIMEOUT_S)
    return Peak(sum(case.parts[0].shares), predicted, tuple(measured))


def predicted_again(source: Front, case: Case, peak: Peak) -> Peak:
    """What was measured, beside what the simulation says now."""
    with tempfile.TemporaryDirectory() as folder:
        return replace(peak, predicted=predicted_bytes(compiled(source, case, Path(folder))))


def predicted_bytes(built: Built) -> tuple[int, ...]:
    """By used rank."""
    peaks = simulated(built).timeline.peak_bytes
    return tuple(peaks[rank] for rank in sorted(peaks))


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
