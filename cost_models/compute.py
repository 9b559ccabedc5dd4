"""How long one op takes on one device: a roofline with a fixed cost per op.

    seconds = launch + max(waste * flops / (peak * efficiency), nbytes / (memory bandwidth * efficiency))

``waste`` says what a product of matrices loses to tiles and waves (``cost_models.tiles``); it is 1 on a CPU.
Williams, Waterman, Patterson: Roofline, CACM 52(4), 2009. The efficiencies are defaults until a measurement of the
machine replaces them: what good kernels reach, not what a perfect one could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cost_models.hardware import DeviceType, Kind
from cost_models.tiles import Product, attention_s, product_s

Products = tuple[tuple[Product, ...], tuple[Product, ...]]
OpClass = Literal["matmul", "attention", "convolution", "elementwise", "reduction", "gather", "random", "view"]


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Fractions of the datasheet's peaks that an op of a class reaches, and why."""

    flops: float
    bandwidth: float
    reason: str


EFFICIENCY: Mapping[OpClass, Efficiency] = {
    "matmul": Efficiency(
        0.70, 0.80, "large GEMMs reach 70-80% of dense peak on A100 and H100, one AVX-512 core 68% (measured); small ones less"
    ),
    "attention": Efficiency(
        0.50, 0.80, "FlashAttention-2 (Dao 2023) reports 50-73% of an A100's peak forward, less backward; unfused kernels less"
    ),
    "convolution": Efficiency(0.50, 0.80, "implicit GEMM with padding and short channels; below a GEMM of the same size"),
    "elementwise": Efficiency(0.50, 0.80, "streams: STREAM-like kernels reach 80-90% of datasheet bandwidth"),
    "reduction": Efficiency(0.50, 0.60, "norms, softmax and losses pass over their input more than once"),
    "gather": Efficiency(0.50, 0.40, "rows at random addresses; gradients by atomic adds or sorting"),
    "random": Efficiency(1.00, 0.80, "the bytes stream; a CPU draws its numbers one after the other, see CPU_DRAWS_PER_S"),
    "view": Efficiency(1.00, 1.00, "moves nothing, launches nothing"),
}

ELEMENT_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
_MATRIX: frozenset[OpClass] = frozenset({"matmul", "attention", "convolution"})


CPU_DRAWS_PER_S = 2.5e8
"""Random numbers of 32 bits that one core draws a second: its Mersenne Twister is serial. Measured with torch 2.13 on one core of
an AMD EPYC with AVX2, float32, 2^16 to 2^22 elements: 3.6 ns for ``rand``, 4.0 for ``randn`` and ``normal_``, 7.1 for
``bernoulli_`` and 8 for a dropout, which draw two. (On processors of Intel PyTorch calls MKL for both, which takes less.)
"""


def peak_flops(device: DeviceType, dtype: str, op_class: OpClass = "matmul") -> float:
    """Datasheet FLOP/s for ops of this class in this dtype.

    float32 matmul runs at the plain float32 rate: PyTorch leaves TF32 off for matmul and on for convolutions
    (``torch.backends.cuda.matmul.allow_tf32`` False, ``torch.backends.cudnn.allow_tf32`` True). Ops outside the matrix
    units run no faster than float32. A dtype that the device has no number for is emulated: float64 at half of float32;
    16 bits as float32 on an accelerator, at a quarter of it on a CPU (measured on AVX-512 without AMX: 31 of 122 GFLOP/s).
    Of random ops the "flops" are the numbers that they draw.
    """
    if op_class == "random" and device.kind == "cpu":
        return CPU_DRAWS_PER_S
    flops = device.flops
    plain = flops["float32"]
    if op_class == "convolution" and dtype == "float32":
        return flops.get("tf32", plain)
    peak = flops[dtype] if dtype in flops else plain * _emulation(dtype, device.kind)
    return peak if op_class in _MATRIX else min(peak, plain)


def _emulation(dtype: str, kind: Kind) -> float:
    if dtype == "float64":
        return 1 / 2
    return 1 / 4 if kind == "cpu" and dtype in ("float16", "bfloat16") else 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one op asks of a device for a microbatch, in the precision that it runs in: the operands of every cost model.

    ``kind`` is the op's full name, for models that know it. ``products``: of an op that multiplies matrices, those of the
    forward and of the backward.
    """

    op_class: OpClass
    dtype: str
    forward_flops: float
    forward_bytes: float
    backward_flops: float
    backward_bytes: float
    kind: str = ""
    products: Products = ((), ())

    @property
    def differentiated(self) -> bool:
        """Whether it has a backward."""
        return bool(self.backward_flops or self.backward_bytes)


def op_s(
    device: DeviceType,
    flops: ArrayLike,
    nbytes: ArrayLike,
    dtype: str = "float32",
    op_class: OpClass = "matmul",
    waste: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Seconds of ops with these floating point operations and bytes read and written. Arrays broadcast; a view is free.

    ``waste``: by how much longer they compute than their flops say.
    """
    compute_s, memory_s = bounds_s(device, flops, nbytes, dtype, op_class)
    if op_class == "view":
        return np.zeros(np.broadcast_shapes(compute_s.shape, memory_s.shape))
    longer = np.asarray(waste) * (EFFICIENCY[op_class].flops / reached(device, dtype, op_class))
    return device.launch_s + np.maximum(compute_s * longer, memory_s)


def bounds_s(
    device: DeviceType, flops: ArrayLike, nbytes: ArrayLike, dtype: str, op_class: OpClass
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The roofline's two sides at the efficiencies of the class: seconds to compute, and seconds to move the bytes."""
    efficiency = EFFICIENCY[op_class]
    compute_s = np.asarray(flops, dtype=np.float64) / (peak_flops(device, dtype, op_class) * efficiency.flops)
    memory_s = np.asarray(nbytes, dtype=np.float64) / (device.memory_bandwidth_bytes_per_s * efficiency.bandwidth)
    return compute_s, memory_s


def reached(device: DeviceType, dtype: str, op_class: OpClass) -> float:
    """Fraction of the peak that ops of the best shapes reach: as measured on such devices, else as for all of the class."""
    known = EFFICIENCY[op_class].flops
    if op_class == "matmul":
        return device.reached.get(dtype, known)
    return device.reached.get("attention", known) if op_class == "attention" and ELEMENT_BYTES.get(dtype) == 2 else known


def waste_of(device: DeviceType, products: Iterable[Product], dtype: str, op_class: OpClass) -> float:
    """By how much longer these products take than if they filled the device: 1 where its multiprocessors are not known."""
    asked = tuple(products)
    if not asked or not device.units:
        return 1.0
    speed = peak_flops(device, dtype, op_class) * reached(device, dtype, op_class)
    if op_class == "attention":
        taken = sum(attention_s(each, device, speed) for each in asked)
    else:
        taken = sum(product_s(each, device, speed, ELEMENT_BYTES.get(dtype, 4)) for each in asked)
    ideal = sum(each.flops for each in asked) / speed
    return taken / ideal if ideal else 1.0
