"""The BERT-like model four times as large: its weights and gradients are what does not fit."""

from torch import nn

from benchmarks.models import bert
from benchmarks.models.bert import example_inputs, example_targets, loss

__all__ = ["example_inputs", "example_targets", "loss", "model"]

WIDTH = 2 * bert.WIDTH


def model() -> nn.Module:
    return bert.model(WIDTH)
