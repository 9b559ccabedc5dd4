"""What one op asks of a device: its class, and its work at a precision. ``cost_models.price`` says what that takes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from autopart.blocks.work import Work, WorkTable
from autopart.ir.graph import Op
from cost_models.compute import Demand, OpClass, op_s, waste_of
from cost_models.hardware import DeviceType
from cost_models.memory import PRECISIONS

Array = NDArray[np.float64]

CLASS: Mapping[str, OpClass] = {
    "matmul": "matmul",
    "recurrent": "matmul",
    "conv": "convolution",
    "attention": "attention",
    "normalization": "reduction",
    "softmax": "reduction",
    "reduction": "reduction",
    "pool": "reduction",
    "loss": "reduction",
    "gather": "gather",
    "random": "random",
}
"""The cost model's class of a category of ops; what is not listed streams through memory."""

AUTOCAST = frozenset({"matmul", "convolution", "attention"})
FULL_PRECISION = frozenset({"reduction"})  # autocast keeps norms, softmax and losses in float32


def class_of(work: Work) -> OpClass:
    if work.category == "view" and not work.forward_bytes + work.backward_bytes:
        return "view"
    return CLASS.get(work.category, "elementwise")


def casts(op: Op, work: Work, precision: str) -> bool:
    """Whether autocast runs the op in a smaller dtype than it was traced in."""
    return PRECISIONS[precision].weight_copy_bytes > 0 and op.autocast and class_of(work) in AUTOCAST and work.dtype == "float32"


def demand(op: Op, work: Work, precision: str) -> Demand:
    """The op's work as it runs under this precision."""
    dtype = PRECISIONS[precision].compute_dtype if casts(op, work, precision) else work.dtype
    scale = _bytes_factor(op, work, precision)
    forward, backward = work.forward_bytes * scale, work.backward_bytes * scale
    return Demand(class_of(work), dtype, work.forward_flops, forward, work.backward_flops, backward, op.kind, work.products)


def table_seconds(table: WorkTable, rows: int, device: DeviceType, precision: str) -> Array:
    """[2, ops] forward and backward of one microbatch of so many rows, by the roofline."""
    alike: dict[tuple[OpClass, str, float], list[int]] = {}
    for index, (op, work) in enumerate(zip(table.ops, table.works, strict=True)):
        asked = demand(op, work, precision)
        alike.setdefault((asked.op_class, asked.dtype, _bytes_factor(op, work, precision)), []).append(index)
    found, counted = np.zeros((2, len(table.ops))), table.at(rows)
    products = table.products_at(rows) if device.units else {}
    for (op_class, dtype, scale), places in alike.items():
        forward_flops, forward_bytes, backward_flops, backward_bytes, *_ = counted[places].T
        multiplied = [products.get(index, ((), ())) for index in places]
        forward, backward = ([waste_of(device, each[way], dtype, op_class) for each in multiplied] for way in (0, 1))
        found[0, places] = op_s(device, forward_flops, forward_bytes * scale, dtype, op_class, forward)
        backward_s = op_s(device, backward_flops, backward_bytes * scale, dtype, op_class, backward)
        found[1, places] = np.where((backward_flops != 0) | (backward_bytes != 0), backward_s, 0.0)
    return found


def _bytes_factor(op: Op, work: Work, precision: str) -> float:
    """Bytes moved in this precision by what was traced: matrix ops read and write the compute dtype, streams a mix of both."""
    if casts(op, work, precision):
        return 0.5
    mixed = work.dtype == "float32" and class_of(work) not in FULL_PRECISION
    return activation_factor(precision) if mixed else 1.0


def activation_factor(precision: str) -> float:
    """Bytes of saved activations by those of the trace; the trace of a float64 model has float64 in it already."""
    return 1.0 if precision == "float64" else PRECISIONS[precision].activation_factor
