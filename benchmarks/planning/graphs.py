"""Profiled graphs of usual families with made-up but plausible numbers, in the form that ``autopart plan graph.json`` reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

CPU_SLOWER = 10.0  # than an accelerator, on average
BACKWARD = 2.0  # times the forward


@dataclass
class Graph:
    """A graph that grows op by op."""

    rng: random.Random
    ops: list[dict[str, Any]] = field(default_factory=list)
    edges: list[list[str]] = field(default_factory=list)

    def op(self, producers: Sequence[str], ms: float, output_mb: float, weights_mb: float = 0.0) -> str:
        """An op on the accelerator for about so many milliseconds; memory holds its weights and its output."""
        name, noise = f"n{len(self.ops)}", self.rng.uniform(0.7, 1.3)
        seconds = 1e-3 * ms * noise
        self.ops.append(
            {
                "name": name,
                "time_s": {"accelerator": seconds, "cpu": seconds * CPU_SLOWER * self.rng.uniform(0.6, 1.6)},
                "memory_bytes": round(1e6 * (weights_mb + output_mb)),
                "output_bytes": round(1e6 * output_mb),
            }
        )
        self.edges += [[producer, name] for producer in producers]
        return name

    def chain(self, start: Sequence[str], costs: Sequence[tuple[float, float, float]]) -> str:
        """Ops one after the other: (milliseconds, output MB, weights MB) of each."""
        last = list(start)
        for ms, output, weights in costs:
            last = [self.op(last, ms, output, weights)]
        return last[0]

    def profile(self, *, training: bool = False) -> dict[str, Any]:
        """The file's contents; for training with a mirrored backward op for every op, on the same device."""
        ops, edges = list(self.ops), list(self.edges)
        if training:
            ops, edges = _mirrored(ops, edges)
        return {"format": 1, "kind": "profile", "ops": ops, "edges": edges}


