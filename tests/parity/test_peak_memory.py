"""The simulated peak of a rank is what its tensors take, within a tenth, and hardly ever less."""

from __future__ import annotations

import pytest

from benchmarks.memory.measure import measured_case, peak_of, rows_for, source_of

MIB = 2**20
OVER, UNDER = 0.10, 0.02
RUNS = [
    ("gpt2", "one rank"),
    ("gpt2", "two stages"),
    ("gpt2", "ZeRO 3"),
    ("llama", "two stages"),
    ("bert", "data 2"),
    ("mixtral", "one rank"),
    ("inception", "one rank"),
    ("convnext", "one rank"),
    ("mlp", "two stages"),
    ("resnet", "data 2"),
    ("inplace_cnn", "one rank"),
    ("fno", "one rank"),
    ("mlp", "recompute"),
    ("inplace_cnn", "recompute"),
    ("fno", "recompute"),  # has blocks whose backward needs nothing
    ("dcgan_discriminator", "two stages"),  # sends what its last block makes
    ("mlp", "tensor 2"),
    ("unet", "tensor 2"),
    ("masked_mean", "tensor 2"),
    ("gat", "one rank"),  # without a batch dim
]


@pytest.mark.parametrize(("name", "plan"), RUNS)
def test_peak_is_what_tensors_take(name: str, plan: str) -> None:
    case = measured_case(name, plan, rows_for(name, 8 * MIB))
    assert case is not None
    assert all(-UNDER <= error <= OVER for error in peak_of(source_of(name), case).errors)
