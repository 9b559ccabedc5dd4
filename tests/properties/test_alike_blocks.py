"""Bytes of every block of the zoo, walked by itself, against those of the first block that holds the same."""

from __future__ import annotations

import pytest

from autopart.blocks.alike import first_alike
from autopart.pricing.held import block_bytes
from autopart.pricing.table import BlockTable
from cost_models.hardware import Kind
from tests.fronts import front
from tests.zoo import ZOO

KINDS: tuple[Kind, ...] = ("accelerator", "cpu")


@pytest.mark.parametrize("name", sorted(ZOO))
def test_blocks_that_are_alike_hold_the_same(name: str) -> None:
    blocks = front(name).blocks
    table = BlockTable(blocks, "float64", "adamw", 8)
    first = first_alike(blocks)
    for index, like in enumerate(first):
        assert like <= index
        for kind in KINDS if like != index else ():
            for recompute, given in ((False, False), (False, True), (True, False), (True, True)):
                own, other = (block_bytes(table, i, kind, 3, recompute, given=given) for i in (index, like))
                assert own == other, (blocks.blocks[index].name, blocks.blocks[like].name)


def test_layers_of_a_stack_are_alike() -> None:
    """However many there are, few blocks have to be walked."""
    blocks = front("gpt2").blocks
    few = set(first_alike(blocks))
    assert len(few) < len(blocks.blocks)
    kinds = {block.kind for block in blocks.blocks}
    assert {blocks.blocks[index].kind for index in few} == kinds
