"""Building big models without their memory: every parameter turns fake as soon as a module gets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

from autopart.frontend.internals import FakeTensor, FakeTensorMode, fake_mode


@contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Inside, a registered parameter keeps sizes and dtype alone.

    Buffers stay real. Initialisation of parameters costs nothing: it acts on fake tensors. A parameter registered twice
    stays one.
    """
    mode = fake_mode()
    fakes = WeakTensorKeyDictionary()
    register = nn.Module.register_parameter

    def register_fake(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not isinstance(param, FakeTensor):
            if param not in fakes:
                fakes[param] = _fake(mode, param)
            param = fakes[param]
        register(self, name, param)

    nn.Module.register_parameter = register_fake  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


def _fake(mode: FakeTensorMode, param: nn.Parameter) -> nn.Parameter:
    with mode:
        return nn.Parameter(torch.empty(param.shape, dtype=param.dtype), requires_grad=param.requires_grad)
