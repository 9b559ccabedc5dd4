"""Whole tensors to and from ranks: state dicts of the unsplit model, checkpoints, gradients."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from autopart.errors import RunError
from autopart.ir.graph import Buffer, Parameter
from autopart.runtime.package import Package, Part
from autopart.runtime.rows import joined, part
from autopart.runtime.tree import torch_dtype
from autopart.runtime.world import World, failing_as

Rows = tuple[Parameter | Buffer, ...]
Takers = Mapping[str, Callable[[Tensor], object]]
"""What takes the value of a parameter or buffer that this rank holds, by name."""
SHOWN = 8  # names in a message


def own(package: Package, rank: int, name: str, whole: Tensor) -> Tensor:
    """What a rank holds of a parameter or buffer, cut from the whole of it."""
    mine = package.part_on(rank, name)
    return whole if mine.units == mine.of else part(whole, package.program.shards[name], mine.of, mine.start, mine.units)


def load(package: Package, rank: int, takers: Takers, state: Mapping[str, Tensor]) -> None:
    """Hands over this rank's part of the unsplit model's state dict; anything missing, unexpected or misshapen is one error."""
    wanted = _wanted(package)
    missing = [name for name, names in wanted.items() if not any(n in state for n in names)]
    known = {name for names in wanted.values() for name in names}
    sources = {name: next(n for n in names if n in state) for name, names in wanted.items() if name not in missing}
    rows: Rows = (*package.parameters, *package.buffers)
    shapes = {row.name: row.value.shape_at(1) for row in rows}
    wrong = [
        f"{name} is {tuple(state[source].shape)}, the plan has {shapes[name]}"
        for name, source in sources.items()
        if tuple(state[source].shape) != shapes[name]
    ]
    problems = (
        ("missing", missing),
        ("unexpected", sorted(set(state) - known)),
        ("of another shape", wrong),
    )
    if any(names for _, names in problems):
        raise RunError(
            "the state dict does not fit the model of the plan: " + "; ".join(_listed(*each) for each in problems if each[1]),
            remedy="Pass the state_dict() of the model that the plan was made for, or plan again for this one.",
        )
    with torch.no_grad():
        for name, source in sources.items():
            if name in takers:
                takers[name](own(package, rank, name, state[source]))


def load_constants(package: Package, rank: int, takers: Takers, constants: Mapping[str, Tensor]) -> None:
    """Fills buffers that no state dict has: tables made in the model's constructor, constants of its code."""
    lost = [b.name for b in package.buffers if not b.persistent and b.name in takers and b.name not in constants]
    if lost:
        raise RunError(_listed("no value for these buffers, which are in no state dict", lost), remedy="Compile the plan again.")
    with torch.no_grad():
        for buffer in package.buffers:
            if buffer.name in takers and buffer.name in constants:
                takers[buffer.name](own(package, rank, buffer.name, constants[buffer.name]))


def read_checkpoint(path: str | Path) -> Mapping[str, Tensor]:
    """A state dict from a torch.save'd file (memory-mapped: only what a rank needs is read) or from ``.safetensors``."""
    path = Path(path)
    if not path.is_file():
        raise RunError("there is no such checkpoint", where=str(path))
    try:
        state = _read(path)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(
            f"the checkpoint can't be read ({type(error).__name__})",
            where=str(path),
            remedy="It must be a state dict that torch.save or safetensors wrote.",
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RunError("the checkpoint is no state dict: tensors by name", where=str(path))
    return state


@dataclass(frozen=True)
class Source:
    """What a rank has to gather, by name. ``whole`` is asked on every rank that holds something, in the same order, for what
    ``has`` answers for on the first rank that holds it, or, if it is ``shared`` out, on any.
    """

    has: Callable[[str], bool]
    whole: Callable[[str], Tensor | None]
    shared: Container[str]


def gather(package: Package, world: World, rows: Rows, source: Source) -> dict[str, Tensor]:
    """Whole tensors by name on process 0 (elsewhere nothing), from the first ranks that hold them."""
    present = _present(package, world, rows, source)
    found: dict[str, Tensor] = {}
    for row, here in zip(rows, present, strict=True):
        if not here:
            continue
        with failing_as(f"gathering {row.name} on rank 0"):
            mine = source.whole(row.name)
            parts = [_to_first(package, world, row, part, mine) for part in package.parts_of(row.name)]
        arrived = [tensor for tensor in parts if tensor is not None]
        if arrived:
            whole = arrived[0] if len(parts) == 1 else joined(arrived, package.program.shards[row.name])
            names = (row.name, *row.tied) if isinstance(row, Parameter) else (row.name,)
            found.update(dict.fromkeys(names, whole))
    return found


def _to_first(package: Package, world: World, row: Parameter | Buffer, part: Part, tensor: Tensor | None) -> Tensor | None:
    """One part of a tensor, on process 0."""
    source, here = world.process_of[part.rank], dist.get_rank()
    if source == here:
        assert tensor is not None, f"rank {part.rank} has no {row.name}"
        tensor = (tensor.to_dense() if tensor.is_sparse else tensor).detach()
        if here == 0:
            return tensor.cpu().clone()
        dist.send(tensor.to(world.wire).contiguous(), 0)
    elif here == 0:
        shape = package.local_shape(part.rank, row)
        buffer = torch.empty(shape, dtype=torch_dtype(row.value.dtype), device=world.wire)
        dist.recv(buffer, source)
        return buffer.cpu()
    return None


def _present(package: Package, world: World, rows: Rows, source: Source) -> list[bool]:
    """Which rows have a tensor."""

    def answers(name: str) -> bool:
        return name in source.shared or package.parts_of(name)[0].rank == world.rank

    mine = [answers(row.name) and source.has(row.name) for row in rows]
    mask = torch.tensor(mine, dtype=torch.int32, device=world.wire)
    with failing_as("asking who has which tensor"):
        dist.all_reduce(mask, dist.ReduceOp.MAX)
    return [bool(flag) for flag in mask.tolist()]


def _wanted(package: Package) -> dict[str, tuple[str, ...]]:
    """Every entry of the unsplit model's state dict, by its first name, with all its names."""
    return {
        **{p.name: (p.name, *p.tied) for p in package.parameters},
        **{b.name: (b.name,) for b in package.buffers if b.persistent},
    }


def _read(path: Path) -> object:
    if path.suffix != ".safetensors":
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"  # torch.save's format since 1.6, which can be mapped into memory
        return torch.load(path, map_location="cpu", mmap=zipped, weights_only=True)
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise RunError("safetensors is not installed", where=str(path), remedy="pip install safetensors") from None
    return load_file(path)


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{what}: {', '.join(names[:SHOWN])}{more}"
