"""Orders of the blocks. A stage is an interval of one of them, so that the order decides which sets of blocks can be stages.

Every block comes after those that it reads, the block of the loss is last. Any such order may be run: what is written in place
lies with all that touches it inside one block (``cuts.Sheet.allowed``). The intervals of all orders together are the convex sets
of the graph; there are too many orders to try, so these few are:

* traced: as the model ran;
* abreast: by the part of the longest path through a block that lies before it, so that towers advance side by side, each by the
  same part of its length;
* narrow: greedily the block after which the fewest bytes wait for a reader.

A graph that has no more than ``FEW`` orders is tried in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise

from autopart.blocks.blocks import Blocks
from autopart.blocks.cuts import BATCH, sheet_of
from autopart.blocks.flow import block_parameters, block_reads, loss_block
from autopart.blocks.structure import body_of

FEW = 4  # orders that a graph may have for all of them to be tried
ASIDE = 1 / 50  # share of the model off its longest path below which the traced order is the only one
DIGITS = 9  # of a place along a path: equal towers must come out equal, whatever the rounding of their sums

Order = tuple[int, ...]
"""Indices of blocks in the traced order."""


@dataclass(frozen=True)
class Dag:
    """Blocks by their place in the traced order. ``weight``: share of the model's work or of the parameters, whichever is more;
    ``values``: maker, bytes and readers of what crosses between blocks.
    """

    reads: tuple[frozenset[int], ...]
    weight: tuple[float, ...]
    values: tuple[tuple[int, int, tuple[int, ...]], ...]


def orders(blocks: Blocks) -> tuple[Blocks, ...]:
    """The same blocks in every order that is tried, the traced one first."""
    reads = dependencies(blocks)
    if all(first in reads[second] for first, second in pairwise(range(len(reads)))):
        return (blocks,)  # a chain has one order
    dag = dag_of(blocks, reads)
    if sum(dag.weight) - max(_through(dag)) < ASIDE * sum(dag.weight):
        return (blocks,)
    names = [block.name for block in blocks.blocks]
    return tuple(in_order(blocks, [names[index] for index in order]) for order in tried(dag))


def tried(dag: Dag) -> tuple[Order, ...]:
    """All orders of a graph that has few, else those of the rules, each once; the traced one first."""
    every = tuple(islice(every_order(dag.reads), FEW + 1))
    if len(every) <= FEW:
        return every
    return tuple(dict.fromkeys((tuple(range(len(dag.reads))), abreast(dag), narrow(dag))))


def in_order(blocks: Blocks, names: Sequence[str]) -> Blocks:
    """The blocks in the order of these names, and the graph's ops with them; what follows from inputs alone runs first."""
    own = {block.name: block for block in blocks.blocks}
    ordered = tuple(own[name] for name in names)
    assert len(ordered) == len(blocks.blocks), "an order has every block once"
    if ordered == blocks.blocks:
        return blocks
    graph = blocks.sharded.graph
    ops = {op.name: op for op in graph.ops}
    run = (*blocks.inputs_only, *(op for block in ordered for op in block.ops))
    sharded = replace(blocks.sharded, graph=replace(graph, ops=tuple(ops[name] for name in run)))
    return replace(blocks, sharded=sharded, blocks=ordered)


def dependencies(blocks: Blocks) -> tuple[frozenset[int], ...]:
    """By block the blocks that must come before it: those that it reads, and all before that of the loss."""
    last = loss_block(blocks)
    found = [frozenset(each) for each in block_reads(blocks)]
    found[last] = frozenset(range(len(found))) - {last}
    return tuple(found)


def dag_of(blocks: Blocks, reads: tuple[frozenset[int], ...]) -> Dag:
    """For blocks in the traced order."""
    graph, sheet = blocks.sharded.graph, sheet_of(body_of(blocks.sharded))
    ends = list(accumulate((len(block.ops) for block in blocks.blocks), initial=0))
    values = []
    for op in (op for op in graph.ops if op.name in blocks.block_of):
        maker = blocks.block_of[op.name]
        for value in op.outputs:
            readers = {blocks.block_of[user.name] for user in graph.users[value.name]} - {maker}
            values += [(maker, value.nbytes(BATCH), tuple(sorted(readers)))] if readers else []
    work = [sheet.work[stop] - sheet.work[start] for start, stop in pairwise(ends)]
    weight = tuple(max(pair) for pair in zip(work, _parameters(blocks), strict=True))
    return Dag(reads, weight, tuple(values))


def _parameters(blocks: Blocks) -> list[float]:
    """By block the parameters that it reads, as a share of what all blocks read: towers of one set of weights are alike."""
    size = {parameter.name: parameter.value.nbytes(BATCH) for parameter in blocks.sharded.graph.parameters}
    read = [sum(size[name] for name in block_parameters(blocks, index)) for index in range(len(blocks.blocks))]
    return [nbytes / max(sum(read), 1) for nbytes in read]


# The rules


def abreast(dag: Dag) -> Order:
    """No block's place is before that of one that it reads; equal places are as traced."""
    paths = zip(_before(dag), dag.weight, _after(dag), strict=True)
    places = [round((before + weight / 2) / max(before + weight + after, 1e-300), DIGITS) for before, weight, after in paths]
    return tuple(sorted(range(len(places)), key=lambda index: (places[index], index)))


def narrow(dag: Dag) -> Order:
    found: list[int] = []
    done: set[int] = set()
    waiting = list(range(len(dag.reads)))
    while waiting:
        ready = [index for index in waiting if dag.reads[index] <= done]
        chosen = min(ready, key=lambda index: (_crossing(dag, done | {index}), index))
        waiting.remove(chosen)
        done.add(chosen)
        found.append(chosen)
    return tuple(found)


def every_order(reads: Sequence[frozenset[int]]) -> Iterator[Order]:
    """All of them, smallest first."""

    def extend(start: Order, done: frozenset[int]) -> Iterator[Order]:
        if len(start) == len(reads):
            yield start
        for index, needed in enumerate(reads):
            if index not in done and needed <= done:
                yield from extend((*start, index), done | {index})

    return extend((), frozenset())


def _before(dag: Dag) -> list[float]:
    """Weight of the heaviest path that ends before each block."""
    found: list[float] = []
    for reads in dag.reads:
        found.append(max((found[index] + dag.weight[index] for index in reads), default=0.0))
    return found


def _after(dag: Dag) -> list[float]:
    """Weight of the heaviest path that begins after each block."""
    found = [0.0] * len(dag.reads)
    for index in reversed(range(len(dag.reads))):
        for read in dag.reads[index]:
            found[read] = max(found[read], found[index] + dag.weight[index])
    return found


def _through(dag: Dag) -> list[float]:
    """Weight of the heaviest path through each block."""
    return [before + weight + after for before, weight, after in zip(_before(dag), dag.weight, _after(dag), strict=True)]


def _crossing(dag: Dag, done: set[int]) -> int:
    """Bytes that wait for a reader."""
    return sum(nbytes for maker, nbytes, readers in dag.values if maker in done and not done.issuperset(readers))
