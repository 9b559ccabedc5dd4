"""Experts, state spaces, windows, hybrids, waveforms and attention over a graph; nothing is downloaded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.batches import VOCABULARY, floats, labels, seeded


def mixtral() -> nn.Module:
    """Each token goes to two of three experts, whose weights are gathered for it: no control flow depends on data."""
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        num_hidden_layers=2,
        hidden_size=8,
        intermediate_size=12,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
        num_experts_per_tok=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=32,
        sliding_window=None,
        use_cache=False,
        output_router_logits=False,
    )
    config._experts_implementation = "batched_mm"
    return MixtralForCausalLM(config)


def mamba() -> nn.Module:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(
        MambaConfig(
            num_hidden_layers=2,
            hidden_size=8,
            state_size=4,
            conv_kernel=3,
            time_step_rank=2,
            vocab_size=VOCABULARY,
            use_cache=False,
            use_mambapy=False,
        )
    )


def swin() -> nn.Module:
    """Windows of 2x2 patches, shifted in every second layer, merged between two stages."""
    from transformers import SwinConfig, SwinForImageClassification

    return SwinForImageClassification(
        SwinConfig(
            image_size=16,
            patch_size=2,
            embed_dim=8,
            depths=[2, 1],
            num_heads=[2, 2],
            window_size=2,
            num_labels=5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            drop_path_rate=0.0,
        )
    )


def convnext() -> nn.Module:
    from transformers import ConvNextConfig, ConvNextForImageClassification

    return ConvNextForImageClassification(
        ConvNextConfig(
            num_stages=2,
            hidden_sizes=[6, 8],
            depths=[1, 2],
            patch_size=4,
            image_size=16,
            num_labels=5,
            layer_scale_init_value=0.1,
            drop_path_rate=0.0,
        )
    )


def picture_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"pixel_values": floats(batch_size, 3, 16, 16), "labels": labels(batch_size, 5)}


def segformer() -> nn.Module:
    """A class per pixel; the head normalises over the batch."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(
        SegformerConfig(
            num_encoder_blocks=2,
            depths=[1, 1],
            sr_ratios=[2, 1],
            hidden_sizes=[4, 8],
            patch_sizes=[3, 3],
            strides=[2, 2],
            num_attention_heads=[1, 2],
            mlp_ratios=[2, 2],
            decoder_hidden_size=8,
            num_labels=4,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            classifier_dropout_prob=0.0,
            drop_path_rate=0.0,
        )
    )


def scene_inputs(batch_size: int) -> dict[str, Tensor]:
    wanted = torch.randint(0, 4, (batch_size, 16, 16), generator=seeded(batch_size))
    return {"pixel_values": floats(batch_size, 3, 16, 16), "labels": wanted}


def wav2vec2() -> nn.Module:
    """Raw waveforms, each put into one of five classes."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    return Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(
            num_hidden_layers=2,
            hidden_size=8,
            intermediate_size=12,
            num_attention_heads=2,
            conv_dim=[4, 6],
            conv_stride=[2, 2],
            conv_kernel=[4, 3],
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            classifier_proj_size=6,
            num_labels=5,
            vocab_size=VOCABULARY,
            hidden_dropout=0.0,
            activation_dropout=0.0,
            attention_dropout=0.0,
            feat_proj_dropout=0.0,
            final_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
            mask_time_prob=0.0,
        )
    )


def wave_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"input_values": floats(batch_size, 48), "labels": labels(batch_size, 5)}


class GraphAttention(nn.Module):
    """Each node's mean of its neighbours, weighted by a softmax over the edges that arrive there, head by head."""

    def __init__(self, inside: int, outside: int, heads: int) -> None:
        super().__init__()
        self.project = nn.Linear(inside, heads * outside, bias=False)
        self.source = nn.Parameter(torch.randn(heads, outside) / outside)
        self.target = nn.Parameter(torch.randn(heads, outside) / outside)
        self.heads = heads

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        h = self.project(x).view(x.size(0), self.heads, -1)
        scores = F.leaky_relu((h * self.source).sum(-1)[source] + (h * self.target).sum(-1)[target], 0.2)
        largest = torch.full((x.size(0), self.heads), -torch.inf, dtype=x.dtype)
        largest = largest.scatter_reduce(0, target[:, None].expand_as(scores), scores.detach(), "amax")
        weights = (scores - largest[target]).exp()
        total = torch.zeros(x.size(0), self.heads, dtype=x.dtype).index_add(0, target, weights)
        messages = h[source] * (weights / total[target])[..., None]
        return torch.zeros_like(h).index_add(0, target, messages).flatten(1)


class GAT(nn.Module):
    """Two layers of attention over one graph: there is no batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = GraphAttention(4, 3, 2), GraphAttention(6, 3, 1)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        return self.second(F.elu(self.first(features, edges)), edges)
