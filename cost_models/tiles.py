"""What a product of matrices wastes on an accelerator: its result is cut into tiles, which go in waves over the multiprocessors.

A multiprocessor computes a tile at a time, so rows and columns are rounded up to whole tiles and tiles to whole waves (NVIDIA,
Matrix Multiplication Background User's Guide, 2023, sections 2.3, 3.1 and 3.2). A library has kernels for many tiles and takes
the best. A small tile leaves less waste at the edges, but reads more: every tile fetches its rows and columns from the common
cache, whose bandwidth bounds it. Where results are few and sums are long, the sums are cut too and added up afterwards
(CUTLASS, Efficient GEMM in CUDA, "Split K").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil

from cost_models.hardware import DeviceType

SIDES = (8, 16, 32, 64, 128, 256)
TILES = tuple((rows, columns) for rows, columns in product(SIDES, SIDES) if rows * columns <= 256 * 128)
"""Largest and most efficient 256 x 128 (the guide); small ones down to 8 x 8 are in cuBLAS too (``cublasLtMatmulTile_t``)."""
SPLITS = (1, 2, 4, 8, 16, 32)
ATTENTION_ROWS = 64
"""Queries that a block of threads of FlashAttention-2 takes, at the least (Dao 2023, section 3.3: blocks of 64 or 128)."""
PARTIAL_BYTES = 4.0  # of a part of a sum, kept in float32


@dataclass(frozen=True, slots=True)
class Product:
    """``count`` matrices of ``rows`` and ``columns``, each element a sum of ``depth`` products."""

    count: float
    rows: float
    columns: float
    depth: float

    @property
    def flops(self) -> float:
        return 2 * self.count * self.rows * self.columns * self.depth

    def gradients(self) -> tuple[Product, Product]:
        """The products that make the gradients of the first and of the second factor."""
        return (
            Product(self.count, self.rows, self.depth, self.columns),
            Product(self.count, self.depth, self.columns, self.rows),
        )


@lru_cache(maxsize=2**16)
def product_s(asked: Product, device: DeviceType, flops_per_s: float, element_bytes: int) -> float:
    """Seconds of the best kernel, where all multiprocessors together reach ``flops_per_s``."""
    return min(_kernel_s(asked, device, flops_per_s, element_bytes, tile, split) for tile in TILES for split in SPLITS)


def _kernel_s(
    asked: Product, device: DeviceType, flops_per_s: float, element_bytes: int, tile: tuple[int, int], split: int
) -> float:
    rows, columns = tile
    tiles = asked.count * ceil(asked.rows / rows) * ceil(asked.columns / columns) * split
    depth = ceil(asked.depth / split)
    compute_s = 2 * rows * columns * depth / flops_per_s
    fetched = (rows + columns) * depth * element_bytes
    fetch_s = fetched / device.cache_bandwidth_bytes_per_s if device.cache_bandwidth_bytes_per_s else 0.0
    waves = ceil(tiles / device.units)
    return waves * device.units * max(compute_s, fetch_s) + (_adding_s(asked, device, split) if split > 1 else 0.0)


def _adding_s(asked: Product, device: DeviceType, split: int) -> float:
    """The parts of each sum are written and read."""
    nbytes = 2 * split * asked.count * asked.rows * asked.columns * PARTIAL_BYTES
    return nbytes / device.memory_bandwidth_bytes_per_s


def attention_s(asked: Product, device: DeviceType, flops_per_s: float) -> float:
    """Heads and rows of queries (in the backward of keys) are shared out over the multiprocessors, nothing else."""
    blocks = asked.count * ceil(asked.rows / ATTENTION_ROWS)
    each = 2 * ATTENTION_ROWS * asked.columns * asked.depth / flops_per_s
    return ceil(blocks / device.units) * device.units * each
