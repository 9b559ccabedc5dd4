"""Two layers of BERT at half its width: blocks to price beside their measured times."""

import torch
from transformers import BertConfig, BertForSequenceClassification

VOCABULARY, SEQUENCE = 8192, 128


def model() -> torch.nn.Module:
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=384, num_hidden_layers=2, num_attention_heads=6, intermediate_size=1536, num_labels=4
    )
    return BertForSequenceClassification(config)


def example_inputs(batch_size: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(VOCABULARY, (batch_size, SEQUENCE)), "labels": torch.randint(4, (batch_size,))}
