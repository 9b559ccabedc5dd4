"""Where a rank keeps its part of the model: plain containers under the model's own names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Tree(nn.Module):
    """Holds parameters, buffers and further trees: ``tree.transformer.h[3].attn.c_attn.weight``.

    ``tree.h[2:5]`` is a list of three, ``tree["a-b"]`` reaches names that Python can't spell. Only what was put in is there:
    a rank that runs ``h.3`` to ``h.5`` has no ``h[0]``. What is read may be another tensor than what is held (``lend``).
    """

    def __init__(self) -> None:
        super().__init__()
        self._lent: dict[str, Callable[[], Tensor]] = {}

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__.get("_modules", {}).get(name)  # most of what is read, and quicker than what follows
        if held is not None:
            return held
        lent = self.__dict__.get("_lent", {}).get(name)
        return super().__getattr__(name) if lent is None else lent()

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            return [self[index] for index in range(key.start, key.stop)]
        name = str(key)
        if name in self._lent:
            return self._lent[name]()
        for table in (self._modules, self._parameters, self._buffers):
            if name in table:
                return table[name]
        raise KeyError(f"{name!r} is not on this rank; it holds {', '.join(self._names()) or 'nothing'}")

    def _names(self) -> Iterable[str]:
        return (*self._modules, *self._parameters, *self._buffers)

    def put_parameter(self, path: str, parameter: nn.Parameter) -> None:
        """Registers under a fully qualified name, past nn.Module's checks: any name that a model has will do."""
        holder, name = self._holder(path)
        holder._parameters[name] = parameter  # noqa: SLF001  (a tree like itself)

    def put_buffer(self, path: str, tensor: Tensor, *, persistent: bool) -> None:
        holder, name = self._holder(path)
        holder._buffers[name] = tensor  # noqa: SLF001
        if not persistent:
            holder._non_persistent_buffers_set.add(name)  # noqa: SLF001

    def lend(self, path: str, read: Callable[[], Tensor]) -> None:
        """Whoever reads a parameter gets what ``read`` gives at that moment."""
        holder, name = self._holder(path)
        holder._lent[name] = read  # noqa: SLF001

    def grow(self, path: str) -> Tree:
        """The container at a path, made where it does not exist."""
        tree = self
        for name in path.split(".") if path else ():
            child = tree._modules.setdefault(name, Tree())
            assert isinstance(child, Tree)
            tree = child
        return tree

    def _holder(self, path: str) -> tuple[Tree, str]:
        parent, _, name = path.rpartition(".")
        return self.grow(parent), name


def blank(shape: tuple[int, ...], dtype: str, device: torch.device) -> Tensor:
    """A tensor that nobody has filled yet. Not-a-number, so that training on forgotten weights shows at once."""
    tensor = torch.empty(shape, dtype=torch_dtype(dtype), device=device)
    return tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.zero_()


def torch_dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype), f"{name} is no dtype"
    return dtype
