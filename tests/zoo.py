"""Small real models, each with its batch and its loss: what parity tests split and train.

``ZOO`` maps a name to an ``Entry``; ``entry.loaded(precision)`` is what the front end works on. Sizes are tiny; dropout is 0 unless a
builder takes ``dropout``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopart.frontend.load import Loaded, loaded_from

SEQUENCE, VOCABULARY = 8, 31


@dataclass(frozen=True)
class Entry:
    """A model's builder and what ``loaded_from`` needs beside it."""

    model: Callable[[], nn.Module]
    example_inputs: Callable[[int], Any]
    loss: Callable[..., Any] | None = None
    example_targets: Callable[[int], Any] | None = None
    batch_dims: Any = 0
    mixes_samples: bool = False  # one microbatch only
    batchless: bool = False

    def loaded(self, precision: str = "float64", seed: int = 0) -> Loaded:
        torch.manual_seed(seed)
        return loaded_from(
            self.model(),
            self.example_inputs,
            loss=self.loss,
            example_targets=self.example_targets,
            batch_dims=self.batch_dims,
            precision=precision,
        )


def _seeded(batch_size: int) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + batch_size)


def _ids(batch_size: int, length: int = SEQUENCE, high: int = VOCABULARY) -> Tensor:
    return torch.randint(3, high, (batch_size, length), generator=_seeded(batch_size))


def _floats(batch_size: int, *sizes: int) -> Tensor:
    return torch.randn(batch_size, *sizes, generator=_seeded(batch_size))


def _labels(batch_size: int, classes: int) -> Tensor:
    return torch.randint(0, classes, (batch_size,), generator=_seeded(batch_size))


# transformers


def gpt2(dropout: float = 0.0) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            n_layer=3,
            n_head=2,
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
        )  # fmt: skip
    )


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=3,
            hidden_size=16,
            intermediate_size=24,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
            use_cache=False,
        )  # fmt: skip
    )


def causal_inputs(batch_size: int) -> dict[str, Tensor]:
    ids = _ids(batch_size)
    return {"input_ids": ids, "labels": ids.clone()}


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
        )  # fmt: skip
    )


def masked_inputs(batch_size: int) -> dict[str, Tensor]:
    """Rows of unlike lengths, and labels at unlike numbers of positions."""
    ids = _ids(batch_size)
    lengths = torch.arange(batch_size) % (SEQUENCE - 2) + 3
    mask = (torch.arange(SEQUENCE) < lengths[:, None]).long()
    asked = torch.rand(ids.shape, generator=_seeded(batch_size)) < 0.4
    asked[:, 0] = torch.arange(batch_size) % 2 == 0
    labels = torch.where(asked & (mask == 1), ids, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


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
        )  # fmt: skip
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
        )  # fmt: skip
    )


def translation_inputs(batch_size: int) -> dict[str, Tensor]:
    labels = _ids(batch_size, SEQUENCE - 2)
    labels[1::2, -2:] = -100
    return {"input_ids": _ids(batch_size), "labels": labels}


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
        )  # fmt: skip
    )


def image_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"pixel_values": _floats(batch_size, 3, 8, 8), "labels": _labels(batch_size, 5)}


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
        )  # fmt: skip
    )


def speech_inputs(batch_size: int) -> dict[str, Tensor]:
    return {"input_features": _floats(batch_size, 4, 20), "labels": _ids(batch_size)}


# images


class Bottleneck(nn.Module):
    """A residual block with a shortcut, in-place ReLUs, as in torchvision."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample = None
        if stride != 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 8, 1), Bottleneck(8, 8, 1))
        self.layer2 = nn.Sequential(Bottleneck(8, 12, 2), Bottleneck(12, 12, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class UNet(nn.Module):
    """Two levels down, two up; what goes down is read again three convolutions later."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.down1 = self._pair(3, width)
        self.down2 = self._pair(width, 2 * width)
        self.bottom = self._pair(2 * width, 2 * width)
        self.lift2 = nn.ConvTranspose2d(2 * width, 2 * width, 2, 2)
        self.up2 = self._pair(4 * width, width)
        self.up1 = self._pair(2 * width, width)
        self.head = nn.Conv2d(width, 4, 1)

    @staticmethod
    def _pair(inside: int, outside: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(2, outside), nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1), nn.GroupNorm(2, outside), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        bottom = self.bottom(F.max_pool2d(second, 2))
        x = self.up2(torch.cat([self.lift2(bottom), second], 1))
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.head(self.up1(torch.cat([x, first], 1)))


class InPlaceCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU(inplace=True)
        )
        self.head = nn.Linear(6 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x) * 1.5
        x[:, 0] *= 0.5
        x[:, 1:3, 0].add_(1.0)
        return self.head(x.flatten(1))


def pixels(batch_size: int) -> tuple[Tensor]:
    return (_floats(batch_size, 3, 8, 8),)


def classes(batch_size: int) -> Tensor:
    return _labels(batch_size, 5)


def pixel_classes(batch_size: int) -> Tensor:
    return torch.randint(0, 4, (batch_size, 8, 8), generator=_seeded(batch_size))


