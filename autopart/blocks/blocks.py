"""Blocks: contiguous parts of the op order between cheap cuts; what a stage is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from autopart.sharding.batch import ShardedGraph


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive ops of the graph's order. Blocks of one ``kind`` are the same code over other parameters."""

    name: str  # module path: "transformer.h.3", "transformer.h.3.attn"; unique
    kind: int  # index of the block class, in order of first appearance
    ops: tuple[str, ...]
    prefix: str  # module path that the block's parameters share: "transformer.h.3", or ""
    recomputable: bool = True  # False where running it twice would change a buffer, or nothing is kept that it could save


@dataclass(frozen=True)
class Blocks:
    """A partition of the ops into blocks in topological order.

    ``inputs_only`` are ops whose results follow from inputs, buffers and sizes alone (masks, position ids, rotary
    tables): they belong to no block, and every stage that needs them runs them itself.
    """

    sharded: ShardedGraph
    blocks: tuple[Block, ...]
    inputs_only: tuple[str, ...]

    @cached_property
    def block_of(self) -> dict[str, int]:
        """Index of the block that holds an op."""
        return {op: index for index, block in enumerate(self.blocks) for op in block.ops}

    @cached_property
    def first_of_kind(self) -> dict[int, int]:
        """Index of the first block of each kind."""
        return {block.kind: index for index, block in reversed(list(enumerate(self.blocks)))}

    @cached_property
    def index(self) -> dict[str, int]:
        """Index of a block by its name."""
        return {block.name: index for index, block in enumerate(self.blocks)}
