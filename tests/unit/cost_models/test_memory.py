"""Bytes of training state."""

from __future__ import annotations

import pytest

from cost_models.catalogue import catalogue
from cost_models.memory import (
    OPTIMIZER_STATES,
    PRECISIONS,
    frozen_bytes,
    state_bytes,
    update_traffic_bytes,
    update_transient_bytes,
    usable_bytes,
)


@pytest.mark.parametrize(
    ("optimizer", "precision", "nbytes"),
    [
        ("sgd", "float32", 8),
        ("momentum", "float32", 12),
        ("adam", "float32", 16),
        ("adamw", "float32", 16),
        ("adamw", "float64", 32),
        ("adamw", "bfloat16", 16),  # autocast: parameters, gradients and state stay float32
        ("rmsprop", "float32", 12),
        ("adagrad", "float64", 24),
    ],
)
def test_state_bytes(optimizer: str, precision: str, nbytes: int) -> None:
    assert state_bytes(optimizer, precision) == nbytes


def test_frozen_parameters_have_neither_gradient_nor_state() -> None:
    assert frozen_bytes("float32") == 4
    assert frozen_bytes("float64") == 8


def test_update() -> None:
    assert update_traffic_bytes("sgd", "float32") == 12  # read and write the parameter, read the gradient
    assert update_traffic_bytes("adamw", "float32") == 28


def test_temporaries_of_an_update() -> None:
    """Together on an accelerator; on a CPU one parameter after the other, with what is left of the one before."""
    assert update_transient_bytes("adamw", "float32", "accelerator", 60, (10, 20, 30)) == 4 * 60
    assert update_transient_bytes("adagrad", "float32", "accelerator", 60, (10, 20, 30)) == 4 * 2 * 60
    assert update_transient_bytes("adamw", "float32", "cpu", 60, (10, 20, 30)) == 4 * (20 + 2 * 30)
    assert update_transient_bytes("adamw", "float32", "cpu", 60, (30, 20, 10)) == 4 * (30 + 2 * 20)
    assert update_transient_bytes("adam", "float64", "cpu", 60, (30, 0, 30)) == 8 * (30 + 2 * 30), "what is empty is left out"
    assert update_transient_bytes("rmsprop", "float32", "cpu", 60, (30, 20, 10)) == 4 * (30 + 20)
    for optimizer in ("sgd", "momentum"):
        assert update_transient_bytes(optimizer, "float64", "accelerator", 60, (60,)) == 0
        assert update_transient_bytes(optimizer, "float64", "cpu", 60, (60,)) == 0


def test_autocast_keeps_a_copy_of_each_weight() -> None:
    assert PRECISIONS["bfloat16"].weight_copy_bytes == 2
    assert PRECISIONS["float32"].weight_copy_bytes == 0


def test_activations_by_precision() -> None:
    """A pre-norm block: of 16 saved values a hidden unit, two stay float32 under autocast."""
    assert PRECISIONS["bfloat16"].activation_factor == (2 * 4 + 14 * 2) / (16 * 4)
    assert PRECISIONS["float64"].activation_factor == 2


def test_usable_bytes() -> None:
    device = catalogue()["A100-80GB"]
    assert usable_bytes(device) == int(device.memory_bytes * 0.95) - 1280 * 2**20
    for device in catalogue().values():
        assert 0.8 * device.memory_bytes < usable_bytes(device) < device.memory_bytes


def test_every_precision_knows_every_optimizer() -> None:
    for optimizer in OPTIMIZER_STATES:
        for precision in PRECISIONS:
            assert state_bytes(optimizer, precision) >= 2 * PRECISIONS[precision].parameter_bytes
