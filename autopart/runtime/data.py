"""Every rank loads only the rows that it needs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from autopart.errors import InputError
from autopart.runtime.batch import arranged, at
from autopart.runtime.module import DistributedModule


class ShardSampler(Sampler[Sequence[int]]):
    """The rows of this rank in each global batch, in the order of microbatches: a ``batch_sampler`` for any map-style dataset.
    They come as an ``array`` of eight bytes each: of small samples a list of Python's numbers takes more than the samples.

    What it loads goes to ``train_step(batch, local=True)``. All ranks shuffle alike; the rows left over after the last whole
    batch are dropped. An idle rank gets as many batches as the others, of one row that it does not use.
    """

    def __init__(self, module: DistributedModule, samples: int, *, shuffle: bool = True, seed: int = 0) -> None:
        """``samples`` is the length of the dataset."""
        self.share, self.samples, self.shuffle, self.seed, self.epoch = module.share, samples, shuffle, seed, 0
        if samples < self.share.batch:
            raise InputError(f"{samples} samples are less than one batch of {self.share.batch}", where="ShardSampler")

    def set_epoch(self, epoch: int) -> None:
        """Another order for another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples // self.share.batch

    def __iter__(self) -> Iterator[Sequence[int]]:
        order: Sequence[int] = range(self.samples)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = array("q", torch.randperm(self.samples, generator=generator).numpy().tobytes())
        for first in range(0, len(self) * self.share.batch, self.share.batch):
            yield array("q", (order[first + row] for row in self.share.rows())) or array("q", [order[first]])


def samples_in(module: DistributedModule, data: Any) -> int:
    """How many samples a batch-like structure of tensors has."""
    inputs = module.package.inputs
    root = arranged(data, inputs)
    counts = {at(root, source).shape[source.batch_dim] for source in inputs if source.batch_dim is not None}
    if len(counts) > 1:
        raise InputError(f"its tensors have {sorted(counts)} samples", where="data")
    return counts.pop() if counts else module.package.program.batch_size


def pick(module: DistributedModule, data: Any, rows: Sequence[int]) -> Any:
    """The given rows of a batch-like structure of tensors; what has no samples stays whole."""
    root = arranged(data, module.package.inputs)
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
    dims = {source.path: source.batch_dim for source in module.package.inputs}

    def picked(node: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(node, Tensor):
            dim = dims.get(path)
            return node if dim is None else node.index_select(dim, index)
        if isinstance(node, Mapping):
            return {key: picked(value, (*path, key)) for key, value in node.items()}
        return tuple(picked(value, (*path, i)) for i, value in enumerate(node))

    return picked(root, ())
