"""A fingerprint of a graph: equal for equal structure, whatever the tensors' values and the source lines."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from autopart.ir.graph import Graph


def digest(graph: Graph) -> str:
    """sha256 over inputs, parameters, buffers, ops and loss, in hex."""
    ops = tuple(replace(op, source="") for op in graph.ops)
    parts = (graph.inputs, graph.parameters, graph.buffers, ops, graph.loss)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
