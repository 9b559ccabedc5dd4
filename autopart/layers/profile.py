"""layers.json -> LayerProfile: layers with tables of measured times. Every mistake names file, line, layer and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from autopart import jsonfile
from autopart.errors import ProfileError
from autopart.layers.curve import Curve
from autopart.profiled.profile import KIND, checked, edges_of


class Degree(NamedTuple):
    """What rows were measured on: a type of device, and how many of them share the layer."""

    type: str
    tensor: int


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: seconds of a microbatch of ``batch`` samples, and of the optimizer once a step."""

    type: str
    batch: int
    forward_s: float
    backward_s: float
    update_s: float
    tensor: int = 1


@dataclass(frozen=True)
class Layer:
    """Bytes of parameters are of the whole layer, of activations and output of one sample. ``activation_bytes`` by tensor degree
    are those of one of the devices; a number is shared out evenly among them.
    """

    name: str
    parameter_bytes: float
    activation_bytes: float | Mapping[int, float]
    output_bytes: int
    rows: tuple[Row, ...]

    @cached_property
    def curves(self) -> Mapping[Degree, Curve]:
        """Seconds over the microbatch size, by what was measured."""
        found: dict[Degree, list[Row]] = {}
        for row in self.rows:
            found.setdefault(Degree(row.type, row.tensor), []).append(row)
        return {degree: _curve(rows) for degree, rows in found.items() if self.kept_bytes(degree.tensor) is not None}

    def kept_bytes(self, tensor: int) -> float | None:
        """Activations of a sample on one of so many devices; None where the profile does not say."""
        if isinstance(self.activation_bytes, Mapping):
            return self.activation_bytes.get(tensor)
        return self.activation_bytes / tensor


def _curve(rows: Sequence[Row]) -> Curve:
    rows = sorted(rows, key=lambda row: row.batch)
    return Curve(
        batches=tuple(row.batch for row in rows),
        forward_s=tuple(row.forward_s for row in rows),
        backward_s=tuple(row.backward_s for row in rows),
        update_s=sum(row.update_s for row in rows) / len(rows),
    )


@dataclass(frozen=True)
class LayerProfile:
    """Layers in a topological order, the last makes the loss; ``reads`` has for each the layers whose output it reads."""

    path: str
    digest: str
    layers: tuple[Layer, ...]
    reads: tuple[tuple[int, ...], ...]

    @cached_property
    def degrees(self) -> frozenset[Degree]:
        """What every layer was measured on: the types and tensor degrees that can be used."""
        return frozenset.intersection(*(frozenset(layer.curves) for layer in self.layers))


def load_layers(path: str | Path) -> LayerProfile:
    """Read and check a layer profile."""
    return parse_layers(jsonfile.read_text(path, KIND), str(path))


def parse_layers(text: str, path: str) -> LayerProfile:
    """A LayerProfile from the text of a file; ``path`` is for messages and for the plan."""
    raw = checked(text, path)
    for index, op in enumerate(raw["ops"]):
        _refuse_repeated(index, op, text, path)
    layers = tuple(map(_layer, raw["ops"]))
    names = [layer.name for layer in layers]
    edges = edges_of(names, raw.get("edges", list(pairwise(names))), text, path)
    _refuse_ends(names, edges, path)
    order = _order(len(layers), edges)
    place = {index: position for position, index in enumerate(order)}
    reads: list[list[int]] = [[] for _ in layers]
    for source, target in edges:
        reads[place[target]].append(place[source])
    ordered = tuple(layers[index] for index in order)
    return LayerProfile(path, _digest(ordered, reads), ordered, tuple(tuple(sorted(each)) for each in reads))


def _layer(raw: Mapping[str, Any]) -> Layer:
    kept = raw["activation_bytes"]
    if isinstance(kept, dict):
        kept = {int(tensor): nbytes for tensor, nbytes in kept.items()}
    rows = tuple(Row(**row) for row in raw["table"])
    return Layer(raw["name"], raw["parameter_bytes"], kept, ceil(raw["output_bytes"]), rows)


def _refuse_repeated(index: int, raw: Mapping[str, Any], text: str, path: str) -> None:
    """Two measurements of one thing."""
    first: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(raw["table"]):
        what = row["type"], row.get("tensor", 1), row["batch"]
        if first.setdefault(what, number) != number:
            raise ProfileError(
                f"ops[{index}] ({raw['name']}).table[{number}]: table[{first[what]}] is of {what[0]}, tensor {what[1]}, "
                f"batch {what[2]} too",
                where=f"{path}:{jsonfile.line_of(text, ['ops', index, 'table', number])}",
                remedy="Keep one row for each type, tensor degree and batch.",
            )


def _refuse_ends(names: Sequence[str], edges: Sequence[tuple[int, int]], path: str) -> None:
    """A training step ends in one loss."""
    read = {source for source, _ in edges}
    ends = [name for index, name in enumerate(names) if index not in read]
    if len(ends) > 1:
        raise ProfileError(
            f"edges: nobody reads {', '.join(ends[:4])}{', ...' if len(ends) > 4 else ''}, but one layer alone can make the loss",
            where=path,
            remedy="Add edges to the layer of the loss; or leave `edges` out: layers then follow each other.",
        )


def _order(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Layers after those that they read, else in the order of the file."""
    waits = [0] * count
    readers: list[list[int]] = [[] for _ in range(count)]
    for source, target in edges:
        waits[target] += 1
        readers[source].append(target)
    ready = [index for index in range(count) if not waits[index]]
    heapify(ready)
    found = []
    while ready:
        found.append(heappop(ready))
        for reader in readers[found[-1]]:
            waits[reader] -= 1
            if not waits[reader]:
                heappush(ready, reader)
    return found


def _digest(layers: Sequence[Layer], reads: Sequence[Sequence[int]]) -> str:
    """Of what the file means; layout and order of keys and rows don't count."""
    rows = [sorted(json.dumps(asdict(row), sort_keys=True) for row in layer.rows) for layer in layers]
    kept = [sorted(k.items()) if isinstance(k := layer.activation_bytes, Mapping) else k for layer in layers]
    sizes = [[layer.name, layer.parameter_bytes, layer.output_bytes] for layer in layers]
    return hashlib.sha256(json.dumps([sizes, kept, rows, [sorted(each) for each in reads]]).encode()).hexdigest()[:16]
