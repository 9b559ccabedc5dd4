"""Sharded graph -> blocks."""

from __future__ import annotations

from collections.abc import Hashable

from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.cuts import Sheet, sheet_of
from autopart.blocks.division import Span, partition
from autopart.blocks.names import block_names
from autopart.blocks.structure import body_of, prefix_of, structure
from autopart.blocks.work import keeps_anything
from autopart.ir.analysis import alias_groups, mutates_buffer
from autopart.sharding.batch import ShardedGraph


def group(sharded: ShardedGraph, granularity: str = "block") -> Blocks:
    """Blocks along cheap cuts, those that are the same code under one kind; ops of inputs alone apart.

    ``granularity``: "op" cuts wherever it is possible, "layer" between repeated units or top modules alone; see ``division``.
    """
    body = body_of(sharded)
    sheet = sheet_of(body)
    spans = partition(sheet, granularity)
    within = {op.name for op in body.ops}
    rerun = tuple(op.name for op in sharded.graph.ops if op.name not in within)
    return Blocks(sharded, _blocks(sheet, spans), rerun)


def _blocks(sheet: Sheet, spans: tuple[Span, ...]) -> tuple[Block, ...]:
    body, groups = sheet.body, alias_groups(sheet.body.graph)
    kinds: dict[Hashable, int] = {}
    found = []
    for span, name in zip(spans, block_names(sheet, spans), strict=True):
        ops = body.ops[span.start : span.stop]
        prefix = prefix_of(body, span.start, span.stop)
        kind = kinds.setdefault(structure(body, span.start, span.stop, prefix), len(kinds))
        recomputable = keeps_anything(ops, body.graph) and not any(mutates_buffer(op, body.graph, groups) for op in ops)
        found.append(Block(name, kind, tuple(op.name for op in ops), prefix, recomputable))
    return tuple(found)
