"""Bytes of training state: what a parameter costs by optimizer and precision, and what the framework takes for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from cost_models.hardware import DeviceType, Kind

OPTIMIZER_STATES: Mapping[str, int] = {
    "sgd": 0,
    "momentum": 1,  # momentum_buffer
    "adam": 2,  # exp_avg, exp_avg_sq
    "adamw": 2,
    "rmsprop": 1,  # square_avg
    "adagrad": 1,  # sum
}
"""Tensors of a parameter's size and dtype that torch.optim keeps for it, at its default options ("momentum": SGD with it)."""

UPDATE_TEMPORARIES: Mapping[Kind, Mapping[str, int]] = {
    "accelerator": {"sgd": 0, "momentum": 0, "adam": 1, "adamw": 1, "rmsprop": 1, "adagrad": 2},
    "cpu": {"sgd": 0, "momentum": 0, "adam": 2, "adamw": 2, "rmsprop": 1, "adagrad": 1},
}
"""Tensors that an update has beside parameter, gradient and state, in the path that torch.optim takes where neither ``foreach``
nor ``fused`` is said. On accelerators it is the multi-tensor one: of the size of all parameters together (the root of a state;
Adagrad's scaled gradients too). On a CPU it is a loop: of one parameter's size (the root of a state, Adam's quotient of it), and
the last of them stays until the next parameter has its own."""


@dataclass(frozen=True, slots=True)
class Precision:
    """How a precision stores and computes, against a model that was traced in float32.

    ``weight_copy_bytes``: autocast casts each weight of a matrix op to the compute dtype, and autograd keeps that copy from
    forward to backward, so every microbatch in flight holds one. ``activation_factor`` is by what saved activations take.
    """

    parameter_bytes: int
    gradient_bytes: int
    compute_dtype: str
    activation_factor: float
    weight_copy_bytes: int = 0


AUTOCAST_ACTIVATION_FACTOR: Final = 9 / 16
"""Counted for a pre-norm transformer block, in units of its hidden size, what autograd saves: float32 16 values of 4 bytes (two
norm inputs, two norm outputs, q, k, v, attention output, 4 + 4 in the MLP) = 64; autocast keeps the two norm inputs (the residual
stream) in float32 and the other 14 in bfloat16 = 36."""

PRECISIONS: Mapping[str, Precision] = {
    "float32": Precision(4, 4, "float32", 1.0),
    "float64": Precision(8, 8, "float64", 2.0),
    "bfloat16": Precision(4, 4, "bfloat16", AUTOCAST_ACTIVATION_FACTOR, weight_copy_bytes=2),
}


def state_bytes(optimizer: str, precision: str) -> int:
    """Bytes for one trainable parameter all step long: itself, its gradient, the optimizer's state."""
    kept = PRECISIONS[precision]
    return kept.parameter_bytes * (1 + OPTIMIZER_STATES[optimizer]) + kept.gradient_bytes


def frozen_bytes(precision: str) -> int:
    """Bytes for one parameter that is not trained."""
    return PRECISIONS[precision].parameter_bytes


def update_transient_bytes(optimizer: str, precision: str, kind: Kind, total: float, sizes: Sequence[float]) -> float:
    """The most bytes that an update has beside parameters and their state: of ``total`` elements on an accelerator, on a CPU
    of parameters of so many elements each, in the order in which the optimizer has them.
    """
    count, nbytes = UPDATE_TEMPORARIES[kind][optimizer], PRECISIONS[precision].parameter_bytes
    if not count:
        return 0.0
    match kind:
        case "accelerator":
            return count * nbytes * total
        case "cpu":
            updated = [size for size in sizes if size]
            return nbytes * max((before + count * size for before, size in pairwise([0.0, *updated])), default=0.0)


def update_traffic_bytes(optimizer: str, precision: str) -> int:
    """Bytes that the update of one parameter reads and writes: parameter and states both ways, the gradient read."""
    kept = PRECISIONS[precision]
    return 2 * kept.parameter_bytes * (1 + OPTIMIZER_STATES[optimizer]) + kept.gradient_bytes


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is not there for tensors: a fixed part, and a fraction lost to the allocator's fragmentation."""

    fixed_bytes: int
    fraction: float
    reason: str


RESERVE: Mapping[Kind, Reserve] = {
    "accelerator": Reserve(
        1280 * 2**20,
        0.05,
        "CUDA context about 0.5 GiB, communicator buffers 0.5 GiB, matrix library workspaces 0.25 GiB; 5% fragments",
    ),
    "cpu": Reserve(
        256 * 2**20,
        0.05,
        "212 MiB of its own when a rank has joined gloo and trained a layer (measured, torch 2.13), gloo buffers; 5% fragments",
    ),
}


def usable_bytes(device: DeviceType) -> int:
    """Memory left for parameters and activations; 0 where the framework alone does not fit."""
    reserve = RESERVE[device.kind]
    return max(0, int(device.memory_bytes * (1 - reserve.fraction)) - reserve.fixed_bytes)
