"""ResNet-50 from `transformers`, built from a config.

Its BatchNorms mix samples, so that plans have one microbatch; see docs/semantics.md.
"""

import torch
from transformers import ResNetConfig, ResNetForImageClassification


def model() -> torch.nn.Module:
    return ResNetForImageClassification(ResNetConfig(num_labels=1000))


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(batch_size, 3, 224, 224), "labels": torch.randint(1000, (batch_size,))}
