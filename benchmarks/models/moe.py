"""A mixture of experts: transformers' Mixtral layers with four experts, two for each token."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from benchmarks.models.chain import Call, Chain

LAYERS, WIDTH, TOKENS, VOCABULARY = 4, 128, 8, 1000


class Layer(nn.Module):
    """Attention and experts, both residual."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.experts = Call(MixtralSparseMoeBlock(config))
        for parameter in self.experts.parameters():  # the library leaves that to its whole models
            nn.init.normal_(parameter, std=config.initializer_range)

    def forward(self, x: Tensor) -> Tensor:
        heads = [part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.attention(self.first(x)).chunk(3, dim=-1)]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        found: Tensor = x + self.experts(self.second(x))
        return found


def model() -> nn.Module:
    config = MixtralConfig(hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_local_experts=4, num_experts_per_tok=2)
    config._experts_implementation = "batched_mm"  # noqa: SLF001  (of fixed sizes, as tracing needs)
    layers = [Layer(config) for _ in range(LAYERS)]
    return Chain([nn.Embedding(VOCABULARY, WIDTH), *layers, nn.Linear(WIDTH, VOCABULARY, bias=False)])


def example_inputs(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def example_targets(batch_size: int) -> tuple[Tensor, ...]:
    return (torch.randint(VOCABULARY, (batch_size, TOKENS)),)


def loss(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output.flatten(0, 1), target.flatten())
