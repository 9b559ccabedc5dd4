"""ResNet-50 on images of 96 pixels: blocks to price beside their measured times."""

import torch
from transformers import ResNetConfig, ResNetForImageClassification


def model() -> torch.nn.Module:
    return ResNetForImageClassification(ResNetConfig(num_labels=100))


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(batch_size, 3, 96, 96), "labels": torch.randint(100, (batch_size,))}
