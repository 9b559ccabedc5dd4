"""GPT-2 small (124 million parameters) from `transformers`, sequences of 1024, dropout as published."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

SEQUENCE = 1024


def model() -> torch.nn.Module:
    network = GPT2LMHeadModel(GPT2Config(use_cache=False))
    network.loss_type = "ForCausalLM"  # what it takes anyway, without a warning
    return network


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(50257, (batch_size, SEQUENCE))
    return {"input_ids": ids, "labels": ids.clone()}
