"""Llama 70B from `transformers`, sequences of 4096. Planning it needs neither a GPU nor the memory for its weights."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SEQUENCE = 4096


def model() -> torch.nn.Module:
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        max_position_embeddings=SEQUENCE,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(128256, (batch_size, SEQUENCE))
    return {"input_ids": ids, "labels": ids.clone()}
