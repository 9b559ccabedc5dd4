"""The most that a rank's tensors take in a training step: measured, and as the plan says.

``python -m benchmarks.tensor.memory`` trains a GPT-2 with AdamW on gloo processes, by tensor degree and by ZeRO level, and prints
both for the fullest rank. Measured are the bytes of all storages alive at a time (PyTorch's MemTracker), in the second step, when
the optimizer has its state. Two microbatches: while the second runs there are gradients, as in any step but one of a single
microbatch that starts with none. Predicted is the peak of the simulated step; what the cost model reserves beside tensors is
taken from a device's capacity and is in neither. Rows of gradients and parameters are small, in proportion to the model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.distributed._tools.mem_tracker import MemTracker

from autopart.cluster.units import format_bytes
from autopart.frontend.load import loaded_from
from autopart.pipeline import Front, front_end, simulated
from autopart.plans import Settings
from autopart.pricing import zero
from autopart.runtime import DistributedModule
from tests.parity.parity import Case, Part, compiled
from tests.ranks import run_ranks

VOCABULARY, TOKENS = 1024, 64
SAMPLES, MICROBATCHES = 16, 2
ROW_BYTES = 2**18
OUTPUT = Path("out/benchmarks/tensor-memory.json")

TENSOR: Mapping[str, Part] = {
    "one rank": Part((SAMPLES,)),
    "tensor 2": Part((SAMPLES,), tensor=2),
    "tensor 4": Part((SAMPLES,), tensor=4),
    "tensor 2, recomputing": Part((SAMPLES,), tensor=2, recompute=True),
}
HALVES = (SAMPLES // 2, SAMPLES // 2)
ZERO: Mapping[str, Part] = {
    "data 2": Part(HALVES),
    "data 2, ZeRO 1": Part(HALVES, zero=1),
    "data 2, ZeRO 2": Part(HALVES, zero=2),
    "data 2, ZeRO 3": Part(HALVES, zero=3),
    "data 2, tensor 2": Part(HALVES, tensor=2),
    "data 2, tensor 2, ZeRO 3": Part(HALVES, tensor=2, zero=3),
}


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of the fullest rank."""

    predicted: int
    measured: int


@cache
def gpt2(layers: int = 4, width: int = 256) -> Front:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers,
        n_embd=width,
        n_head=8,
        vocab_size=VOCABULARY,
        n_positions=TOKENS,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config)
    model.loss_type = "ForCausalLM"  # what it takes anyway, without a warning
    return front_end(loaded_from(model, batch_of), Settings())


def batch_of(samples: int) -> dict[str, Tensor]:
    ids = torch.randint(VOCABULARY, (samples, TOKENS), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "labels": ids.clone()}


def peak_of(source: Front, part: Part, microbatches: int = MICROBATCHES) -> Peak:
    """Of a plan of one stage."""
    case, state = Case((part,), microbatches=microbatches), source.loaded.module.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        built = compiled(source, case, Path(folder))
        with patch.object(zero, "ROW_BYTES", ROW_BYTES):
            predicted = simulated(built).timeline.peak_bytes
        measured = run_ranks(case.ranks, _peak, Path(folder), state, batch_of(case.batch))
    return Peak(max(predicted.values()), max(measured))


def _peak(_: int, folder: Path, state: Mapping[str, Any], batch: Mapping[str, Tensor]) -> int:
    """Of one rank, in its second step."""
    module = DistributedModule(folder, bucket_bytes=ROW_BYTES)
    module.load_state_dict(state)
    optimizer = torch.optim.AdamW(module.parameters())
    module.train_step(batch)
    optimizer.step()
    optimizer.zero_grad()
    tracker = MemTracker()
    tracker.track_external(module, optimizer)
    with tracker:
        module.train_step(batch)
        optimizer.step()
    (found,) = tracker.get_tracker_snapshot("peak").values()
    return int(found["Total"])


def show(peaks: Mapping[str, Peak]) -> None:
    first = next(iter(peaks.values()))
    print(f"\n{'':26}{'predicted':>12}{'measured':>12}{'ratio':>8}   of {next(iter(peaks))}: predicted, measured")
    for title, peak in peaks.items():
        sizes = f"{format_bytes(peak.predicted):>12}{format_bytes(peak.measured):>12}{peak.measured / peak.predicted:8.3f}"
        print(f"{title:26}{sizes}   {peak.predicted / first.predicted:.3f}, {peak.measured / first.measured:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--microbatches", type=int, default=MICROBATCHES)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source, found = gpt2(arguments.layers, arguments.width), {}
    for cases in (TENSOR, ZERO):
        peaks = {title: peak_of(source, part, arguments.microbatches) for title, part in cases.items()}
        show(peaks)
        found.update({title: asdict(peak) for title, peak in peaks.items()})
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
