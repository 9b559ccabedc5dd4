"""Tensors to run ops on: real ones where they follow from the model's inputs, random numbers elsewhere."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autopart.blocks.blocks import Blocks
from autopart.blocks.call import facts
from autopart.blocks.layout import Layout
from autopart.frontend.internals import is_fake
from autopart.frontend.load import Loaded, examples
from autopart.frontend.trace import Traced
from autopart.ir.graph import Graph, Value
from autopart.pricing.keys import memory_order
from autopart.profiling.code import function, stretch

Tensors = Mapping[str, Tensor]


def known_tensors(loaded: Loaded, traced: Traced, blocks: Blocks, rows: int, device: torch.device) -> dict[str, Tensor]:
    """By value name at so many rows: inputs, buffers, and what follows from them alone (masks, positions)."""
    graph = blocks.sharded.graph
    found = {i.value.name: example.tensor for i, example in zip(traced.graph.inputs, examples(loaded, rows), strict=True)}
    found |= {buffer.value.name: traced.tensors[buffer.value.name] for buffer in traced.graph.buffers}
    found = {name: tensor.to(device) for name, tensor in found.items() if not (is_fake(tensor) or tensor.is_meta)}
    ops = {op.name: op for op in graph.ops}
    for name in blocks.inputs_only:
        part = stretch([ops[name]], {})
        if all(read in found for read in part.reads):
            with torch.no_grad():
                made = function(part, rows, device)(*(found[read] for read in part.reads))
            found.update(zip(part.gives, made, strict=True))
    return found


def tensor_for(name: str, graph: Graph, rows: int, known: Tensors, device: torch.device) -> Tensor:
    """A leaf for a value, in the memory order that it has in the model; it asks for a gradient where the model's does.

    A buffer that a step writes depends on parameters, and gets no gradient all the same.
    """
    if name in known and (name not in graph.values or tuple(known[name].shape) == graph.values[name].shape_at(rows)):
        found = known[name].detach()
    elif name not in graph.values:
        found = torch.tensor(float(rows), device=device)  # a sum over samples, known before the step
    else:
        found = _drawn(graph.values[name], facts(graph).layouts[name], rows, device)
    return found.requires_grad_(name in facts(graph).differentiable and name not in graph.buffer_of)


def _drawn(value: Value, layout: Layout, rows: int, device: torch.device) -> Tensor:
    shape, dtype = value.shape_at(rows), getattr(torch, value.dtype)
    order = memory_order(layout)
    stored = [1 if expanded else shape[dim] for dim, expanded in order]
    if dtype.is_floating_point or dtype.is_complex:
        dense = torch.randn(stored, dtype=dtype, device=device)
    else:
        dense = torch.randint(2, stored, device=device).to(dtype)  # indices, of which 0 and 1 are always good
    place = [dim for dim, _ in order]
    return dense.permute([place.index(dim) for dim in range(len(shape))]).expand(shape).detach()
