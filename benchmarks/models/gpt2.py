"""GPT-2-like: transformers' own blocks, embedding and head apart. Alike layers; compute is the bottleneck."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from benchmarks.models.chain import Call, Chain

LAYERS, WIDTH, TOKENS, VOCABULARY = 8, 96, 128, 512


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.tokens(ids) + self.positions.weight
        return found


def model() -> nn.Module:
    config = GPT2Config(n_embd=WIDTH, n_head=4, n_layer=LAYERS, resid_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa")
    blocks = [Call(GPT2Block(config, layer_idx=i)) for i in range(LAYERS)]
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False))
    return Chain([Embedding(), *blocks, head])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())
