"""The gate: on small models, the graph must do what the model does, at a batch size that it was not traced with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from autopart.errors import ModelError, TraceError
from autopart.frontend.diagnose import place_of_error
from autopart.frontend.examples import Example
from autopart.frontend.internals import FakeTensor
from autopart.frontend.interpret import run
from autopart.frontend.load import Loaded, examples
from autopart.frontend.precision import precision_of
from autopart.frontend.trace import Traced, WithLoss, batch_sizes

LARGEST = 5_000_000
TOLERANCE = {torch.float64: 1e-9, torch.complex128: 1e-9}
DEFAULT_TOLERANCE = 1e-4
SEED = 20


def check_trace(loaded: Loaded, traced: Traced, *, largest: int = LARGEST) -> bool:
    """Whether the trace could be compared with the model: loss, gradients and buffers, on a batch of another size.

    The model runs twice from the same parameters and buffers: what it keeps elsewhere between steps shows as a difference.
    Models of more than ``largest`` parameters, or without memory, are not run: False. Random ops draw the same numbers on both
    sides, as both draw in the same order from the same seed. Raises TraceError for the first value that differs.
    """
    tensors = tuple(traced.tensors.values())
    if any(isinstance(t, FakeTensor) or t.is_meta for t in tensors) or sum(t.numel() for t in tensors) > largest:
        return False
    batch = examples(loaded, batch_sizes(loaded)[1])
    with _attributes_restored(loaded):
        steps = {step: _tried(loaded, batch) for step in ("", " in a second step")}
    found = run_graph(traced, batch)
    for step, expected in steps.items():
        for name, value in expected.items():
            _compare(loaded, f"{name}{step}", found[name], value)
    return True


def _tried(loaded: Loaded, batch: Sequence[Example]) -> dict[str, Tensor]:
    """What the model itself does; fake tensors don't notice all that real ones refuse."""
    try:
        return run_eager(loaded, batch)
    except Exception as error:
        text = str(error).strip().split("\n")[0]
        raise ModelError(
            f"the model fails on its example inputs: {type(error).__name__}: {text}",
            where=place_of_error(error, loaded.module) or loaded.where,
            remedy="Mend the model or example_inputs(); sizes and dtypes must be those that it is trained with.",
        ) from error


@contextmanager
def _attributes_restored(loaded: Loaded) -> Iterator[None]:
    """Undoes what the model's code does to plain attributes of its modules."""
    before = [(module, dict(module.__dict__)) for module in loaded.module.modules()]
    try:
        yield
    finally:
        for module, attributes in before:
            module.__dict__.clear()
            module.__dict__.update(attributes)


def run_eager(loaded: Loaded, batch: Sequence[Example]) -> dict[str, Tensor]:
    """``loss``, ``grad NAME`` of trainable parameters and ``buffer NAME`` after one forward and backward of the model itself."""
    wrapper = WithLoss(loaded, batch)
    tensors = {name: _leaf(tensor) for name, tensor in (*wrapper.named_parameters(), *wrapper.named_buffers())}
    torch.manual_seed(SEED)
    with precision_of(loaded.precision):
        loss = torch.func.functional_call(wrapper, tensors, tuple(example.tensor.clone() for example in batch))
    return _results(loss, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}, wrapper.write_back)


def run_graph(traced: Traced, batch: Sequence[Example]) -> dict[str, Tensor]:
    """The same of the graph, by the interpreter."""
    tensors = {name: _leaf(tensor) for name, tensor in traced.tensors.items()}
    inputs = {i.value.name: example.tensor.clone() for i, example in zip(traced.graph.inputs, batch, strict=True)}
    torch.manual_seed(SEED)
    values = run(traced.graph, {**tensors, **inputs})
    return _results(values[traced.graph.loss], tensors)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _results(loss: Tensor, tensors: dict[str, Tensor], after: Callable[[], None] = lambda: None) -> dict[str, Tensor]:
    trainable = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    found = {"loss": loss.detach()}
    if loss.requires_grad:
        gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
        found |= {
            f"the gradient of {name}": torch.zeros_like(tensor) if gradient is None else gradient
            for (name, tensor), gradient in zip(trainable.items(), gradients, strict=True)
        }
    after()
    found |= {f"the buffer {name}": tensor for name, tensor in tensors.items() if not tensor.requires_grad}
    return found


def _compare(loaded: Loaded, name: str, found: Tensor, expected: Tensor) -> None:
    if not found.numel():
        return
    if expected.dtype == torch.bool:
        found, expected = found.int(), expected.int()
    found = found.to(expected.dtype)
    same = (found == expected) | (found.isnan() & expected.isnan())
    scale = max(float(expected.abs().nan_to_num(posinf=0.0).max()), 1e-3)
    off = float((found - expected).abs().masked_fill(same, 0).max())
    if off <= scale * TOLERANCE.get(expected.dtype, DEFAULT_TOLERANCE):
        return
    raise TraceError(
        f"the traced graph is not the model: {name} differs by {off:.3g} (of {scale:.3g}) at another batch size",
        where=loaded.where,
        remedy="Look for Python state that changes from call to call, or code that torch.export can't see.",
    )
