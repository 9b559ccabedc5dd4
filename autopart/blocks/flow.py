"""What flows between blocks, and what a run of blocks needs from outside.

A *crossing* value is made in one block and read in a later one. Graph inputs, parameters, buffers, statistics and the
results of inputs-only ops never cross: every stage has, or makes, its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autopart.blocks.blocks import Blocks
from autopart.ir.analysis import alias_groups, once, writes
from autopart.ir.graph import Op


@dataclass(frozen=True)
class _Flow:
    """First and last block of every crossing value, in order of the ops that make them, and the values that each block reads."""

    lives: tuple[tuple[str, int, int], ...]
    reads: tuple[tuple[str, ...], ...]
    op: dict[str, Op]


@once
def _flow(blocks: Blocks) -> _Flow:
    op = {op.name: op for op in blocks.sharded.graph.ops}
    reads = tuple(tuple(dict.fromkeys(n for name in block.ops for n in op[name].inputs)) for block in blocks.blocks)
    last = {name: index for index, names in enumerate(reads) for name in names}
    made = [(v.name, index) for index, block in enumerate(blocks.blocks) for name in block.ops for v in op[name].outputs]
    lives = tuple((name, first, last[name]) for name, first in made if last.get(name, first) > first)
    return _Flow(lives, reads, op)


def cut_values(blocks: Blocks, boundary: int) -> tuple[str, ...]:
    """Values that cross the boundary before block ``boundary``: made earlier, read in it or later."""
    return tuple(name for name, first, last in _flow(blocks).lives if first < boundary <= last)


def block_inputs(blocks: Blocks, index: int) -> tuple[str, ...]:
    """Values of earlier blocks that the block reads, in order of first use."""
    return stage_receives(blocks, index, index + 1)


def block_outputs(blocks: Blocks, index: int) -> tuple[str, ...]:
    """Values of the block that later blocks read; of the last block also the loss."""
    return stage_sends(blocks, index, index + 1)


def stage_receives(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Values of blocks before ``start`` that blocks [start, stop) read, in order of first use."""
    flow = _flow(blocks)
    earlier = {name for name, first, _ in flow.lives if first < start}
    return tuple(dict.fromkeys(name for names in flow.reads[start:stop] for name in names if name in earlier))


def stage_sends(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Values made in blocks [start, stop) that blocks from ``stop`` on read; and the loss, where it is made there."""
    graph, sent = blocks.sharded.graph, [n for n, first, last in _flow(blocks).lives if start <= first < stop <= last]
    loss = graph.producer.get(graph.loss)
    here = loss is not None and start <= blocks.block_of.get(loss.name, -1) < stop
    return tuple(dict.fromkeys((*sent, graph.loss) if here else sent))


def block_parameters(blocks: Blocks, index: int) -> tuple[str, ...]:
    """Qualified names of the parameters that the block reads, in the graph's order."""
    return stage_parameters(blocks, index, index + 1)


def stage_parameters(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    read = {name for names in _flow(blocks).reads[start:stop] for name in names}
    return tuple(parameter.name for parameter in blocks.sharded.graph.parameters if parameter.value.name in read)


def block_buffers(blocks: Blocks, index: int) -> tuple[str, ...]:
    """Qualified names of the buffers that the block itself reads or writes; those behind masks and tables are the stage's."""
    read = set(_flow(blocks).reads[index])
    return tuple(buffer.name for buffer in blocks.sharded.graph.buffers if buffer.value.name in read)


def stage_buffers(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Buffers that the stage needs, also through inputs-only ops and the prologue."""
    needed = _needed(blocks, start, stop).names
    return tuple(buffer.name for buffer in blocks.sharded.graph.buffers if buffer.value.name in needed)


def stage_inputs(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Inputs of the model that the stage needs, also through inputs-only ops and the prologue; no statistics."""
    needed = _needed(blocks, start, stop).names - set(blocks.sharded.statistics)
    return tuple(source.value.name for source in blocks.sharded.graph.inputs if source.value.name in needed)


def stage_statistics(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Results of the prologue that the stage reads."""
    needed = _needed(blocks, start, stop).names
    return tuple(name for name in blocks.sharded.statistics if name in needed)


def needed_inputs_only(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Inputs-only ops that the stage runs itself for every microbatch, in order."""
    needed = _needed(blocks, start, stop).ops
    return tuple(name for name in blocks.inputs_only if name in needed)


def needed_prologue(blocks: Blocks, start: int, stop: int) -> tuple[str, ...]:
    """Ops of the prologue that the stage runs once a step, in order."""
    needed = _needed(blocks, start, stop).prologue
    return tuple(op.name for op in blocks.sharded.prologue if op.name in needed)


@once
def ties(blocks: Blocks) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Parameters that several blocks read, with these blocks' indices."""
    readers: dict[str, list[int]] = {}
    for index in range(len(blocks.blocks)):
        for name in block_parameters(blocks, index):
            readers.setdefault(name, []).append(index)
    return tuple((name, tuple(indices)) for name, indices in readers.items() if len(indices) > 1)


@once
def block_reads(blocks: Blocks) -> tuple[tuple[int, ...], ...]:
    """By block the other blocks whose values it reads, ascending."""
    graph, found = blocks.sharded.graph, []
    for index, names in enumerate(_flow(blocks).reads):
        makers = (graph.producer[name].name for name in names if name in graph.producer)
        found.append(tuple(sorted({blocks.block_of[op] for op in makers if op in blocks.block_of} - {index})))
    return tuple(found)


def loss_block(blocks: Blocks) -> int:
    """Index of the block that makes the loss."""
    graph = blocks.sharded.graph
    return blocks.block_of[graph.producer[graph.loss].name]


@dataclass(frozen=True, slots=True)
class _Needed:
    names: frozenset[str]  # every value read, directly or by an op that is re-run
    ops: frozenset[str]  # inputs-only ops to re-run
    prologue: frozenset[str]


def _needed(blocks: Blocks, start: int, stop: int) -> _Needed:
    """Everything upstream of a stage that it makes for itself."""
    reads = {name for names in _flow(blocks).reads[start:stop] for name in names}
    reads, ops = _upstream(reads, [_flow(blocks).op[name] for name in blocks.inputs_only], _roots(blocks))
    reads, prologue = _upstream(reads, blocks.sharded.prologue, {})
    return _Needed(frozenset(reads), frozenset(ops), frozenset(prologue))


@once
def _roots(blocks: Blocks) -> dict[str, str]:
    return alias_groups(blocks.sharded.graph)


def _upstream(reads: Iterable[str], ops: Iterable[Op], roots: dict[str, str]) -> tuple[set[str], list[str]]:
    """Names read by, and ops among ``ops`` that make or write, what is read; found backwards."""
    found, needed = set(reads), []
    written = {roots.get(name, name) for name in found}
    for op in reversed(tuple(ops)):
        changes = {roots.get(name, name) for name in writes(op)}
        if not (changes & written) and found.isdisjoint(value.name for value in op.outputs):
            continue
        needed.append(op.name)
        found.update(op.inputs)
        written.update(roots.get(name, name) for name in op.inputs)
    return found, needed
