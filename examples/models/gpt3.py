"""A model of the size of GPT-3 (175B) from `transformers`, sequences of 2048. Planning it needs neither GPU nor its weights."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

SEQUENCE = 2048


def model() -> torch.nn.Module:
    config = GPT2Config(
        n_embd=12288, n_layer=96, n_head=96, n_positions=SEQUENCE, use_cache=False, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(50257, (batch_size, SEQUENCE))
    return {"input_ids": ids, "labels": ids.clone()}
