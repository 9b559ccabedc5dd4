"""Loaded -> Traced: the model and its loss as one graph, by torch.export with the batch size symbolic."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from autopart.errors import ModelError, TraceError
from autopart.frontend.diagnose import FixedBatchError, assumed, explain, unsymbolic, watching
from autopart.frontend.examples import Example, leaves, rebuild
from autopart.frontend.internals import buffers_of
from autopart.frontend.load import Loaded, batch_of, examples
from autopart.frontend.normalize import normalize
from autopart.frontend.precision import precision_of
from autopart.ir.graph import Graph

ATTEMPTS = 3
PRIMES = (7, 11, 13, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113)


@dataclass(frozen=True)
class Traced:
    """A graph, and the tensors of its parameters, buffers and constants by value name: real ones where the model has memory."""

    graph: Graph
    tensors: Mapping[str, torch.Tensor]


def trace(loaded: Loaded) -> Traced:
    """The training forward pass of ``loaded``, from inputs to loss, for any number of samples."""
    *early, last = batch_sizes(loaded)[:ATTEMPTS]
    for batch_size in early:
        try:
            return _attempt(loaded, batch_size)
        except FixedBatchError:
            continue  # a first call may fill caches; a size inside the model may equal the batch by chance
    return _attempt(loaded, last)


def _attempt(loaded: Loaded, batch_size: int) -> Traced:
    batch = examples(loaded, batch_size)
    with watching(loaded.module) as findings:
        try:
            program = export(loaded, batch)
        except Exception as error:
            raise explain(error, findings, loaded.module, loaded.where) from error
    if (assumption := assumed(findings)) is not None:
        raise assumption
    graph, tensors = normalize(program, loaded.module, batch, loaded.name)
    _require_gradient(loaded, graph)
    return Traced(graph, tensors)


def _require_gradient(loaded: Loaded, graph: Graph) -> None:
    """Something must reach the loss that training can change."""
    reached = {parameter.value.name for parameter in graph.parameters if parameter.trainable}
    for op in graph.ops:
        if op.kind != "aten.detach.default" and not reached.isdisjoint(op.inputs):
            reached.update(value.name for value in op.outputs)
    if graph.loss not in reached:
        raise TraceError(
            "the loss does not depend on any trainable parameter", where=loaded.where, remedy="Is it detached, or under no_grad?"
        )


def batch_sizes(loaded: Loaded) -> list[int]:
    """Primes that are no size of the model, so that a batch dim is never mistaken for another."""
    sizes = {size for tensor in (*loaded.module.parameters(), *loaded.module.buffers()) for size in tensor.shape}
    sizes |= {size for example in examples(loaded, 3) for size in example.tensor.shape}
    return [prime for prime in PRIMES if prime not in sizes] or list(PRIMES)


class WithLoss(nn.Module):
    """The module to export: the tensors of a batch in, the loss out. A buffer that the model replaces is written instead."""

    def __init__(self, loaded: Loaded, batch: Sequence[Example]) -> None:
        super().__init__()
        self.model = loaded.module
        self._loaded = loaded
        self.replaced: list[tuple[torch.Tensor, torch.Tensor]] = []
        trees = batch_of(loaded, batch_size_of(batch))
        self._inputs, self._targets = (rebuild(tree, (None for _ in leaves(tree))) for tree in trees)

    def forward(self, *flat: torch.Tensor) -> torch.Tensor:
        values = iter(flat)
        inputs, targets = rebuild(self._inputs, values), rebuild(self._targets, values)
        before = [(owner, name, buffer) for owner in self.model.modules() for name, buffer in buffers_of(owner).items()]
        output = self.model(**inputs) if isinstance(inputs, Mapping) else self.model(*inputs)
        self.replaced = [pair for owner, name, buffer in before if (pair := _replaced(owner, name, buffer))]
        if torch.compiler.is_exporting():
            self.write_back()
        return scalar_loss(self._loaded, output, targets)

    def write_back(self) -> None:
        """``self.buffer = new`` becomes ``self.buffer.copy_(new)``: the same to everybody who reads it by name."""
        with torch.no_grad():
            for before, now in self.replaced:
                before.copy_(now)


def _replaced(owner: nn.Module, name: str, before: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A buffer and what the model put in its place, which is undone."""
    now = buffers_of(owner).get(name)
    if now is before or now is None or before is None:
        return None
    buffers_of(owner)[name] = before
    return before, now


def batch_size_of(batch: Sequence[Example]) -> int:
    return next((example.tensor.shape[example.batch_dim] for example in batch if example.batch_dim is not None), 1)


def export(loaded: Loaded, batch: Sequence[Example]) -> ExportedProgram:
    """The exported wrapper; torch's own exceptions come through."""
    wrapper = WithLoss(loaded, batch)
    dynamic = tuple({} if example.batch_dim is None else {example.batch_dim: Dim.DYNAMIC} for example in batch)
    tensors = tuple(example.tensor for example in batch)
    with warnings.catch_warnings(), precision_of(loaded.precision):
        warnings.simplefilter("ignore")
        return torch.export.export(wrapper, tensors, dynamic_shapes=(dynamic,), strict=False)


def scalar_loss(loaded: Loaded, output: Any, targets: Sequence[Any]) -> torch.Tensor:
    """The loss of an output: by the loss function, or the output itself, or what it holds under ``loss``."""
    if loaded.loss is not None:
        found, source = loaded.loss(output, *targets), "loss() returns"
    elif isinstance(output, torch.Tensor):
        found, source = output, "the module returns"
    elif isinstance(output, Mapping):
        found, source = output.get("loss"), "under `loss` the module's output holds"
    else:
        found, source = getattr(output, "loss", None), f"as `loss` the module's {type(output).__name__} holds"
    if isinstance(found, torch.Tensor) and found.dim() == 0 and found.is_floating_point():
        return found
    if isinstance(found, torch.Tensor) and found.dim() == 0:
        what = f"a {str(found.dtype).removeprefix('torch.')}"
    elif isinstance(found, torch.Tensor):
        what = "a tensor of sizes " + unsymbolic(str(list(found.shape)))
    else:
        what = "nothing" if found is None else f"a {type(found).__name__}"
    raise ModelError(
        f"{source} {what}, expected a scalar floating-point tensor",
        where=loaded.where,
        remedy="Define loss(output, *targets) that returns a scalar tensor, such as a mean.",
    )