# generative adversarial networks


def generator() -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


def discriminator() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(12, 1, 2, 1, 0, bias=False), nn.Flatten(),
    )  # fmt: skip


class DiscriminatorStep(nn.Module):
    """Real images up, generated ones down; the generator is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator = discriminator()
        self.generator = generator().requires_grad_(False)

    def forward(self, real: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.generator(noise)
        up, down = self.discriminator(real), self.discriminator(fake)
        return F.binary_cross_entropy_with_logits(up, torch.ones_like(up)) + F.binary_cross_entropy_with_logits(
            down, torch.zeros_like(down)
        )


class GeneratorStep(nn.Module):
    """The generator against a frozen discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = generator()
        self.discriminator = discriminator().requires_grad_(False)

    def forward(self, noise: Tensor) -> Tensor:
        verdict = self.discriminator(self.generator(noise))
        return F.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))


def noise(batch_size: int) -> tuple[Tensor]:
    return (_floats(batch_size, 6, 1, 1),)


def real_and_noise(batch_size: int) -> tuple[Tensor, Tensor]:
    return _floats(batch_size, 3, 8, 8), _floats(batch_size, 6, 1, 1)


# tables, sequences, graphs, fields


class DLRM(nn.Module):
    """Dense features and bags of categories, dot-product interaction."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU())
        self.tables = nn.ModuleList(nn.EmbeddingBag(rows, 6, mode="sum") for rows in (11, 17, 23))
        self.top = nn.Sequential(nn.Linear(6 + 6, 8), nn.ReLU(), nn.Linear(8, 1))
        rows, columns = torch.tril_indices(4, 4, -1)
        self.register_buffer("pairs", rows * 4 + columns, persistent=False)

    def forward(self, dense: Tensor, categories: Tensor) -> Tensor:
        x = self.bottom(dense)
        bags = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        stacked = torch.stack([x, *bags], dim=1)
        interaction = torch.bmm(stacked, stacked.transpose(1, 2)).flatten(1)[:, self.pairs]
        return self.top(torch.cat([x, interaction], dim=1)).squeeze(1)


def clicks(batch_size: int) -> tuple[Tensor, Tensor]:
    return _floats(batch_size, 5), torch.randint(0, 11, (batch_size, 3, 4), generator=_seeded(batch_size))


def clicked(batch_size: int) -> Tensor:
    return torch.randint(0, 2, (batch_size,), generator=_seeded(batch_size)).float()


class LSTMModel(nn.Module):
    """The word-language model of PyTorch's examples; sequence first unless ``batch_first``."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.encoder = nn.Embedding(VOCABULARY, 8)
        self.rnn = nn.LSTM(8, 8, 2, batch_first=batch_first)
        self.decoder = nn.Linear(8, VOCABULARY)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        output, _ = self.rnn(self.encoder(tokens))
        return F.log_softmax(self.decoder(output).view(-1, VOCABULARY), dim=1)


def token_loss(output: Tensor, targets: Tensor) -> Tensor:
    return F.nll_loss(output, targets.reshape(-1))


