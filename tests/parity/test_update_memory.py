"""What an update of torch.optim takes beside parameters and their state is what the cost model says, to the byte."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker

from autopart.profiling.measure import OPTIMIZERS
from benchmarks.memory.measure import measured_case, peak_of, source_of
from cost_models.hardware import Kind
from cost_models.memory import update_transient_bytes

SIZES = ((4096,), (1024, 4096), (4096, 1024), (4096, 4096, 4096), (1024, 2048, 4096, 512))
UNIT = 4  # a float32; sizes are large enough that what an optimizer counts its steps in does not show


@pytest.mark.parametrize("kind", ["cpu", "accelerator"])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("sizes", SIZES)
def test_temporaries_of_an_update(name: str, sizes: Sequence[int], kind: Kind) -> None:
    """An accelerator's path is the multi-tensor one, which runs on a CPU too where it is asked for."""
    parameters = [nn.Parameter(torch.rand(size)) for size in sizes]
    optimizer = OPTIMIZERS[name](parameters)
    if kind == "accelerator":
        for group in optimizer.param_groups:
            group["foreach"] = True
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    predicted = update_transient_bytes(name, "float32", kind, sum(sizes), sizes)
    assert abs(_temporary_bytes(optimizer, parameters) - predicted) < 256 * UNIT


def _temporary_bytes(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> int:
    tracker = MemTracker()
    tracker.track_external(optimizer, *parameters, *(each.grad for each in parameters if each.grad is not None))
    with tracker:
        optimizer.step()
    peak, after = (sum(each["Total"] for each in tracker.get_tracker_snapshot(when).values()) for when in ("peak", "current"))
    return int(peak - after)


UNEXPLAINED = pytest.mark.xfail(reason="predicted 2.4% too high since biases are replicated over columns; not yet known why")


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("gpt2", "one rank"),
        ("llama", "one rank"),
        ("llama", "tensor 2"),
        pytest.param("gpt2", "tensor 2", marks=UNEXPLAINED),
    ],
)
def test_peak_where_the_update_is_the_peak(name: str, plan: str) -> None:
    """Of few samples: Adam's temporaries are more than activations."""
    case = measured_case(name, plan, 4)
    assert case is not None
    assert all(abs(error) <= 0.02 for error in peak_of(source_of(name), case).errors)
