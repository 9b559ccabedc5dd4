"""Convolutional networks: residual, with skips, with in-place writes, adversarial."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.batches import floats, labels, seeded


class Bottleneck(nn.Module):
    """A residual block with a shortcut, in-place ReLUs, as in torchvision."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 8, 1), Bottleneck(8, 8, 1))
        self.layer2 = nn.Sequential(Bottleneck(8, 12, 2), Bottleneck(12, 12, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class UNet(nn.Module):
    """Two levels down, two up; what goes down is read again three convolutions later."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.down1 = self._pair(3, width)
        self.down2 = self._pair(width, 2 * width)
        self.bottom = self._pair(2 * width, 2 * width)
        self.lift2 = nn.ConvTranspose2d(2 * width, 2 * width, 2, 2)
        self.up2 = self._pair(4 * width, width)
        self.up1 = self._pair(2 * width, width)
        self.head = nn.Conv2d(width, 4, 1)

    @staticmethod
    def _pair(inside: int, outside: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(2, outside), nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1), nn.GroupNorm(2, outside), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        x = self.up2(torch.cat([self.lift2(bottom), second], 1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.head(self.up1(torch.cat([x, first], 1)))


class InPlaceCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(6 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x) * 1.5
        x[:, 0] *= 0.5
        x[:, 1:3, 0].add_(1.0)
        return self.head(x.flatten(1))


def pixels(batch_size: int) -> tuple[Tensor]:
    return (floats(batch_size, 3, 8, 8),)


def classes(batch_size: int) -> Tensor:
    return labels(batch_size, 5)


def pixel_classes(batch_size: int) -> Tensor:
    return torch.randint(0, 4, (batch_size, 8, 8), generator=seeded(batch_size))


def generator() -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(12, 1, 2, 1, 0, bias=False), nn.Flatten(),
    )  # fmt: skip


class DiscriminatorStep(nn.Module):
    """Real images up, generated ones down; the generator is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = discriminator()
        self.generator = generator().requires_grad_(False)

    def forward(self, real: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.generator(noise)
        up, down = self.discriminator(real), self.discriminator(fake)
        return F.binary_cross_entropy_with_logits(up, torch.ones_like(up)) + F.binary_cross_entropy_with_logits(
            down, torch.zeros_like(down)
        )


class GeneratorStep(nn.Module):
    """The generator against a frozen discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = generator()
        self.discriminator = discriminator().requires_grad_(False)

    def forward(self, noise: Tensor) -> Tensor:
        verdict = self.discriminator(self.generator(noise))
        return F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))


def noise(batch_size: int) -> tuple[Tensor]:
    return (floats(batch_size, 6, 1, 1),)


def real_and_noise(batch_size: int) -> tuple[Tensor, Tensor]:
    return floats(batch_size, 3, 8, 8), floats(batch_size, 6, 1, 1)
