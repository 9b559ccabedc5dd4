"""Building big models without their memory: every parameter turns fake as soon as a module gets it, and stays so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from autopart.frontend.internals import FakeTensorMode, fake_mode, is_fake, on_conversion, parameters_of

Change = Callable[[Tensor], Tensor]


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
        if param is not None and not is_fake(param):
            if param not in fakes:
                fakes[param] = _fake(mode, param)
            param = fakes[param]
        register(self, name, param)

    nn.Module.register_parameter = register_fake  # type: ignore[method-assign]
    try:
        with convertible(), warnings.catch_warnings():
            # what torch says of copy.deepcopy(layer), as nn.TransformerEncoder does it
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def convertible() -> Iterator[None]:
    """Inside, ``module.double()``, ``.to(...)`` and their like work on modules with fake parameters.

    torch would exchange the contents of two fake tensors, which it refuses where anybody watches one; here a converted
    parameter takes the place of the old one, in every module that holds it.
    """
    converted = WeakTensorKeyDictionary()

    def convert(param: nn.Parameter, change: Change) -> nn.Parameter:
        if param not in converted or converted[param][0] is not change:
            with torch.no_grad():
                converted[param] = (change, nn.Parameter(change(param), param.requires_grad))
        found: nn.Parameter = converted[param][1]
        return found

    def apart(module: nn.Module, change: Change, proceed: Callable[[], None]) -> None:
        own = parameters_of(module)
        names = list(own)
        fakes = {name: convert(param, change) for name, param in own.items() if param is not None and is_fake(param)}
        for name in fakes:
            del own[name]
        proceed()
        merged = {name: fakes[name] if name in fakes else own[name] for name in names}
        own.clear()
        own.update(merged)

    with on_conversion(apart):
        yield


def _fake(mode: FakeTensorMode, param: nn.Parameter) -> nn.Parameter:
    with mode:
        return nn.Parameter(torch.empty(param.shape, dtype=param.dtype), requires_grad=param.requires_grad)
