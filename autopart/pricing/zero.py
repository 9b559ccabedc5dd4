"""What ZeRO changes in a stage's price: the r ranks that sum the gradients of a parameter share out what belongs to it.

Rajbhandari, Rasley, Ruwase and He: ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, SC 2020; section 5 for
bytes, section 7 for messages. By parameter, p bytes of it, g of its gradient, o of the optimizer's state:

    level   kept all step long   while its block runs   every microbatch                      every step
    0       p + g + o                                                                         all_reduce g
    1       p + g + o/r          2g                                                           reduce_scatter g, all_gather p
    2       p + (g + o)/r        3g                     reduce_scatter g                      all_gather p
    3       (p + g + o)/r        2p + 3g                all_gather p twice, reduce_scatter g

Gradients of several microbatches add up in what is kept; where that is a part, each microbatch's are summed as they are made.
The paper counts one microbatch a step, where level 2 moves no more than level 0. At every level but 0 a rank updates its part
alone. While a block runs there are its gradients, a copy of them that travels, and the terms that come for it; and its
parameters with those of the next block, which are gathered meanwhile. What travels goes in rows of ``ROW_BYTES``, or all.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from cost_models import price
from cost_models.collective import Topology, all_reduce_s, reduce_scatter_s, ring_all_gather_s
from cost_models.hardware import DeviceType
from cost_models.memory import OPTIMIZER_STATES, PRECISIONS

Array = NDArray[np.float64]

ROW_BYTES = 25 * 2**20  # as gradients are summed without ZeRO: ``program.reductions.BUCKET_BYTES``

UNDER_WAY = 2  # rows, or buckets, that travel at a time: ``program.reductions.UNDER_WAY``


def saved_bytes(level: int, ranks: int, optimizer: str, precision: str) -> float:
    """Of the bytes of a trainable parameter those that a rank leaves to the others."""
    kept = PRECISIONS[precision]
    shared = (0, kept.parameter_bytes * OPTIMIZER_STATES[optimizer], kept.gradient_bytes, kept.parameter_bytes)
    return sum(shared[: level + 1]) * (1 - 1 / ranks)


def largest_piece(level: int, elements: float, total: float, ranks: int, precision: str) -> float:
    """The most elements of a parameter that one of the ranks updates: its part of the row in which the parameter lies, of which
    neighbours may have the rest. ``total`` elements are shared out.
    """
    row = max(min(total, ROW_BYTES / PRECISIONS[precision].parameter_bytes), elements)
    return min(elements, float(ceil(row / ranks))) if level else elements


def running_bytes(level: int, blocks: Array, precision: str, ranks: int) -> Array:
    """[n] bytes beside what is kept while each block runs, of ``blocks`` trainable elements that ``ranks`` hold."""
    gradients = blocks * PRECISIONS[precision].gradient_bytes
    if level == 0:
        travelling = min(UNDER_WAY * max(ROW_BYTES, gradients.max(initial=0.0)), gradients.sum()) if ranks > 1 else 0.0
        return np.full_like(gradients, travelling)
    found = lent_bytes(level, blocks, precision) + leaving_bytes(level, blocks, precision)
    return found + gradients if level >= 2 else found


def leaving_bytes(level: int, blocks: Array, precision: str) -> Array:
    """[n] of gradients on their way to other ranks while each block's backward runs, and the terms that come for them."""
    gradients = blocks * PRECISIONS[precision].gradient_bytes
    found: Array = 2 * np.clip(ROW_BYTES, gradients, gradients.sum()) if level else np.zeros_like(gradients)
    return found


def lent_bytes(level: int, blocks: Array, precision: str) -> Array:
    """[n] of parameters that are gathered for each block, and meanwhile for the next one."""
    parameters = blocks * PRECISIONS[precision].parameter_bytes
    found: Array = (
        np.minimum(2 * np.maximum(parameters, ROW_BYTES), parameters.sum()) if level == 3 else np.zeros_like(parameters)
    )
    return found


def microbatch_s(level: int, elements: float, topology: Topology, precision: str) -> tuple[float, float]:
    """Seconds of a block's messages in its forward and in its backward."""
    kept = PRECISIONS[precision]
    gather_s = ring_all_gather_s(elements * kept.parameter_bytes, topology) if level == 3 else 0.0
    scatter_s = reduce_scatter_s(elements * kept.gradient_bytes, topology) if level >= 2 else 0.0
    return gather_s, gather_s + scatter_s


def sum_s(level: int, elements: float, topology: Topology, precision: str) -> float:
    """Seconds of the sum of gradients once a step."""
    nbytes = elements * PRECISIONS[precision].gradient_bytes
    if level == 0:
        return all_reduce_s(nbytes, topology)
    return reduce_scatter_s(nbytes, topology) if level == 1 else 0.0


def packing_s(device: DeviceType, elements: float, precision: str) -> float:
    """Seconds, once a step, to lay so many gradients into the rows, or buckets, that travel. It stays there."""
    return price.packing_s(device, elements * PRECISIONS[precision].gradient_bytes) if elements else 0.0


def spread_s(level: int, elements: float, topology: Topology, precision: str) -> float:
    """Seconds, after the update, until everybody has what the others updated."""
    return ring_all_gather_s(elements * PRECISIONS[precision].parameter_bytes, topology) if level in (1, 2) else 0.0
