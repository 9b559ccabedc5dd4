"""A segmenter of what a sentence names: a light image tower at full resolution, a heavy text tower, a head that joins them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, WIDTH, PIXELS = 10_000, 1024, 128


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU())
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.text = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 16, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True) for _ in range(12)
        )
        self.scale = nn.Linear(WIDTH, 64)
        self.head = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1))

    def forward(self, image: Tensor, sentence: Tensor) -> Tensor:
        x = self.image(image)
        y = self.embed(sentence)
        for layer in self.text:
            y = layer(y)
        return self.head(x * self.scale(y.mean(1))[:, :, None, None])


def model() -> nn.Module:
    return Segmenter()


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return torch.randn(batch_size, 3, PIXELS, PIXELS), torch.randint(WORDS, (batch_size, 32))


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.rand(batch_size, 1, PIXELS, PIXELS),)


loss = F.binary_cross_entropy_with_logits
