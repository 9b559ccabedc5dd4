"""A model that is a chain of blocks: what cuts of `torch.distributed.pipelining` need, and nothing that autopart needs."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

Values = tuple[Tensor, ...]


class Chain(nn.Module):
    """``blocks`` each take the values that the one before returned; the last returns one."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, *values: Tensor) -> Tensor | Values:
        """The last block's one value; where the chain is a piece of a model and hands on several, all of them."""
        for block in self.blocks:
            given = block(*values)
            values = given if isinstance(given, tuple) else (given,)
        return values[0] if len(values) == 1 else values


class Call(nn.Module):
    """A layer of a library that is called with its first argument alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        given = self.layer(x)
        found = given[0] if isinstance(given, tuple) else given
        assert isinstance(found, Tensor), f"{type(self.layer).__name__} returned no tensor"
        return found
