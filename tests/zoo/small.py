"""Tables, sequences, graphs, fields, textbook networks, and losses of many kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.batches import SEQUENCE, VOCABULARY, floats, seeded


class DLRM(nn.Module):
    """Dense features and bags of categories, dot-product interaction."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, 6, mode="sum") for rows in (11, 17, 23))
        self.top = nn.Sequential(nn.Linear(6 + 6, 8), nn.ReLU(), nn.Linear(8, 1))
        rows, columns = torch.tril_indices(4, 4, -1)
        self.register_buffer("pairs", rows * 4 + columns, persistent=False)

    def forward(self, dense: Tensor, categories: Tensor) -> Tensor:
        x = self.bottom(dense)
        bags = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        stacked = torch.stack([x, *bags], dim=1)
        interaction = torch.bmm(stacked, stacked.transpose(1, 2)).flatten(1)[:, self.pairs]
        return self.top(torch.cat([x, interaction], dim=1)).squeeze(1)


def clicks(batch_size: int) -> tuple[Tensor, Tensor]:
    return floats(batch_size, 5), torch.randint(0, 11, (batch_size, 3, 4), generator=seeded(batch_size))


def clicked(batch_size: int) -> Tensor:
    return torch.randint(0, 2, (batch_size,), generator=seeded(batch_size)).float()


class LSTMModel(nn.Module):
    """The word-language model of PyTorch's examples; sequence first unless ``batch_first``."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, 8)
        self.rnn = nn.LSTM(8, 8, 2, batch_first=batch_first)
        self.decoder = nn.Linear(8, VOCABULARY)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        output, _ = self.rnn(self.encoder(tokens))
        return F.log_softmax(self.decoder(output).view(-1, VOCABULARY), dim=1)


def token_loss(output: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(output, targets.reshape(-1))


class GCN(nn.Module):
    """Two graph convolutions over one graph: there is no batch."""

    def __init__(self, nodes: int = 10) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.nodes = nodes

    def _propagate(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        degree = torch.zeros(self.nodes, dtype=x.dtype).index_add(0, target, torch.ones_like(target, dtype=x.dtype)).clamp(min=1)
        return torch.zeros_like(x).index_add_(0, target, x[source]) / degree[:, None]

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        x = F.relu(self._propagate(self.first(features), edges))
        return self._propagate(self.second(x), edges)


def graph_inputs(batch_size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"features": torch.randn(10, 4, generator=generator), "edges": torch.randint(0, 10, (2, 30), generator=generator)}


def graph_targets(batch_size: int) -> Tensor:
    return torch.arange(10) % 3


class SpectralConv(nn.Module):
    """Multiplies the lowest Fourier modes by complex weights, kept as pairs of reals."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, 2) / width)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        low = torch.einsum("bim,iom->bom", spectrum[..., : self.modes], torch.view_as_complex(self.weight))
        out = torch.zeros_like(spectrum)
        out[..., : self.modes] = low
        return torch.fft.irfft(out, n=x.size(-1))


class FNO(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.spectral = nn.ModuleList(SpectralConv(width, 4) for _ in range(2))
        self.local = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2))
        self.project = nn.Linear(width, 1)

    def forward(self, field: Tensor) -> Tensor:
        grid = torch.linspace(0, 1, field.size(1), dtype=field.dtype).expand(field.size(0), -1)
        x = self.lift(torch.stack([field, grid], dim=-1)).transpose(1, 2)
        for spectral, local in zip(self.spectral, self.local, strict=True):
            x = F.gelu(spectral(x) + local(x))
        return self.project(x.transpose(1, 2)).squeeze(-1)


def mlp() -> nn.Module:
    """The 2-4-4-2 network of the textbooks."""
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


class SixNetworks(nn.Module):
    """Three parts of two networks of 10,000 parameters each."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.ModuleList(self._network() for _ in range(2)) for _ in range(3))

    @staticmethod
    def _network() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 303), nn.Tanh(), nn.Linear(303, 16))  # 10,015 parameters

    def forward(self, x: Tensor) -> Tensor:
        for first, second in self.parts:
            x = x + first(x) + second(x)
        return x


class TwoTowers(nn.Module):
    """Contrastive: every sample of the batch is compared with every other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.right = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = F.normalize(self.left(left), dim=-1), F.normalize(self.right(right), dim=-1)
        logits = self.scale.exp() * a @ b.T
        labels = torch.arange(logits.size(0))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def pairs(batch_size: int) -> tuple[Tensor, Tensor]:
    return floats(batch_size, 6), floats(batch_size, 5)


class Tagger(nn.Module):
    """A tag per token; its output is a dict with no loss in it."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.mix = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Dropout(dropout), nn.Linear(12, 8), nn.LayerNorm(8))
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.embed(tokens)
        return {"logits": self.head(x + self.mix(x)), "hidden": x}


def masked_mean_loss(output: dict[str, Tensor], tags: Tensor, mask: Tensor) -> Tensor:
    losses = F.cross_entropy(output["logits"].flatten(0, 1), tags.flatten(), reduction="none").view(tags.shape)
    return (losses * mask).sum() / mask.sum()


def tags_and_mask(batch_size: int) -> tuple[Tensor, Tensor]:
    lengths = torch.arange(batch_size) % SEQUENCE + 1
    tags = torch.randint(0, 5, (batch_size, SEQUENCE), generator=seeded(batch_size))
    return tags, (torch.arange(SEQUENCE) < lengths[:, None]).float()


@dataclass
class Scored:
    """An output as a dataclass that carries its loss."""

    loss: Tensor
    scores: Tensor


class DataclassModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> Scored:
        scores = self.body(x).squeeze(-1)
        return Scored(loss=((scores - y) ** 2).sum() / x.size(0), scores=scores)


def regression(batch_size: int) -> dict[str, Tensor]:
    return {"x": floats(batch_size, 6), "y": floats(batch_size)}
