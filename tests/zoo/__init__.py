"""Small real models, each with its batch and its loss: what parity tests split and train.

``ZOO`` maps a name to an ``Entry``; ``entry.loaded(precision)`` is what the front end works on. Sizes are tiny; dropout is 0
unless the name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from autopart.frontend.load import Loaded, loaded_from
from tests.zoo.batches import floats, ids, labels
from tests.zoo.branching import Inception, Recommender, Siamese, contrast, likenesses, offers, taken
from tests.zoo.more import (
    GAT,
    convnext,
    mamba,
    mixtral,
    picture_inputs,
    scene_inputs,
    segformer,
    swin,
    wav2vec2,
    wave_inputs,
)
from tests.zoo.small import (
    DLRM,
    FNO,
    GCN,
    DataclassModel,
    LSTMModel,
    SixNetworks,
    Tagger,
    TwoTowers,
    clicked,
    clicks,
    graph_inputs,
    graph_targets,
    masked_mean_loss,
    mlp,
    pairs,
    regression,
    tags_and_mask,
    token_loss,
)
from tests.zoo.transformer import (
    bart,
    bert,
    causal_inputs,
    gpt2,
    image_inputs,
    llama,
    masked_inputs,
    speech_inputs,
    t5,
    translation_inputs,
    vit,
    whisper,
)
from tests.zoo.vision import (
    DiscriminatorStep,
    GeneratorStep,
    InPlaceCNN,
    ResNet,
    UNet,
    classes,
    noise,
    pixel_classes,
    pixels,
    real_and_noise,
)


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
    "mixtral": Entry(mixtral, causal_inputs),
    "mamba": Entry(mamba, causal_inputs),
    "swin": Entry(swin, picture_inputs),
    "convnext": Entry(convnext, picture_inputs),
    "segformer": Entry(segformer, scene_inputs, mixes_samples=True),
    "wav2vec2": Entry(wav2vec2, wave_inputs),
    "resnet": Entry(ResNet, pixels, F.cross_entropy, classes, mixes_samples=True),
    "unet": Entry(UNet, pixels, F.cross_entropy, pixel_classes),
    "inception": Entry(Inception, pixels, F.cross_entropy, classes),
    "recommender": Entry(Recommender, offers, F.binary_cross_entropy_with_logits, taken),
    "siamese": Entry(Siamese, likenesses, contrast, taken),
    "inplace_cnn": Entry(InPlaceCNN, pixels, F.cross_entropy, classes),
    "dcgan_discriminator": Entry(DiscriminatorStep, real_and_noise, mixes_samples=True),
    "dcgan_generator": Entry(GeneratorStep, noise, mixes_samples=True),
    "dlrm": Entry(DLRM, clicks, F.binary_cross_entropy_with_logits, clicked),
    "lstm": Entry(
        lambda: LSTMModel(batch_first=False),
        lambda n: (ids(n).T.contiguous(),),
        token_loss,
        lambda n: ids(n).T.contiguous(),
        batch_dims=1,
    ),
    "lstm_batch_first": Entry(lambda: LSTMModel(batch_first=True), lambda n: (ids(n),), token_loss, lambda n: ids(n)),
    "gcn": Entry(GCN, graph_inputs, F.cross_entropy, graph_targets, batch_dims=None, batchless=True),
    "gat": Entry(GAT, graph_inputs, F.cross_entropy, graph_targets, batch_dims=None, batchless=True),
    "fno": Entry(FNO, lambda n: (floats(n, 12),), F.mse_loss, lambda n: floats(n, 12)),
    "mlp": Entry(mlp, lambda n: (floats(n, 2),), F.cross_entropy, lambda n: labels(n, 2)),
    "six_networks": Entry(SixNetworks, lambda n: (floats(n, 16),), F.mse_loss, lambda n: floats(n, 16).sin()),
    "two_towers": Entry(TwoTowers, pairs, mixes_samples=True),
    "masked_mean": Entry(Tagger, lambda n: (ids(n),), masked_mean_loss, tags_and_mask),
    "dict_output": Entry(
        lambda: Tagger(dropout=0.2),
        lambda n: {"tokens": ids(n)},
        lambda output, tags: F.cross_entropy(output["logits"].transpose(1, 2), tags),
        lambda n: tags_and_mask(n)[0],
    ),
    "dataclass_output": Entry(DataclassModel, regression),
}
