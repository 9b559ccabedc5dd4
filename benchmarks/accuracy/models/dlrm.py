"""DLRM-like: embedding tables, a network for dense features, products of pairs, a network on top."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TABLES, ROWS, WIDTH, DENSE, HIDDEN = 8, 4000, 64, 64, 768


class Dlrm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ROWS, WIDTH) for _ in range(TABLES))
        self.bottom = nn.Sequential(
            nn.Linear(DENSE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH)
        )
        self.top = nn.Sequential(
            nn.Linear(WIDTH + (TABLES + 1) ** 2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
        )

    def forward(self, dense: Tensor, ids: Tensor, clicks: Tensor) -> Tensor:
        features = self.bottom(dense)
        rows = torch.stack([features, *(table(ids[:, i]) for i, table in enumerate(self.tables))], 1)
        pairs = (rows @ rows.transpose(1, 2)).flatten(1)
        logits = self.top(torch.cat([features, pairs], 1)).squeeze(1)
        return F.binary_cross_entropy_with_logits(logits, clicks)


def model() -> nn.Module:
    return Dlrm()


def example_inputs(batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.randint(ROWS, (batch_size, TABLES))
    return torch.randn(batch_size, DENSE), ids, torch.rand(batch_size).round()
