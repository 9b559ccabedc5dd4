"""Prices of ops in company, where devices were measured: scaled so that the ops of a block add up to what the block takes.

In a block ops find their inputs in caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cost_models.hardware import DeviceType
from cost_models.measured import read
from cost_models.price import Price, block_ratio, block_samples

if TYPE_CHECKING:
    from autopart.pricing.table import BlockTable


def in_block(table: BlockTable, alone: Price, index: int, device: DeviceType, rows: int) -> Price:
    """An op's price by itself -> its price among the ops of block ``index``."""
    samples = block_samples(device, table.block_key(index))
    if not samples:
        forward, backward = block_ratio(device)
        return Price(alone.forward_s * forward, alone.backward_s * backward, alone.model)
    found = read(samples, rows)
    at = found.nearest.rows if found.model == "extrapolated" else rows
    forward_s, backward_s = _alone_s(table, index, device, at)
    return Price(
        alone.forward_s * (found.forward_s / forward_s if forward_s else 1.0),
        alone.backward_s * (found.backward_s / backward_s if backward_s else 1.0),
        alone.model,
        found.model,
    )


def _alone_s(table: BlockTable, index: int, device: DeviceType, rows: int) -> tuple[float, float]:
    """Forward and backward of a block, op by op."""
    first = table.blocks.first_of_kind[table.blocks.blocks[index].kind]

    def summed() -> tuple[float, float]:
        prices = [table.price_alone(table.op(name), device, rows) for name in table.blocks.blocks[first].ops]
        return sum(price.forward_s for price in prices), sum(price.backward_s for price in prices)

    return table.remembered(("alone", first, device, rows), summed)
