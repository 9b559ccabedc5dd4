"""Products of matrices that an op computes, as kernels see them: the formulas that rows of the op table name.

None where the kernels that run it are no such products (of vectors, convolutions by channel, whole recurrent layers).
"""

from __future__ import annotations

from math import prod

from autopart.blocks.call import Call
from autopart.blocks.op_flops import factors
from cost_models.tiles import Product

VECTORS = frozenset(("mv", "dot", "inner", "outer", "addmv", "addbmm"))


def none(_: Call) -> Product | None:
    return None


def matmul(call: Call) -> Product | None:
    """A batch of them, or one where the second factor has no batch."""
    first, second = (call.shape(value) for value in (factors(call) * 2)[:2])
    if call.packet in VECTORS or len(first) < 2 or len(second) < 2:
        return None
    columns = second[0] if call.packet == "linear" else second[-1]
    rows = first[-2] if len(second) > 2 else prod(first[:-1])
    elements = call.count(call.outputs[0])
    return Product(elements / (rows * columns), rows, columns, first[-1]) if elements else None


def convolution(call: Call) -> Product | None:
    """An implicit product (NVIDIA, Convolutional Layers User's Guide, 2023): positions by channels, group by group."""
    image, kernel = (call.shape(value) for value in factors(call))
    if "transpose" in call.packet or call.literal(6, "transposed") is True or kernel[1] == 1:
        return None
    rank = len(kernel) - 2
    swept = call.shape(call.outputs[0])
    positions = prod(swept[: len(swept) - rank - 1]) * prod(swept[len(swept) - rank :])
    groups = image[len(image) - rank - 1] // kernel[1]
    return Product(groups, positions, kernel[0] // groups, prod(kernel[1:])) if positions else None


def attention(call: Call) -> Product | None:
    """Rows of queries by keys, head by head."""
    query, value = call.shape(call.tensors[0]), call.shape(call.tensors[min(2, len(call.tensors) - 1)])
    return Product(prod(query[:-2]), query[-2], query[-1], value[-2])
