"""A recommender with large embedding tables: nearly all parameters, nearly no compute (Naumov et al., arXiv:1906.00091)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.chain import Chain, Values

TABLES, ROWS, WIDTH, DENSE, HIDDEN = 8, 12000, 32, 13, 512


class Tables(nn.Module):
    """Half of the tables; those looked up before go on beside."""

    def __init__(self, first: int, stop: int) -> None:
        super().__init__()
        self.first, self.stop = first, stop
        self.tables = nn.ModuleList(nn.Embedding(ROWS, WIDTH) for _ in range(first, stop))

    def forward(self, dense: Tensor, ids: Tensor, *found: Tensor) -> Values:
        looked = [table(ids[:, self.first + i]) for i, table in enumerate(self.tables)]
        return (dense, ids, torch.cat([*found, *looked], dim=1))


class Bottom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(DENSE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH), nn.ReLU())

    def forward(self, dense: Tensor, _: Tensor, found: Tensor) -> Tensor:
        """Dot products of all pairs of features, and the dense ones."""
        bottom = self.layers(dense)
        features = torch.cat([bottom, found], dim=1).unflatten(1, (TABLES + 1, WIDTH))
        products = features @ features.transpose(1, 2)
        return torch.cat([bottom, products.flatten(1)], dim=1)


def model() -> nn.Module:
    wide = WIDTH + (TABLES + 1) ** 2
    top = [
        nn.Sequential(nn.Linear(wide, HIDDEN), nn.ReLU()),
        *(nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.ReLU()) for _ in range(2)),
    ]
    return Chain([Tables(0, TABLES // 2), Tables(TABLES // 2, TABLES), Bottom(), *top, nn.Linear(HIDDEN, 1)])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randn(batch_size, DENSE), torch.randint(ROWS, (batch_size, TABLES)))


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.rand(batch_size, 1),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(output, target)
