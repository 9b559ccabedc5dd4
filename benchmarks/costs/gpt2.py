"""Two layers of GPT-2 at a third of its width: blocks to price beside their measured times."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY, SEQUENCE = 8192, 128


def model() -> torch.nn.Module:
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=SEQUENCE, n_embd=256, n_layer=2, n_head=4, use_cache=False)
    network = GPT2LMHeadModel(config)
    network.loss_type = "ForCausalLM"  # what it takes anyway, without a warning
    return network


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(VOCABULARY, (batch_size, SEQUENCE))
    return {"input_ids": ids, "labels": ids.clone()}
