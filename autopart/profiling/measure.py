"""One sample: an op, a block or an optimizer's step, timed on this device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from autopart.ir.graph import Graph, Value
from autopart.profiling.code import Stretch, function
from autopart.profiling.tensors import Tensors, tensor_for
from autopart.profiling.timing import Stopwatch

OPTIMIZERS: Mapping[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=1e-4),
    "momentum": partial(torch.optim.SGD, lr=1e-4, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=1e-4),
    "adamw": partial(torch.optim.AdamW, lr=1e-4),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-4),
    "adagrad": partial(torch.optim.Adagrad, lr=1e-4),
}


LEAST_SHARE = 0.02  # of a backward that stays when the engine's start is taken off


class NotAloneError(Exception):
    """The ops can't be run without the rest of the model."""


@dataclass(frozen=True)
class Bench:
    """How ops run: timed by a watch, in a precision, under torch.compile or not.

    ``engine_s``: what starting autograd costs, which a stage pays once and not for every op; it is taken off.
    """

    watch: Stopwatch
    precision: str
    compiled: bool
    engine_s: float


def time_stretch(part: Stretch, graph: Graph, rows: int, known: Tensors, bench: Bench) -> tuple[float, float]:
    """Forward and backward of ops as training runs them: the forward records a graph, and in a block gradients of parameters add
    to those that are there. Raises NotAloneError.
    """
    watch = bench.watch
    leaves = {name: tensor_for(name, graph, rows, known, watch.device) for name in part.reads}
    written = {name for op in part.ops for name in op.mutates}
    run = function(part, rows, watch.device)
    run = torch.compile(run, dynamic=False) if bench.compiled else run
    passing = [leaf for name, leaf in leaves.items() if name not in graph.parameter_of or len(part.ops) == 1]

    def forward() -> tuple[Tensor, ...]:
        given = (leaf.clone() if name in written and leaf.requires_grad else leaf for name, leaf in leaves.items())
        return run(*given)

    try:
        with autocast(watch.device, bench.precision):
            roots = [made for made in forward() if made.requires_grad]
            gradients = [torch.ones_like(root) for root in roots]
            forward_s, backward_s = watch.seconds(forward, partial(_backward, gradients, passing) if roots else None)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, AssertionError) as error:
        raise NotAloneError(str(error).partition("\n")[0]) from error
    return forward_s, max(backward_s - bench.engine_s, LEAST_SHARE * backward_s)


def _backward(gradients: Sequence[Tensor], passing: Sequence[Tensor], made: Sequence[Tensor]) -> None:
    torch.autograd.backward([each for each in made if each.requires_grad], list(gradients))
    for leaf in passing:
        leaf.grad = None


def engine_s(watch: Stopwatch) -> float:
    """What a backward of nothing takes."""
    leaf = torch.ones(1, device=watch.device, requires_grad=True)
    return watch.seconds(lambda: (leaf.view(1),), partial(_backward, [torch.ones(1, device=watch.device)], [leaf]))[1]


def update_seconds(optimizer: str, sizes: Sequence[int], dtype: torch.dtype, watch: Stopwatch) -> float:
    """A step over parameters of so many elements each."""
    parameters = [torch.zeros(size, dtype=dtype, device=watch.device, requires_grad=True) for size in sizes]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    step = OPTIMIZERS[optimizer](parameters).step
    return watch.seconds(step, None)[0]


def packing_seconds(sizes: Sequence[int], dtype: torch.dtype, watch: Stopwatch) -> float:
    """Gradients of so many elements each copied to one block; it is new memory where the heap gives back what is freed."""
    gradients = [torch.zeros(size, dtype=dtype, device=watch.device) for size in sizes]
    return watch.seconds(lambda: torch.cat(gradients), None)[0]


def stretch_bytes(part: Stretch, graph: Graph, rows: int) -> float:
    """What it may need at most: all that is read and made, with gradients."""
    values: list[Value] = [graph.values[name] for name in part.reads if name in graph.values]
    values += [value for op in part.ops for value in op.outputs]
    return 3.0 * sum(value.nbytes(rows) for value in values)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """The precision's, without the cache of cast weights: every microbatch casts them."""
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
        yield
