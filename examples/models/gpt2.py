"""GPT-2 from `transformers`, six layers of it, built from a config: nothing is downloaded."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

VOCABULARY, SEQUENCE = 1024, 64


def model() -> torch.nn.Module:
    """Dropout is off so that the split and the unsplit losses can be compared digit by digit."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=SEQUENCE,
        n_embd=128,
        n_layer=6,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    network = GPT2LMHeadModel(config)
    network.loss_type = "ForCausalLM"  # what it takes anyway, without a warning
    return network


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(VOCABULARY, (batch_size, SEQUENCE))
    return {"input_ids": ids, "labels": ids.clone()}
