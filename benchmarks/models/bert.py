"""BERT-like: wide layers and a large vocabulary; what data parallelism sends is large beside what it computes."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertEmbeddings, BertLayer

from benchmarks.models.chain import Call, Chain

LAYERS, WIDTH, TOKENS, VOCABULARY = 6, 192, 64, 4000


def model(width: int = WIDTH) -> nn.Module:
    config = BertConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=6,
        vocab_size=VOCABULARY,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
    )
    layers = [Call(BertLayer(config)) for _ in range(LAYERS)]
    return Chain([Call(BertEmbeddings(config)), *layers, nn.Linear(width, VOCABULARY)])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())
