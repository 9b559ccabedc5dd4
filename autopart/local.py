"""``autopart run``: a plan trained on this machine, one process a rank; beside the unsplit model where that is asked for."""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autopart.codegen.emit import TRAIN_FILE
from autopart.errors import InputError
from autopart.frontend.load import Loaded
from autopart.frontend.precision import precision_of
from autopart.frontend.trace import scalar_loss
from autopart.package import BATCH_FILE, WEIGHTS_FILE, has_weights
from autopart.pipeline import compile_files
from autopart.plans import Plan
from autopart.report.table import table
from autopart.runtime.launch import launch
from autopart.say import Say


def run(plan: Plan, *, steps: int, learning_rate: float, compare: bool, recording: Path | None = None, say: Say) -> None:
    """Compile into a temporary folder, train on the example batch, print the losses; write down when everything ran."""
    with tempfile.TemporaryDirectory(prefix="autopart-") as name:
        folder = Path(name)
        built = compile_files(plan, folder, say)
        if not has_weights(built.front.loaded):
            raise InputError(
                "the model has no weights to start from: it was built on the meta device",
                where=plan.model.path,
                remedy="Build it with memory, or compile the plan and pass --checkpoint to its train.py.",
            )
        split = train_split(folder, plan, steps, learning_rate, recording, quiet=compare)
        if compare:
            whole = train_whole(built.front.loaded, folder, plan.settings.optimizer, steps, learning_rate)
            print_losses(split, whole)


def train_split(
    folder: Path, plan: Plan, steps: int, learning_rate: float, recording: Path | None = None, *, quiet: bool
) -> list[float]:
    """The losses of the package's own training script, one process a used rank."""
    losses = folder / "losses.json"
    chosen = [f"--steps={steps}", f"--lr={learning_rate}", f"--optimizer={plan.settings.optimizer}"]
    chosen += [f"--timeline={recording.absolute()}"] if recording else []
    processes = sum(len(stage.ranks) for stage in plan.stages)
    launch(folder / TRAIN_FILE, processes, [*chosen, f"--losses={losses}", "--backend=gloo"], quiet=quiet)
    found: list[float] = json.loads(losses.read_text())
    return found


def train_whole(loaded: Loaded, folder: Path, optimizer: str, steps: int, learning_rate: float) -> list[float]:
    """The losses of the unsplit model on one device: same weights, same batch."""
    module = loaded.module
    module.load_state_dict(torch.load(folder / WEIGHTS_FILE, weights_only=True))
    batch = torch.load(folder / BATCH_FILE, weights_only=True)
    optimizers = runpy.run_path(str(folder / TRAIN_FILE))["optimizers"]  # those that the ranks had
    made = optimizers(learning_rate)[optimizer]([p for p in module.parameters() if p.requires_grad])
    losses = []
    for _ in range(steps):
        loss = loss_of(loaded, module, batch)
        torch.autograd.backward(loss)
        made.step()
        made.zero_grad()
        losses.append(loss.item())
    return losses


def loss_of(loaded: Loaded, module: nn.Module, batch: Any) -> torch.Tensor:
    """The model's loss of a batch in the form that packages store."""
    inputs, targets = batch if loaded.example_targets is not None else (batch, ())
    with precision_of(loaded.precision), torch.autocast("cpu", torch.bfloat16, enabled=loaded.precision == "bfloat16"):
        output = module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
        return scalar_loss(loaded, output, targets)


def print_losses(split: Sequence[float], whole: Sequence[float]) -> None:
    """Both side by side."""
    rows: list[tuple[str, ...]] = [("step", "loss, split", "loss, one device", "difference")]
    rows += [(str(i), f"{a:.7f}", f"{b:.7f}", f"{abs(a - b):.1e}") for i, (a, b) in enumerate(zip(split, whole, strict=True), 1)]
    sys.stdout.write(table(rows) + "\n")