class GCN(nn.Module):
    """Two graph convolutions over one graph: there is no batch."""

    def __init__(self, nodes: int = 10) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.nodes = nodes

    def _propagate(self, x: Tensor, edges: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        degree = torch.zeros(self.nodes, dtype=x.dtype).index_add(0, target, torch.ones_like(target, dtype=x.dtype)).clamp(min=1)
        return torch.zeros_like(x).index_add_(0, target, x[source]) / degree[:, None]

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        x = F.relu(self._propagate(self.first(features), edges))
        return self._propagate(self.second(x), edges)


def graph_inputs(batch_size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {"features": torch.randn(10, 4, generator=generator), "edges": torch.randint(0, 10, (2, 30), generator=generator)}


def graph_targets(batch_size: int) -> Tensor:
    return torch.arange(10) % 3


class SpectralConv(nn.Module):
    """Multiplies the lowest Fourier modes by complex weights, kept as pairs of reals."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, 2) / width)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        low = torch.einsum("bim,iom->bom", spectrum[..., : self.modes], torch.view_as_complex(self.weight))
        out = torch.zeros_like(spectrum)
        out[..., : self.modes] = low
        return torch.fft.irfft(out, n=x.size(-1))


class FNO(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.lift = nn.Linear(2, width)
        self.spectral = nn.ModuleList(SpectralConv(width, 4) for _ in range(2))
        self.local = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2))
        self.project = nn.Linear(width, 1)

    def forward(self, field: Tensor) -> Tensor:
        grid = torch.linspace(0, 1, field.size(1), dtype=field.dtype).expand(field.size(0), -1)
        x = self.lift(torch.stack([field, grid], dim=-1)).transpose(1, 2)
        for spectral, local in zip(self.spectral, self.local, strict=True):
            x = F.gelu(spectral(x) + local(x))
        return self.project(x.transpose(1, 2)).squeeze(-1)


# textbook examples, and losses of many kinds


def mlp() -> nn.Module:
    """The 2-4-4-2 network of the textbooks."""
    return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


class SixNetworks(nn.Module):
    """Three parts of two networks of 10,000 parameters each."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.ModuleList(self._network() for _ in range(2)) for _ in range(3))

    @staticmethod
    def _network() -> nn.Module:
        return nn.Sequential(nn.Linear(16, 303), nn.Tanh(), nn.Linear(303, 16))  # 10,015 parameters

    def forward(self, x: Tensor) -> Tensor:
        for first, second in self.parts:
            x = x + first(x) + second(x)
        return x


class TwoTowers(nn.Module):
    """Contrastive: every sample of the batch is compared with every other."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.right = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = F.normalize(self.left(left), dim=-1), F.normalize(self.right(right), dim=-1)
        logits = self.scale.exp() * a @ b.T
        labels = torch.arange(logits.size(0))
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def pairs(batch_size: int) -> tuple[Tensor, Tensor]:
    return _floats(batch_size, 6), _floats(batch_size, 5)


class Tagger(nn.Module):
    """A tag per token; its output is a dict with no loss in it."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 8)
        self.mix = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Dropout(dropout), nn.Linear(12, 8), nn.LayerNorm(8))
        self.head = nn.Linear(8, 5)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        x = self.embed(tokens)
        return {"logits": self.head(x + self.mix(x)), "hidden": x}


def masked_mean_loss(output: dict[str, Tensor], tags: Tensor, mask: Tensor) -> Tensor:
    losses = F.cross_entropy(output["logits"].flatten(0, 1), tags.flatten(), reduction="none").view(tags.shape)
    return (losses * mask).sum() / mask.sum()


def tags_and_mask(batch_size: int) -> tuple[Tensor, Tensor]:
    lengths = torch.arange(batch_size) % SEQUENCE + 1
    tags = torch.randint(0, 5, (batch_size, SEQUENCE), generator=_seeded(batch_size))
    return tags, (torch.arange(SEQUENCE) < lengths[:, None]).float()


@dataclass
class Scored:
    """An output as a dataclass that carries its loss."""

    loss: Tensor
    scores: Tensor


class DataclassModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor, y: Tensor) -> Scored:
        scores = self.body(x).squeeze(-1)
        return Scored(loss=((scores - y) ** 2).sum() / x.size(0), scores=scores)


def regression(batch_size: int) -> dict[str, Tensor]:
    return {"x": _floats(batch_size, 6), "y": _floats(batch_size)}


ZOO: dict[str, Entry] = {
    "gpt2": Entry(gpt2, causal_inputs),
    "gpt2_dropout": Entry(lambda: gpt2(dropout=0.1), causal_inputs),
    "llama": Entry(llama, causal_inputs),
    "bert": Entry(bert, masked_inputs),
    "bert_dropout": Entry(lambda: bert(dropout=0.1), masked_inputs),
    "t5": Entry(t5, translation_inputs),
    "bart": Entry(bart, translation_inputs),
    "vit": Entry(vit, image_inputs),
    "whisper": Entry(whisper, speech_inputs),
    "resnet": Entry(ResNet, pixels, F.cross_entropy, classes, mixes_samples=True),
    "unet": Entry(UNet, pixels, F.cross_entropy, pixel_classes),
    "inplace_cnn": Entry(InPlaceCNN, pixels, F.cross_entropy, classes),
    "dcgan_discriminator": Entry(DiscriminatorStep, real_and_noise, mixes_samples=True),
    "dcgan_generator": Entry(GeneratorStep, noise, mixes_samples=True),
    "dlrm": Entry(DLRM, clicks, F.binary_cross_entropy_with_logits, clicked),
    "lstm": Entry(
        lambda: LSTMModel(batch_first=False),
        lambda n: (_ids(n).T.contiguous(),),
        token_loss,
        lambda n: _ids(n).T.contiguous(),
        batch_dims=1,
    ),
    "lstm_batch_first": Entry(lambda: LSTMModel(batch_first=True), lambda n: (_ids(n),), token_loss, lambda n: _ids(n)),
    "gcn": Entry(GCN, graph_inputs, F.cross_entropy, graph_targets, batch_dims=None, batchless=True),
    "fno": Entry(FNO, lambda n: (_floats(n, 12),), F.mse_loss, lambda n: _floats(n, 12)),
    "mlp": Entry(mlp, lambda n: (_floats(n, 2),), F.cross_entropy, lambda n: _labels(n, 2)),
    "six_networks": Entry(SixNetworks, lambda n: (_floats(n, 16),), F.mse_loss, lambda n: _floats(n, 16).sin()),
    "two_towers": Entry(TwoTowers, pairs, mixes_samples=True),
    "masked_mean": Entry(Tagger, lambda n: (_ids(n),), masked_mean_loss, tags_and_mask),
    "dict_output": Entry(
        lambda: Tagger(dropout=0.2),
        lambda n: {"tokens": _ids(n)},
        lambda output, tags: F.cross_entropy(output["logits"].transpose(1, 2), tags),
        lambda n: tags_and_mask(n)[0],
    ),
    "dataclass_output": Entry(DataclassModel, regression),
}
