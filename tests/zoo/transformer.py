"""Models of the transformers library, built from small configurations; nothing is downloaded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.zoo.batches import SEQUENCE, VOCABULARY, floats, ids, labels, seeded


def gpt2(dropout: float = 0.0, heads: int = 2) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=3,
            n_head=heads,
            n_embd=16,
            vocab_size=VOCABULARY,
            n_positions=16,
            use_cache=False,
            bos_token_id=1,
            eos_token_id=1,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            loss_type="ForCausalLM",
        )
    )


def llama(layers: int = 3) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=layers,
            hidden_size=16,
            intermediate_size=24,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
            use_cache=False,
        )
    )


def causal_inputs(batch_size: int) -> dict[str, Tensor]:
    tokens = ids(batch_size)
    return {"input_ids": tokens, "labels": counted(tokens)}


def counted(wanted: Tensor) -> Tensor:
    """Labels that count at unlike numbers of positions, in every fourth row at none."""
    lengths = torch.tensor([0, 3, 8, 5]).repeat(len(wanted) // 4 + 1)[: len(wanted)]
    return torch.where(torch.arange(wanted.shape[1]) < lengths[:, None], wanted, -100)


def bert(dropout: float = 0.0) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(
        BertConfig(
            num_hidden_layers=2,
            hidden_size=16,
            intermediate_size=24,
            num_attention_heads=2,
            vocab_size=VOCABULARY,
            max_position_embeddings=16,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def masked_inputs(batch_size: int) -> dict[str, Tensor]:
    """Rows of unlike lengths, and labels at unlike numbers of positions."""
    tokens = ids(batch_size)
    lengths = torch.arange(batch_size) % (SEQUENCE - 2) + 3
    mask = (torch.arange(SEQUENCE) < lengths[:, None]).long()
    asked = torch.rand(tokens.shape, generator=seeded(batch_size)) < 0.4
    asked[:, 0] = torch.arange(batch_size) % 2 == 0
    wanted = torch.where(asked & (mask == 1), tokens, -100)
    return {"input_ids": tokens, "attention_mask": mask, "labels": wanted}


def t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            num_layers=2,
            num_decoder_layers=2,
            d_model=16,
            d_kv=8,
            d_ff=24,
            num_heads=2,
            vocab_size=VOCABULARY,
            dropout_rate=0.0,
            use_cache=False,
            decoder_start_token_id=0,
            pad_token_id=0,
        )
    )


def bart() -> nn.Module:
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(
        BartConfig(
            encoder_layers=2,
            decoder_layers=2,
            d_model=16,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            vocab_size=VOCABULARY,
            max_position_embeddings=16,
            dropout=0.0,
            use_cache=False,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
    )


def translation_inputs(batch_size: int) -> dict[str, Tensor]:
    wanted = ids(batch_size, SEQUENCE - 2)
    wanted[1::2, -2:] = -100
    return {"input_ids": ids(batch_size), "labels": wanted}


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            num_hidden_layers=2,
            hidden_size=16,
            intermediate_size=24,
            num_attention_heads=2,
            image_size=8,
            patch_size=4,
            num_labels=5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def image_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"pixel_values": floats(batch_size, 3, 8, 8), "labels": labels(batch_size, 5)}


def whisper() -> nn.Module:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(
        WhisperConfig(
            encoder_layers=2,
            decoder_layers=2,
            d_model=16,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            vocab_size=VOCABULARY,
            num_mel_bins=4,
            max_source_positions=10,
            max_target_positions=16,
            dropout=0.0,
            use_cache=False,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=2,
        )
    )


def speech_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"input_features": floats(batch_size, 4, 20), "labels": counted(ids(batch_size))}
