"""What the front end uses of torch that torch does not promise, in one place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch._library.custom_ops import OPDEFS
from torch._subclasses.fake_tensor import FakeTensor as FakeTensor
from torch._subclasses.fake_tensor import FakeTensorMode as FakeTensorMode
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode as GuardOnDataDependentSymNode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._sympy.symbol import SymT, symbol_is_type

Overload = torch._ops.OpOverload  # noqa: SLF001
HigherOrder = torch._ops.HigherOrderOperator  # noqa: SLF001


def share_memory(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether two tensors, real or fake, lie in one memory."""
    return bool(torch._C._is_alias_of(first, second))  # type: ignore[attr-defined]  # noqa: SLF001


def buffers_of(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """The buffers that a module itself owns; the dict is the module's own."""
    return module._buffers  # noqa: SLF001


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The parameters that a module itself owns; the dict is the module's own."""
    return module._parameters  # noqa: SLF001


def temporary_buffers_of(module: nn.Module) -> set[str]:
    """Names of its buffers that stay out of checkpoints."""
    return module._non_persistent_buffers_set  # noqa: SLF001


def schema_of(target: Overload) -> Any:
    """Names, types and aliasing of an op's arguments and results."""
    return target._schema  # noqa: SLF001


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether a tensor has sizes and a dtype alone."""
    return isinstance(tensor, FakeTensor)


def fake_mode() -> FakeTensorMode:
    """A mode whose tensors torch.export may mix with real ones."""
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())


def depends_on_values(symbol: Any) -> bool:
    """Whether a sympy symbol stands for something read out of a tensor."""
    return bool(symbol_is_type(symbol, (SymT.UNBACKED_INT, SymT.UNBACKED_FLOAT)))


def caller(depth: int) -> FrameType:
    return sys._getframe(depth + 1)  # noqa: SLF001


@contextmanager
def on_guard(note: Callable[[Any, FrameType], None]) -> Iterator[None]:
    """Calls ``note`` with every assumption about sizes that tracing makes, and the frame it was made in."""
    log_guard = ShapeEnv._log_guard  # noqa: SLF001

    def noted(self: ShapeEnv, prefix: str, guard: Any, forcing_spec: bool) -> None:
        if "suppressed" not in prefix:
            note(guard, caller(1))
        log_guard(self, prefix, guard, forcing_spec=forcing_spec)

    ShapeEnv._log_guard = noted  # type: ignore[method-assign,assignment]  # noqa: SLF001
    try:
        yield
    finally:
        ShapeEnv._log_guard = log_guard  # type: ignore[method-assign]  # noqa: SLF001


@contextmanager
def on_conversion(around: Callable[[nn.Module, Any, Callable[[], None]], None]) -> Iterator[None]:
    """Calls ``around(module, change, proceed)`` where ``module.to(...)`` changes a module; ``proceed()`` is the change itself."""
    apply: Any = nn.Module._apply  # noqa: SLF001

    def applied(self: nn.Module, fn: Any, recurse: bool = True) -> nn.Module:
        around(self, fn, lambda: apply(self, fn, recurse))
        return self

    nn.Module._apply = applied  # type: ignore[method-assign]  # noqa: SLF001
    try:
        yield
    finally:
        nn.Module._apply = apply  # type: ignore[method-assign]  # noqa: SLF001


def op_definition(name: str) -> Callable[..., Any] | None:
    """The Python function behind an op ``lib::op``; None for what ``torch.library.custom_op`` did not make."""
    found = OPDEFS.get(name)
    return None if found is None else found._init_fn  # noqa: SLF001


@contextmanager
def on_custom_function(note: Callable[[type, FrameType], None]) -> Iterator[None]:
    """Calls ``note`` before every ``torch.autograd.Function.apply``."""
    function = torch.autograd.Function
    original = function.__dict__.get("apply")
    apply: Any = function.apply

    def noted(cls: type, *args: Any, **kwargs: Any) -> Any:
        note(cls, caller(1))
        return apply.__func__(cls, *args, **kwargs)

    function.apply = classmethod(noted)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        if original is None:
            del function.apply
        else:
            function.apply = original  # type: ignore[method-assign]
