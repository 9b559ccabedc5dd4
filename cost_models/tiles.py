"""What a product of matrices wastes on an accelerator: its result is cut into tiles, which go in waves over the multiprocessors.

A multiprocessor computes a tile at a time, so rows and columns are rounded up to whole tiles and tiles to whole waves (NVIDIA,
Matrix Multiplication Background User's Guide, DU-09799-001, 2023, sections 2.3, 3.1 and 3.2). A library has kernels for many
tiles and takes the best. A small tile leaves less waste at the edges, but reads more: every tile fetches its rows and columns
from the common cache, whose bandwidth bounds it. Where results are few and sums are long, the sums are cut too and added up
afterwards (NVIDIA/cutlass, media/docs/efficient_gemm.md, "Parallelized Reductions", split K).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil

from cost_models.hardware import DeviceType

SIDES = (8, 16, 32, 64, 128, 256)
TILES = tuple((rows, columns) for rows, columns in product(SIDES, SIDES) if rows * columns <= 256 * 128)
"""Largest and most efficient 256 x 128 (the guide). All are values of cuBLAS's ``cublasLtMatmulTile_t``, of which 32 x 256
and the long ones with a side of 8 or 16 (8 x 128, 16 x 64 and longer) came with CUDA 12.1 and 12.6. The larger and the odd ones
that came with them are left out."""
SPLITS = (1, 2, 4, 8, 16, 32)
"""The library's examples cut into 16 and 20; that 32 are the most is this model's choice, no source's."""
ATTENTION_ROWS = 64
"""Queries that a block of threads of FlashAttention-2 takes, at the least: 64 or 128, by head size, card and dropout
(Dao-AILab/flash-attention, csrc/flash_attn/src/flash_fwd_launch_template.h; keys of the backward in flash_bwd_launch_template.h).
Heads of 64 on A100 and H100 take 128, so that few heads waste more there than is counted here."""
PARTIAL_BYTES = 4.0  # of a part of a sum, kept in float32, as this model assumes for every dtype


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
