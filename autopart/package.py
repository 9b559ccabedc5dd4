"""Writing a compiled package: sources, and the tensors that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from autopart.codegen.emit import TRAIN_FILE
from autopart.errors import InputError
from autopart.frontend.load import Loaded, batch_of
from autopart.frontend.trace import Traced

WEIGHTS_FILE, CONSTANTS_FILE, BATCH_FILE = "weights.pt", "constants.pt", "batch.pt"


def write_package(folder: Path, sources: Mapping[str, str], loaded: Loaded, traced: Traced, batch_size: int | None) -> None:
    """Sources and constants, each file replaced whole; with ``batch_size`` also an example batch and initial weights.

    A train.py that somebody edited stays; the new one goes beside it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            _replace_text(_target(folder, name, text), text)
        _save(constants(traced), folder / CONSTANTS_FILE)
        if batch_size is not None:
            _save(example_batch(loaded, batch_size), folder / BATCH_FILE)
        if batch_size is not None and has_weights(loaded):
            _save(loaded.module.state_dict(), folder / WEIGHTS_FILE)
    except OSError as error:
        raise InputError(
            f"can't be written: {error.strerror}", where=str(error.filename or folder), remedy="Name another folder with -o."
        ) from error


def has_weights(loaded: Loaded) -> bool:
    """Whether the model was built with memory: one on the meta device has shapes alone."""
    return not any(_hollow(parameter) for parameter in loaded.module.parameters())


def constants(traced: Traced) -> dict[str, Tensor]:
    """Buffers that no state dict has, by name: what constructors computed, what the code holds."""
    found = {}
    for buffer in traced.graph.buffers:
        tensor = traced.tensors[buffer.value.name]
        if buffer.persistent:
            continue
        if _hollow(tensor):
            raise InputError(
                f"buffer {buffer.name} has no values: the model was built on the meta device",
                remedy="Build the model without torch.device('meta'): autopart itself keeps parameters from taking memory.",
            )
        found[buffer.name] = tensor.detach().clone()
    return found


def example_batch(loaded: Loaded, batch_size: int, seed: int = 0) -> Any:
    """What example_inputs returns for ``batch_size`` samples, with targets as ``(inputs, targets)`` where there are any."""
    torch.manual_seed(seed)
    inputs, targets = batch_of(loaded, batch_size)
    return (inputs, targets) if targets else inputs


def _hollow(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def _target(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    edited = name == TRAIN_FILE and path.exists() and path.read_text(encoding="utf-8") != text
    return path.with_suffix(".new.py") if edited else path


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _save(value: Any, path: Path) -> None:
    temporary = path.with_name(path.name + ".part")
    torch.save(value, temporary)
    temporary.replace(path)
