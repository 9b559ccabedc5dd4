"""An emitted package as the runtime reads it: ``stages.py`` for people and for the executor, ``tensors.json`` for long tables."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from autopart.errors import InputError
from autopart.ir.graph import Buffer, Input, Parameter, Value
from autopart.program.program import Program, StageSpec
from autopart.program.text import parse_actions
from autopart.runtime.comm import Axis
from autopart.sharding.placement import Shard, apportion

STAGES_FILE, TENSORS_FILE = "stages.py", "tensors.json"
LOSS = "loss"


class Stage:
    """Base of the emitted stages: who runs it, and its code.

    ``forward(m, ...)`` takes this rank's tree and, by name, graph inputs and values of earlier stages; it returns what ``gives``
    names (one value as it is, several as a tuple). ``prologue(m, ...)`` takes inputs of all microbatches and keeps what it
    counts on ``self``, for the step. ``replicas`` (the ranks of this column), ``tensor`` (the columns of this replica) and
    ``device`` are set before either is called. What is given is the same on all columns, the loss their sum.
    """

    ranks: tuple[int, ...] = ()
    shares: tuple[int, ...] = ()
    columns: int = 1
    weights: tuple[int, ...] = ()
    zero: int = 0
    gives: tuple[str, ...] = ()
    random: bool = False
    recompute: bool = False
    replicas: Axis
    tensor: Axis
    device: torch.device
    forward: Callable[..., Any]
    prologue: Callable[..., None] | None = None

    @classmethod
    def takes(cls) -> tuple[str, ...]:
        """Names of forward's arguments after the tree."""
        return tuple(inspect.signature(cls.forward).parameters)[2:]

    @classmethod
    def counts(cls) -> tuple[str, ...]:
        """Names of the prologue's arguments after the tree."""
        return tuple(inspect.signature(cls.prologue).parameters)[2:] if cls.prologue else ()


@dataclass(frozen=True, slots=True)
class Part:
    """Which of its ``of`` units a rank holds of a parameter or buffer."""

    rank: int
    start: int = 0
    units: int = 1
    of: int = 1


@dataclass(frozen=True)
class Package:
    """Everything a rank needs to know. ``holders`` are the stages that hold a parameter or buffer, by its name;
    ``ranks`` counts the ranks of the cluster file.
    """

    folder: Path
    program: Program
    stages: tuple[type[Stage], ...]
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    buffers: tuple[Buffer, ...]
    holders: Mapping[str, tuple[int, ...]]
    precision: str
    ranks: int

    def stage_of(self, rank: int) -> int | None:
        """The stage that a rank runs."""
        return next((spec.index for spec in self.program.stages if rank in spec.ranks), None)

    def ranks_holding(self, name: str) -> tuple[int, ...]:
        """The ranks that hold a parameter or buffer, in ascending order."""
        stages = self.program.stages
        return tuple(sorted({rank for index in self.holders[name] for rank in stages[index].ranks}))

    def parts_of(self, name: str) -> tuple[Part, ...]:
        """The ranks that together hold all of a parameter or buffer once, in the order of their parts."""
        if name not in self.program.shards:
            return (Part(self.ranks_holding(name)[0]),)
        stage = self.program.stages[self.holders[name][0]]
        return tuple(self.part_on(rank, name) for rank in stage.ranks[: stage.tensor])

    def part_on(self, rank: int, name: str) -> Part:
        """What a rank that holds a parameter or buffer has of it."""
        shard = self.program.shards.get(name)
        if shard is None:
            return Part(rank)
        stage = next(stage for stage in self.program.stages if rank in stage.ranks)
        column = stage.place(rank)[1]
        units = apportion(shard.units, stage.weights or (1,) * stage.tensor)
        return Part(rank, sum(units[:column]), units[column], shard.units)

    def local_shape(self, rank: int, row: Parameter | Buffer) -> tuple[int, ...]:
        """Sizes of what a rank holds of a parameter or buffer."""
        shape, part = list(row.value.shape_at(1)), self.part_on(rank, row.name)
        if part.units < part.of:
            dim = self.program.shards[row.name].dim
            shape[dim] = shape[dim] // part.of * part.units
        return tuple(shape)


def read_package(folder: str | Path) -> Package:
    """Imports ``stages.py`` of a folder that ``autopart compile`` wrote, and checks that its program reads."""
    folder = Path(folder)
    for name in (STAGES_FILE, TENSORS_FILE):
        if not (folder / name).is_file():
            raise InputError(f"there is no {name}", where=str(folder), remedy="Write the package with `autopart compile`.")
    module = _import(folder / STAGES_FILE)
    _register(folder, getattr(module, "CUSTOM_OPS", {}))
    table = json.loads((folder / TENSORS_FILE).read_text())
    holders = {row["name"]: tuple(row["stages"]) for row in (*table["parameters"], *table["buffers"])}
    parameters = tuple(
        Parameter(row["name"], _value(row), row.get("trainable", True), tuple(row.get("tied", ()))) for row in table["parameters"]
    )
    buffers = tuple(Buffer(row["name"], _value(row), row.get("persistent", True)) for row in table["buffers"])
    shards = {row["name"]: Shard(*row["shard"]) for row in (*table["parameters"], *table["buffers"]) if "shard" in row}
    program = _program(module, holders, parameters, buffers, shards)
    return Package(folder, program, module.STAGES, module.INPUTS, parameters, buffers, holders, module.PRECISION, module.RANKS)


def _import(path: Path) -> ModuleType:
    """Under a name of its own, so that two packages in one process do not meet."""
    name = f"autopart_stages_{blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, f"{path} is no module"
    assert spec.loader is not None, f"{path} can't be loaded"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _register(folder: Path, places: Mapping[str, str]) -> None:
    """Runs what registers the ops that are not torch's own, where nobody has done it yet."""
    for name, place in places.items():
        if _registered(name):
            continue
        with suppress(ImportError):
            if place.endswith(".py"):
                _import(folder / place)
            elif place:
                importlib.import_module(place)
        if not _registered(name):
            raise InputError(
                f"the op {name} is not registered",
                where=str(folder / STAGES_FILE),
                remedy=f"Import what registers it before the package, for example in {folder / 'train.py'}.",
            )


def _registered(name: str) -> bool:
    namespace, _, op = name.partition("::")
    return hasattr(getattr(torch.ops, namespace), op)


def _value(row: Mapping[str, Any]) -> Value:
    return Value(row["name"], tuple(row["shape"]), row["dtype"])


def _program(
    module: ModuleType,
    holders: Mapping[str, tuple[int, ...]],
    parameters: tuple[Parameter, ...],
    buffers: tuple[Buffer, ...],
    shards: Mapping[str, Shard],
) -> Program:
    stages = tuple(
        StageSpec(
            index,
            stage.ranks,
            stage.shares,
            tuple(dict.fromkeys(n for n in (*stage.counts(), *stage.takes()) if n in {i.value.name for i in module.INPUTS})),
            tuple(p.name for p in parameters if index in holders[p.name]),
            tuple(b.name for b in buffers if index in holders[b.name]),
            stage.recompute,
            stage.random,
            stage.columns,
            stage.weights,
            stage.zero,
        )
        for index, stage in enumerate(module.STAGES)
    )
    ranks = sorted({rank for stage in stages for rank in stage.ranks})
    actions = {rank: parse_actions(module.PROGRAM, rank) for rank in ranks}
    return Program(module.BATCH, module.MICROBATCHES, module.SCHEDULE, stages, module.TRANSFERS, actions, shards)
