"""Blocks that hold the same bytes: of one kind, and among such neighbours that their ops keep and get the same.

A kind says what a block computes (``structure``). What its ops keep, and which gradients come in, also depends on how the values
that it reads lie in memory, and on who reads what it makes and what passes it by.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from autopart.blocks import flow
from autopart.blocks.blocks import Blocks
from autopart.blocks.call import Facts, facts
from autopart.blocks.work import kept_storages
from autopart.ir.analysis import once
from autopart.ir.graph import Op


@once
def first_alike(blocks: Blocks) -> tuple[int, ...]:
    """By block the first that holds the same bytes."""
    ops = {op.name: op for op in blocks.sharded.graph.ops}
    found: dict[Hashable, int] = {}
    return tuple(found.setdefault(_sort(blocks, index, ops), index) for index in range(len(blocks.blocks)))


def _sort(blocks: Blocks, index: int, ops: dict[str, Op]) -> Hashable:
    block, known = blocks.blocks[index], facts(blocks.sharded.graph)
    own = [ops[name] for name in block.ops]
    made = [value.name for op in own for value in op.outputs]
    read = [name for name in dict.fromkeys(name for op in own for name in op.inputs) if name not in set(made)]
    number = {name: place for place, name in enumerate((*read, *made))}
    position = {name: place for place, name in enumerate(block.ops)}
    return (
        block.kind,
        block.recomputable,
        tuple(_lies(known, name) for name in read),
        tuple(position.get(known.last_use.get(name, ""), -1) for name in number),
        tuple(_handed_on(blocks, index, made)),
        tuple(_passing(blocks, index)),
        tuple(number.get(name, _size(known, name)) for name in incoming(blocks, index + 1)),
    )


def incoming(blocks: Blocks, boundary: int) -> list[str]:
    """Values that cross a boundary and get a gradient; past the last block the loss."""
    if boundary == len(blocks.blocks):
        return [blocks.sharded.graph.loss]
    trained = facts(blocks.sharded.graph).differentiable
    return [name for name in flow.cut_values(blocks, boundary) if name in trained]


def passing(blocks: Blocks, index: int) -> tuple[str, ...]:
    """Values from before the block that it or a later one reads."""
    return flow.cut_values(blocks, index) if index else ()


def _lies(known: Facts, name: str) -> Hashable:
    """How a value from outside lies in memory, and whether it gets a gradient; statistics lie nowhere."""
    if name not in known.layouts:
        return None
    layout = known.layouts[name]
    return layout.shape, layout.strides, layout.storage == name, _size(known, layout.storage), name in known.differentiable


def _size(known: Facts, name: str) -> Hashable:
    value = known.graph.values[name]
    return value.shape, value.dtype


def _handed_on(blocks: Blocks, index: int, made: list[str]) -> Iterator[Hashable]:
    """Whether a backward keeps what the block makes, and whether later blocks read it, or it is the loss."""
    graph, sent = blocks.sharded.graph, set(flow.block_outputs(blocks, index))
    kept = kept_storages(graph)
    for name in made:
        yield name in kept, name in sent, name == graph.loss


def _passing(blocks: Blocks, index: int) -> Iterator[Hashable]:
    """What is held for the block and later ones, and by no backward."""
    known = facts(blocks.sharded.graph)
    names = set(passing(blocks, index)) - kept_storages(known.graph)
    yield from sorted(str(_size(known, name)) for name in names)
