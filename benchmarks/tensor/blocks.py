"""A transformer's layer and its halves, as one device has them, and what Megatron splits of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COLUMN, ROW = ("q", "k", "v", "up"), ("o", "down")  # linears whose outputs are split, and those whose inputs are


@dataclass(frozen=True)
class Size:
    """Of one benchmark: samples of a step, tokens of each, hidden size, heads."""

    samples: int
    tokens: int
    hidden: int
    heads: int

    def __str__(self) -> str:
        return f"{self.samples}x{self.tokens} tokens, hidden {self.hidden}, {self.heads} heads"


class Attention(nn.Module):
    """Causal; four projections. [samples, tokens, hidden]"""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.each = size.hidden // size.heads
        self.q, self.k, self.v, self.o = (nn.Linear(size.hidden, size.hidden) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (project(x).unflatten(2, (-1, self.each)).transpose(1, 2) for project in (self.q, self.k, self.v))
        attention = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        output: Tensor = self.o(attention.transpose(1, 2).flatten(2))
        return output


class MLP(nn.Module):
    """[samples, tokens, hidden]"""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(size.hidden, 4 * size.hidden), nn.Linear(4 * size.hidden, size.hidden)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.down(F.gelu(self.up(x)))
        return output


class Half(nn.Module):
    """What a layer puts around either: a norm before, the residual after."""

    def __init__(self, inner: Attention | MLP, size: Size) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(size.hidden), inner

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = x + self.inner(self.norm(x))
        return output


class Model(nn.Module):
    """Returns the mean squared error."""

    def __init__(self, halves: Sequence[Half]) -> None:
        super().__init__()
        self.halves = nn.ModuleList(halves)

    @property
    def parts(self) -> list[Half]:
        return [half for half in self.halves if isinstance(half, Half)]

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        for half in self.parts:
            x = half(x)
        return F.mse_loss(x, target)


MODELS: Mapping[str, Sequence[type[Attention | MLP]]] = {
    "MLP": (MLP,),
    "attention": (Attention,),
    "two layers": (Attention, MLP, Attention, MLP),
}

MEGATRON = (
    *((f"*.{name}:linear", "S(2)") for name in COLUMN),
    *((f"*.{name}:linear", "P") for name in ROW),
    ("*.norm:*", "R"),
    ("*:add", "R"),
)
"""Layouts of a plan: results of the linears; norms and residuals are whole on every column."""


def layouts(name: str) -> tuple[tuple[str, str], ...]:
    """Those of ``MEGATRON`` that a model has ops for."""
    halves = MODELS[name]
    absent = [*(("up", "down") if MLP not in halves else ()), *(("q", "k", "v", "o") if Attention not in halves else ())]
    return tuple((pattern, layout) for pattern, layout in MEGATRON if pattern not in [f"*.{each}:linear" for each in absent])


def split_dim(parameter: str) -> int | None:
    """The dim that Megatron splits of a parameter, by its name."""
    _, linear, kind = parameter.rsplit(".", 2)
    if linear in COLUMN:
        return 0
    return 1 if linear in ROW and kind == "weight" else None


def made(name: str, size: Size, dtype: torch.dtype) -> Model:
    torch.manual_seed(0)
    return Model([Half(inner(size), size) for inner in MODELS[name]]).to(dtype)


def batch_of(size: Size, dtype: torch.dtype, samples: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (samples or size.samples, size.tokens, size.hidden)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype) for name in ("x", "target")}
