"""Where a stage's forward lets go of a local: after its last use, where no backward needs it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from autopart.blocks.layout import layouts
from autopart.blocks.work import kept_storages
from autopart.codegen.functions import Unit
from autopart.ir.graph import Graph, Size


def ends(
    parts: Sequence[Sequence[Unit]], looped: Collection[int], kept: Collection[str], graph: Graph
) -> Mapping[int, list[str]]:
    """By part of a forward (one block, or the rounds of a loop) the values that nobody reads after it.

    Left out are what autograd keeps anyway, what has no samples (where the model has a batch), what parts in ``looped`` make
    (their variables are taken again and again), ``kept`` values, and all after the last part.
    """
    place, found = layouts(graph), dict[int, list[str]]()
    members: dict[str, list[str]] = {}
    until: dict[str, int] = {}
    made: dict[str, int] = {}
    for index, part in enumerate(parts):
        for unit in part:
            for name in unit.made:
                members.setdefault(place[name].storage, []).append(name)
                made[name] = index
            for name in (*unit.made, *(name for op in unit.ops for name in op.inputs)):
                if name in place:
                    until[place[name].storage] = index
    for storage, names in members.items():
        mine = storage in made and storage not in kept_storages(graph) and _has_samples(graph, storage)
        if mine and until[storage] < len(parts) - 1 and not any(name in kept or made[name] in looped for name in names):
            found.setdefault(until[storage], []).extend(names)
    return found


def _has_samples(graph: Graph, name: str) -> bool:
    value = graph.values[name]
    batchless = all(each.batch_dim is None for each in graph.inputs)
    return value.floating and (batchless or any(isinstance(size, Size) for size in value.shape))