def _mirrored(ops: list[dict[str, Any]], edges: list[list[str]]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    first = {op["name"]: {**op, "colocate": op["name"]} for op in ops}
    second = [
        {
            **op,
            "name": f"{op['name']}_grad",
            "time_s": {kind: BACKWARD * seconds for kind, seconds in op["time_s"].items()},
            "memory_bytes": 0,
            "backward": True,
            "colocate": op["name"],
        }
        for op in reversed(ops)
    ]
    producer = {target: source for source, target in edges}
    size = {op["name"]: op["output_bytes"] for op in ops}
    for op in second:  # a gradient is as large as what it is of: the input of the mirrored op
        op["output_bytes"] = size[producer.get(op["colocate"], op["colocate"])]
    back = [[f"{target}_grad", f"{source}_grad"] for source, target in edges]
    across = [[name, f"{name}_grad"] for name in first]
    return [*first.values(), *second], [*edges, *back, *across]


def inception(modules: int, seed: int = 0) -> Graph:
    """Modules of four branches of unlike length between joins: 21 ops each."""
    graph = Graph(random.Random(seed))
    last = graph.chain([], [(0.6, 8, 0.1), (0.9, 8, 0.2)])
    for _ in range(modules):
        ends = [graph.chain([last], _convolution(0.3, 1.5, 0.4))]
        ends += [graph.chain([last], _convolution(0.25, 1, 0.3) + _convolution(0.5, 1.5, 1.2))]
        ends += [graph.chain([last], [(0.2, 1, 0.3), (0.03, 1, 0)] + [(0.45, 1.2, 1), (0.04, 1.2, 0)] * 2)]
        ends += [graph.chain([last], [(0.1, 4, 0), (0.2, 1, 0.3), (0.04, 1, 0), (0.03, 1, 0), (0.02, 1, 0)])]
        last = graph.op(ends, 0.08, 5)
    graph.chain([last], [(0.1, 0.1, 0), (0.2, 0.01, 8)])
    return graph


def _convolution(ms: float, output_mb: float, weights_mb: float) -> list[tuple[float, float, float]]:
    """With its norm and its activation."""
    return [(ms, output_mb, weights_mb), (0.04, output_mb, 0), (0.03, output_mb, 0)]


def two_tower(depth: int, seed: int = 0) -> Graph:
    """Two towers of unlike width that meet at the end, as in retrieval models."""
    graph = Graph(random.Random(seed))
    ends = []
    for size in (1.0, 0.6):
        last = graph.op([], 0.5 * size, 2 * size, 200 * size)
        for _ in range(depth):
            wide = graph.chain(
                [last], [(0.8 * size, 2 * size, 8 * size), (0.1 * size, 2 * size, 0), (0.7 * size, size, 8 * size)]
            )
            last = graph.op([wide, last], 0.1 * size, size)
        ends.append(last)
    graph.chain(ends, [(0.2, 0.1, 0.5), (0.1, 0.01, 0)])
    return graph


def transformer(layers: int, seed: int = 0, heads: int = 4) -> Graph:
    """A BERT at the level of ops: 25 + 4 x heads ops a layer; a mask that every layer reads."""
    graph = Graph(random.Random(seed))
    mask = graph.chain([], [(0.01, 0.1, 0), (0.01, 0.1, 0)])
    words, places = graph.op([], 0.2, 1.5, 90), graph.op([], 0.05, 1.5, 2)
    last = graph.chain([words, places], [(0.05, 1.5, 0), (0.08, 1.5, 0.01), (0.05, 1.5, 0)])
    for _ in range(layers):
        mixed = _attention(graph, last, mask, heads)
        last = graph.chain([mixed, last], [(0.04, 1.5, 0), (0.08, 1.5, 0.01)])
        inner = graph.chain(
            [last], [(1.2, 6, 9.4), (0.06, 6, 0.01), (0.2, 6, 0), (1.2, 1.5, 9.4), (0.04, 1.5, 0), (0.04, 1.5, 0)]
        )
        last = graph.chain([inner, last], [(0.04, 1.5, 0), (0.08, 1.5, 0.01)])
    graph.chain([last], [(0.3, 1.5, 2), (0.05, 1.5, 0), (2.5, 20, 90), (0.5, 0.01, 0)])
    return graph


def _attention(graph: Graph, last: str, mask: str, heads: int) -> str:
    query, key, value = (graph.chain([last], [(0.35, 1.5, 2.4), (0.03, 1.5, 0), (0.03, 1.5, 0)]) for _ in range(3))
    outputs = []
    for _ in range(heads):
        scores = graph.op([query, key], 0.12, 2.0 / heads)
        weights = graph.chain([scores, mask], [(0.03, 2.0 / heads, 0), (0.06, 2.0 / heads, 0)])
        outputs.append(graph.op([weights, value], 0.12, 1.5 / heads))
    return graph.chain(outputs, [(0.03, 1.5, 0), (0.35, 1.5, 2.4), (0.03, 1.5, 0), (0.03, 1.5, 0)])


def unet(levels: int, convolutions: int, seed: int = 0) -> Graph:
    """Down and up again with a skip at every level; each convolution has a norm, an activation and a short skip."""
    graph = Graph(random.Random(seed))
    last, skips = graph.op([], 0.3, 8, 0.1), []

    def level(start: str, depth: int) -> str:
        size, last = 8 / 2**depth, start
        for _ in range(convolutions):
            inner = graph.chain([last], [(0.8, size, 0.5 * 4**depth / 8), (0.08, size, 0), (0.05, size, 0)])
            last = graph.op([inner, last], 0.05, size)
        return last

    for depth in range(levels):
        last = level(last, depth)
        skips.append(last)
        last = graph.op([last], 0.2, 4 / 2**depth, 0.2)
    last = level(last, levels)
    for depth in reversed(range(levels)):
        last = graph.op([last], 0.2, 8 / 2**depth, 0.2)
        last = graph.op([last, skips[depth]], 0.05, 16 / 2**depth)
        last = level(last, depth)
    graph.op([last], 0.2, 1, 0.1)
    return graph


def grid(layers: int, steps: int, seed: int = 0) -> Graph:
    """A recurrent translator as a grid: layers of cells, each cell reads the one before and the one below, with residuals."""
    graph = Graph(random.Random(seed))
    below = [graph.op([], 0.05, 0.25, 10.0 / steps) for _ in range(steps)]
    under = below
    for layer in range(layers):
        row: list[str] = []
        for step in range(steps):
            inputs = [below[step], *row[-1:], *([under[step]] if layer > 1 else [])]
            row.append(graph.op(inputs, 0.6, 0.25, 16.0 / steps))
        under, below = below, row
    graph.op(below, 2.0, 4, 60)
    return graph


FAMILIES: dict[str, tuple[Callable[[], Graph], bool]] = {
    "inception, 300 ops": (lambda: inception(14), False),
    "two towers, 300 ops": (lambda: two_tower(37), False),
    "U-Net, 300 ops": (lambda: unet(4, 8), False),
    "transformer, 300 ops": (lambda: transformer(7), False),
    "recurrent grid, 100 ops": (lambda: grid(8, 12), False),
    "inception, 900 + 900 ops": (lambda: inception(43), True),
    "two towers, 800 + 800 ops": (lambda: two_tower(100), True),
    "transformer 24, 1000 + 1000 ops": (lambda: transformer(24), True),
    "transformer 48, 2000 ops": (lambda: transformer(48), False),
    "U-Net, 1000 + 1000 ops": (lambda: unet(5, 22), True),
    "recurrent grid, 500 + 500 ops": (lambda: grid(8, 60), True),
}
