"""Runs a Graph with torch.ops: the reference of what a graph means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from autopart.frontend.internals import Overload
from autopart.ir.graph import Argument, GlobalSize, Graph, Op, Ref, Size, Symbol

Kernel = Callable[..., Any]


def run(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    *,
    global_batch: int | None = None,
    comm_kernels: Mapping[str, Kernel] | None = None,
) -> dict[str, Tensor]:
    """All values of the graph by name.

    ``tensors`` holds inputs, parameters, buffers and constants by value name; buffers are updated in place. Sizes are taken
    at the inputs' number of samples, global sizes at ``global_batch`` (default: the same). ``comm_kernels`` says what ops
    outside aten mean, by kind: each is called with the op's arguments.
    """
    batch = batch_size(graph, tensors)
    whole = batch if global_batch is None else global_batch
    values = dict(tensors)
    for op in graph.ops:
        results = _call(op, values, batch, whole, comm_kernels or {})
        for value, result in zip(op.outputs, results, strict=True):
            values[value.name] = result
    return values


def batch_size(graph: Graph, tensors: Mapping[str, Tensor]) -> int:
    """The samples that the inputs hold; 1 where no input counts samples."""
    found = {tensors[i.value.name].shape[i.batch_dim] for i in graph.inputs if i.batch_dim is not None}
    assert len(found) <= 1, f"the inputs disagree about the number of samples: {sorted(found)}"
    return found.pop() if found else 1


def _call(op: Op, values: Mapping[str, Tensor], batch: int, whole: int, kernels: Mapping[str, Kernel]) -> tuple[Tensor, ...]:
    args = [evaluate(arg, values, batch, whole) for arg in op.args]
    kwargs = {key: evaluate(arg, values, batch, whole) for key, arg in op.kwargs}
    kernel = kernels[op.kind] if op.kind in kernels else overload(op.kind)
    if op.autocast:
        result = kernel(*args, **kwargs)
    else:
        with torch.autocast("cpu", enabled=False):
            result = kernel(*args, **kwargs)
    if not op.outputs:
        return ()
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def overload(kind: str) -> Overload:
    """``aten.add.Tensor`` -> torch.ops.aten.add.Tensor."""
    namespace, name, variant = kind.split(".")
    found = getattr(getattr(getattr(torch.ops, namespace), name), variant)
    assert isinstance(found, Overload), f"{kind} is no op of torch"
    return found


def evaluate(arg: Argument, values: Mapping[str, Tensor], batch: int, whole: int) -> Any:
    """An argument as torch takes it."""
    match arg:
        case Ref(name):
            return values[name]
        case Size():
            return arg.at(batch)
        case GlobalSize(expression):
            return number(expression, whole)
        case Symbol(text):
            return eval(text, {"torch": torch, "float": float})
        case tuple():
            return [evaluate(item, values, batch, whole) for item in arg]
        case _:
            return arg


def number(expression: str, batch: int) -> int | float:
    """A ``GlobalSize``'s expression at a batch size; unlike a size it may be a fraction."""
    result = eval(expression, {"__builtins__": {}, "max": max, "min": min}, {"b": batch})
    assert isinstance(result, int | float)
    return result
