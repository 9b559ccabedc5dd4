"""The batch that a user passes, and which of its rows are this rank's.

Forms: a dict (model inputs by keyword) or a tuple (positional), or one tensor where the model takes one. Targets, where
the model file has a loss of its own: ``(inputs, targets)``, or a dict with ``targets`` in it, or a tuple of
inputs with the targets appended. Microbatch m of the global batch is rows [m*B/M, (m+1)*B/M); inside it replica i of a
stage takes ``shares[i]`` rows, in rank order. A local batch holds this rank's rows of every microbatch, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autopart.errors import InputError
from autopart.ir.graph import Input

TARGETS = "targets"


@dataclass(frozen=True, slots=True)
class Share:
    """The rows of this rank: ``count`` of every microbatch, from row ``start`` of it."""

    batch: int
    microbatches: int
    start: int
    count: int

    @property
    def microbatch(self) -> int:
        return self.batch // self.microbatches

    def rows(self) -> Iterator[int]:
        """Rows of the global batch, in the order of microbatches."""
        for m in range(self.microbatches):
            first = m * self.microbatch + self.start
            yield from range(first, first + self.count)


def read_batch(batch: Any, inputs: Sequence[Input], wanted: Sequence[str], share: Share, *, local: bool) -> dict[str, Tensor]:
    """The wanted tensors by name, whole or local as they were passed. All tensors are checked against what was traced: a bad
    batch is an error on every rank, not only where it is read. An idle rank's local batch is nobody's.
    """
    if local and not share.count:
        return {}
    root = arranged(batch, inputs)
    rows = share.count * share.microbatches if local else share.batch
    found = {}
    for source in inputs:
        found[source.value.name] = at(root, source)
        _check(found[source.value.name], source, rows, local=local)
    return {name: tensor for name, tensor in found.items() if name in wanted}


def microbatch(tensors: Mapping[str, Tensor], inputs: Sequence[Input], share: Share, m: int, *, local: bool) -> dict[str, Tensor]:
    """The rows of this rank in one microbatch."""
    start = m * share.count if local else m * share.microbatch + share.start
    return {
        source.value.name: _narrow(tensors[source.value.name], source, start, share.count)
        for source in inputs
        if source.value.name in tensors
    }


def _narrow(tensor: Tensor, source: Input, start: int, count: int) -> Tensor:
    return tensor if source.batch_dim is None else tensor.narrow(source.batch_dim, start, count)


def arranged(batch: Any, inputs: Sequence[Input]) -> Any:
    """The batch as a structure that the inputs' paths lead through; targets under ``targets``."""
    count = 1 + max((int(source.path[1]) for source in inputs if _is_target(source)), default=-1)
    batch = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(batch, Mapping | list | tuple):
        raise _bad(f"is a {type(batch).__name__}")
    if not count or (isinstance(batch, Mapping) and TARGETS in batch):
        return batch
    if isinstance(batch, Mapping) or len(batch) < 2:
        raise _bad("has no targets")
    if len(batch) == 2 and isinstance(batch[0], Mapping | list | tuple):
        values, targets = batch
    else:
        values, targets = batch[:-count], batch[-count:]
        values = values[0] if len(values) == 1 and isinstance(values[0], Mapping) else values
    targets = (targets,) if isinstance(targets, Tensor) else targets
    entries = dict(values) if isinstance(values, Mapping) else dict(enumerate(values))
    return {**entries, TARGETS: targets}


def _is_target(source: Input) -> bool:
    return len(source.path) > 1 and source.path[0] == TARGETS


def at(root: Any, source: Input) -> Tensor:
    found = root
    for key in source.path:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            raise _bad(f"has nothing at {list(source.path)}") from None
    if not isinstance(found, Tensor):
        raise _bad(f"has a {type(found).__name__} in place of a tensor at {list(source.path)}")
    return found


def _check(tensor: Tensor, source: Input, rows: int, *, local: bool) -> None:
    wanted = source.value.shape_at(rows)
    if tuple(tensor.shape) == wanted:
        return
    what = f"this rank's {rows} rows" if local else f"the whole global batch of {rows} samples"
    raise _bad(f"has {tuple(tensor.shape)} at {list(source.path)}; {what} is {wanted}")


def _bad(what: str) -> InputError:
    return InputError(
        f"the batch {what}",
        where="train_step",
        remedy="Pass what example_inputs returns (with targets: a pair of inputs and targets), always of the same size.",
    )
