"""float64 throughout: what a model's code spells float32 means float64 too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


class _Widen(TorchFunctionMode):
    """Replaces float32 in every call. Models cast to float32 inside (losses, norms, rotary tables): kept, those casts would leave
    single-precision noise in a double-precision run.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(_wide, args), **{key: _wide(value) for key, value in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    return WIDER.get(value, value) if isinstance(value, torch.dtype) else value


@contextmanager
def precision_of(name: str) -> Iterator[None]:
    """Inside, the code of a model runs as ``name`` says; float32 and bfloat16 (autocast, at run time) leave it as it is."""
    if name != "float64":
        yield
        return
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widen():
            yield
    finally:
        torch.set_default_dtype(default)
