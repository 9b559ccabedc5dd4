"""Ops that make a tensor from sizes alone."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.ir.graph import Ref, Size
from autopart.sharding.rules import Call, Row, RowNumbers, broadcast, by_labels, rule


@rule("zeros ones full empty rand randn randint scalar_tensor")
def constant(call: Call) -> Iterator[Row]:
    """The same, or independently random, along every dim."""
    labels = broadcast(call.outputs[0], call.outputs[0])
    return by_labels(call, [[None] * len(shape) for shape in call.shapes], [labels])


@rule("arange")
def arange(call: Call) -> Iterator[Row]:
    """By itself a rank makes the numbers of its own rows, counted from its first one: ``arange(b)``, ``arange(0, k*b, k)``."""
    bounds = call.op.args
    start, end = (0, bounds[0]) if len(bounds) == 1 else (bounds[0], bounds[1])
    step = bounds[2] if len(bounds) > 2 else 1
    whole = isinstance(end, Size) and isinstance(step, int) and not isinstance(start, Ref) and start == 0
    if whole and call.outputs[0][0] == call.unit:
        yield Row((), (RowNumbers(0, int(step), call.op.name),))  # type: ignore[arg-type]
