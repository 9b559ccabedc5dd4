"""Training state that a program keeps from step to step, and which rank has which of it: what a restart has to bring back.

Parameters and persistent buffers; of what is trained also the tensors of its size that the optimizer keeps. Gradients are made
anew, and constants are in every package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from autopart.ir.graph import DTYPE_BYTES, Buffer, Graph, Parameter
from autopart.ir.rows import Extent, parts
from autopart.program.elements import Elements, shard, whole
from autopart.program.program import Program, StageSpec
from autopart.program.reductions import BUCKET_BYTES, GradientSum, gradient_sums
from autopart.sharding.placement import apportion
from cost_models.memory import OPTIMIZER_STATES

Sort = Literal["weights", "optimizer"]
Key = tuple[str, Sort]
"""A parameter or buffer by its name, and whether it is itself or what the optimizer keeps for it."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Elements of a tensor, all of which each of these ranks has."""

    elements: Elements
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor, or several alike. ``holdings`` have every element once; ``nbytes`` is what one takes."""

    nbytes: int
    holdings: tuple[Holding, ...]


State = Mapping[Key, Kept]


def state_of(program: Program, graph: Graph, optimizer: str) -> State:
    """What is kept where; ``graph`` is that of one device."""
    holders = _holders(program)
    frozen = {parameter.name for parameter in graph.parameters if not parameter.trainable}
    shared = _shared(program, graph, frozen)
    found: dict[Key, Kept] = {}
    rows: list[Parameter | Buffer] = [*graph.parameters, *(buffer for buffer in graph.buffers if buffer.persistent)]
    for row in rows:
        each = DTYPE_BYTES[row.value.dtype]
        plain = tuple(_columns(program, row, holders[row.name]))
        parts, level = shared.get(row.name, (plain, 0))
        found[row.name, "weights"] = Kept(each, parts if level == 3 else plain)
        states = OPTIMIZER_STATES[optimizer] if isinstance(row, Parameter) and row.trainable else 0
        if states:
            found[row.name, "optimizer"] = Kept(each * states, parts)
    return found


def _holders(program: Program) -> Mapping[str, tuple[StageSpec, ...]]:
    found: dict[str, tuple[StageSpec, ...]] = {}
    for stage in program.stages:
        for name in (*stage.parameters, *stage.buffers):
            found[name] = (*found.get(name, ()), stage)
    return found


def _columns(program: Program, row: Parameter | Buffer, stages: tuple[StageSpec, ...]) -> Iterator[Holding]:
    """Of what is split over columns one for each, else one for all ranks."""
    for column in range(stages[0].tensor) if row.name in program.shards else (None,):
        ranks = [stage.ranks if column is None else stage.column(column).ranks for stage in stages]
        yield Holding(_elements(program, row, stages[0], column or 0), tuple(rank for each in ranks for rank in each))


def _elements(program: Program, row: Parameter | Buffer, stage: StageSpec, column: int) -> Elements:
    """What a column has."""
    place, shape = program.shards.get(row.name), row.value.shape_at(1)
    if place is None:
        return whole(shape)
    units = apportion(place.units, stage.weights or (1,) * stage.tensor)
    return shard(shape, place, sum(units[:column]), units[column])


Shared = dict[str, tuple[tuple[Holding, ...], int]]
"""Parts of what is shared out, and the level, by parameter."""


def _shared(program: Program, graph: Graph, frozen: set[str]) -> Shared:
    rows = {parameter.name: parameter for parameter in graph.parameters}
    found: Shared = {}
    for each in gradient_sums(program):
        names = each.shared_out(frozen)
        spec = program.stages[each.stages[0]]
        column = spec.place(each.ranks[0])[1]
        own = {name: _elements(program, rows[name], spec, column) for name in names}
        for name, held in _parts(each, own, rows) if names else ():
            before, _ = found.get(name, ((), 0))
            found[name] = ((*before, *held), each.zero)
    return found


def _parts(
    each: GradientSum, own: Mapping[str, Elements], rows: Mapping[str, Parameter]
) -> Iterator[tuple[str, tuple[Holding, ...]]]:
    """Equal parts of the flat rows, in the order of the ranks' numbers: as ``runtime.flat`` lays them."""
    ranks = sorted(each.ranks)
    extents = {name: _extent(rows[name], elements.count) for name, elements in own.items()}
    for name, taken in parts(extents, BUCKET_BYTES, len(ranks)).items():
        held = [(rank, first, end) for rank, (first, end) in zip(ranks, taken, strict=True) if first < end]
        yield name, tuple(Holding(own[name].part(first, end), (rank,)) for rank, first, end in held)


def _extent(parameter: Parameter, elements: int) -> Extent:
    dtype = parameter.value.dtype
    return Extent(dtype, parameter.trainable, elements, elements * DTYPE_BYTES[dtype])
