"""A rank holds what its ZeRO level says, and no more of whole parameters than it computes with."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.plans import Settings
from autopart.runtime import DistributedModule
from autopart.runtime.gradients import Outbox
from autopart.runtime.heap import return_freed_memory
from autopart.runtime.lending import Lender
from autopart.runtime.zero import ZeroGroup
from tests.fronts import front
from tests.parity.parity import Case, Part, on_ranks, user_batch
from tests.parity.test_zero import LEVELS, alone, in_rows
from tests.ranks import run_ranks


def groups_of(module: DistributedModule) -> list[ZeroGroup]:
    assert module._zero, "nothing is shared out"
    return module._zero


def nbytes(tensors: Iterable[Tensor | None]) -> int:
    """Of memory, whoever shares it counted once."""
    storages = [tensor.untyped_storage() for tensor in tensors if tensor is not None]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def whole_ones(group: ZeroGroup) -> list[Tensor]:
    """What a group has of whole parameters."""
    rows = [coming.target for coming in group.lender._rows.values()]
    return [*group._leaves.values(), *group._rows.values(), *rows]


def gradients_in(group: ZeroGroup) -> list[Tensor | None]:
    """What a group has of gradients, whole and in part."""
    travelling = [coming.target for _, coming in group._travelling]
    return [*(leaf.grad for leaf in group._leaves.values()), *travelling, *group._sums.values()]


def held_bytes(module: DistributedModule, batch: Any) -> dict[str, int]:
    """Bytes after a step, and the most there were of gradients when some of them left."""
    most = [0]
    launch = Outbox._launch_next

    def watched(outbox: Outbox) -> None:
        most[0] = max(most[0], nbytes(tensor for group in module._zero for tensor in gradients_in(group)))
        launch(outbox)

    Outbox._launch_next = watched  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        module.train_step(batch)
        optimizer.step()
    Outbox._launch_next = launch  # type: ignore[method-assign]
    parameters = list(module.parameters())
    kept = [*parameters, *(tensor for group in module._zero for tensor in whole_ones(group))]
    states = [tensor for state in optimizer.state.values() for key, tensor in state.items() if key != "step"]
    return {
        "parameters": nbytes(kept),
        "gradients": nbytes(parameter.grad for parameter in parameters),
        "state": nbytes(states),
        "most": most[0],
    }


@pytest.mark.parametrize("level", [0, *LEVELS])
def test_a_rank_holds_what_its_level_says(level: int) -> None:
    source, case, replicas = front("gpt2"), alone(level), 3
    total = sum(p.numel() * p.element_size() for p in source.loaded.module.parameters())
    for found in on_ranks(source, case, in_rows, held_bytes, user_batch(source.loaded, case.batch)):
        kept = {
            "parameters": total / (replicas if level == 3 else 1),
            "gradients": total / (replicas if level else 1),
            "state": 2 * total / (replicas if level else 1),
        }
        for what, wanted in kept.items():
            assert found[what] == pytest.approx(wanted, rel=0.1), what
        if level == 1:
            assert found["most"] == pytest.approx(total, rel=0.1)
        if level > 1:
            assert found["most"] < 0.6 * total  # a third, the largest row of its kind, and two that travel


def rows_in_step(module: DistributedModule, batch: Any) -> tuple[int, int, int, int, int]:
    """Rows that exist at a time, at most and in the end; read without being on their way; gathered; all there are."""
    (group,) = groups_of(module)
    lender, most, late, gathered = group.lender, 0, 0, 0
    row, fetch = lender.row, lender._fetch

    def watched(flat: Any) -> Tensor:
        nonlocal late, most
        late += flat not in lender._rows
        found = row(flat)
        storages = [storage for storage, _ in lender._storages.values() if not storage.expired()]
        most = max(most, len(storages))
        return found

    def counted(flat: Any) -> None:
        nonlocal gathered
        gathered += flat not in lender._rows
        fetch(flat)

    module.train_step(batch)
    lender.row, lender._fetch = watched, counted  # type: ignore[method-assign]
    module.train_step(batch)
    left = sum(not storage.expired() for storage, _ in lender._storages.values())
    return most, left, late, gathered, len(group.flats)


def test_whole_parameters_come_ahead_and_do_not_stay() -> None:
    source, case = front("gpt2"), alone(3)
    for most, left, late, gathered, rows in on_ranks(source, case, in_rows, rows_in_step, user_batch(source.loaded, case.batch)):
        assert rows > 20
        assert most <= 6
        assert left == 0
        assert late == 2 * case.microbatches  # the first of each forward and backward
        assert gathered <= 2 * case.microbatches * rows


def copies_kept(module: DistributedModule, batch: Any) -> tuple[int, int]:
    """How many copies of weights in lower precision stay from the forward to the backward, and how many are made again."""
    shapes = {slot.shape for group in groups_of(module) for flat in group.flats for slot in flat.slots.values()}
    weights = {shape for shape in shapes if len(shape) == 2} | {shape[::-1] for shape in shapes if len(shape) == 2}
    kept, again = [0], [0]
    noted = Lender._noted

    def watched(lender: Lender, tensor: Tensor) -> Any:
        found = noted(lender, tensor)
        if tensor.dtype == torch.bfloat16 and tensor.shape in weights:
            (kept if isinstance(found, Tensor) else again)[0] += 1
        return found

    Lender._noted = watched  # type: ignore[method-assign]
    module.train_step(batch)
    return kept[0], again[0]


def test_copies_in_lower_precision_do_not_stay_either() -> None:
    source, case = front("gpt2", precision="bfloat16"), Case((Part((3, 1, 1), zero=3),), microbatches=2)
    settings, batch = Settings(precision="bfloat16"), user_batch(source.loaded, case.batch)
    for kept, again in on_ranks(source, case, in_rows, copies_kept, batch, settings=settings):
        assert kept == 0
        assert again == 26  # in two microbatches, four of each of three layers and the head's


def resident_after_freeing(_: int) -> float:
    """MiB more than before, after blocks of 4 MiB came and went below one that stays."""
    return_freed_memory()
    torch.ones(2**20)
    before = resident_mib()
    blocks = [torch.ones(2**20) for _ in range(40)]
    stays = blocks[-1]
    blocks.clear()
    return resident_mib() - before - stays.nbytes / 2**20


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_freed_memory_goes_back() -> None:
    assert run_ranks(1, resident_after_freeing)[0] < 10
