"""The roofline, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cost_models.catalogue import catalogue
from cost_models.compute import CPU_DRAWS_PER_S, EFFICIENCY, OpClass, op_s, peak_flops, reached
from cost_models.hardware import DeviceType

DEVICE = DeviceType("toy", 2**30, 1e9, {"float32": 1e9, "tf32": 4e9, "bfloat16": 10e9}, launch_s=1e-3)


def test_compute_bound() -> None:
    """7e8 operations at 70% of 1e9 a second take a second; the 8e6 bytes meanwhile are no matter."""
    assert op_s(DEVICE, 7e8, 8e6, "float32", "matmul") == pytest.approx(1.001)


def test_memory_bound() -> None:
    """8e8 bytes at 80% of 1e9 a second."""
    assert op_s(DEVICE, 1.0, 8e8, "float32", "elementwise") == pytest.approx(1.001)


def test_an_empty_op_costs_its_launch_and_a_view_nothing() -> None:
    assert op_s(DEVICE, 0.0, 0.0) == 1e-3
    assert op_s(DEVICE, 1e12, 1e12, "float32", "view") == 0.0


def test_arrays() -> None:
    seconds = op_s(DEVICE, np.array([7e8, 0.0]), np.array([[0.0], [8e8]]), "float32", "matmul")
    assert seconds == pytest.approx(np.array([[1.001, 0.001], [1.001, 1.001]]))
    assert op_s(DEVICE, np.zeros(3), np.zeros((2, 1)), op_class="view").shape == (2, 3)


def test_peaks() -> None:
    assert peak_flops(DEVICE, "float32", "matmul") == 1e9, "PyTorch leaves TF32 off for matmul"
    assert peak_flops(DEVICE, "float32", "convolution") == 4e9, "and on for convolutions"
    assert peak_flops(DEVICE, "bfloat16", "matmul") == 10e9
    assert peak_flops(DEVICE, "bfloat16", "elementwise") == 1e9, "no matrix units"
    assert peak_flops(DEVICE, "float64", "matmul") == 5e8
    assert peak_flops(DEVICE, "float16", "matmul") == 1e9


def test_emulated_bfloat16_is_no_faster_than_float32() -> None:
    for name in ("P100-16GB", "V100-16GB", "T4-16GB"):
        assert peak_flops(catalogue()[name], "bfloat16") == peak_flops(catalogue()[name], "float32")
    core = DeviceType("box-cpu", 2**30, 1e9, {"float32": 1e9}, 0.0, kind="cpu")
    assert peak_flops(core, "bfloat16") == 2.5e8


def test_random_numbers_take_a_cpu_their_time_and_an_accelerator_their_bytes() -> None:
    core = DeviceType("box-cpu", 2**30, 1e9, {"float32": 1e9}, 0.0, kind="cpu")
    assert op_s(core, CPU_DRAWS_PER_S, 8.0, "float32", "random") == pytest.approx(1.0)
    assert op_s(DEVICE, 1e6, 8e8, "float32", "random") == pytest.approx(1.001)


def test_what_a_device_reaches() -> None:
    """By dtype for products; of attention in 16 bits; the class's where nothing is said."""
    device = DeviceType("toy", 2**30, 1e9, {"float32": 1e9}, 0.0, reached={"bfloat16": 0.9, "attention": 0.3})
    assert reached(device, "bfloat16", "matmul") == 0.9
    assert reached(device, "float32", "matmul") == EFFICIENCY["matmul"].flops
    assert reached(device, "bfloat16", "attention") == 0.3
    assert reached(device, "float32", "attention") == EFFICIENCY["attention"].flops
    assert reached(device, "bfloat16", "convolution") == EFFICIENCY["convolution"].flops
    assert op_s(device, 9e8, 0.0, "bfloat16", "matmul", 2.0) == pytest.approx(2.0)


@pytest.mark.parametrize("op_class", [name for name in EFFICIENCY if name != "view"])
def test_monotone(op_class: OpClass) -> None:
    rng = np.random.default_rng(0)
    flops, nbytes = 10 ** rng.uniform(0, 15, 400), 10 ** rng.uniform(0, 12, 400)
    more_flops, more_bytes = flops * rng.uniform(1, 3, 400), nbytes * rng.uniform(1, 3, 400)
    for device in catalogue().values():
        for dtype in ("float32", "float64", "bfloat16"):
            base = op_s(device, flops, nbytes, dtype, op_class)
            assert np.all(base >= device.launch_s)
            assert np.all(op_s(device, more_flops, nbytes, dtype, op_class) >= base)
            assert np.all(op_s(device, flops, more_bytes, dtype, op_class) >= base)


def test_a_faster_device_is_faster() -> None:
    work = (1e12, 1e9, "bfloat16", "matmul")
    order = ["H100-80GB", "A100-80GB", "V100-16GB", "T4-16GB", "cpu-core"]
    seconds = [float(op_s(catalogue()[name], *work)) for name in order]
    assert seconds == sorted(seconds)
