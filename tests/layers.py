"""Layer profiles for tests: small ones by hand, and a traced model's own prices written down as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

from autopart.blocks.blocks import Block, Blocks
from autopart.cluster.cluster import Cluster, Group
from autopart.ir.graph import Ref, Size
from autopart.layers.index import LayerIndex, layer_front, make_layer_index
from autopart.layers.profile import LayerProfile, parse_layers
from autopart.planner.meshes import Index
from autopart.plans import ModelRef, Settings
from autopart.pricing.table import Seconds
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Replicate, Shard
from cost_models.hardware import DeviceType, Link
from tests.graphs import Builder

FAST = DeviceType("fast", 2**44, 1e9, {"float32": 4e9}, 0.0)
SLOW = DeviceType("slow", 2**44, 5e8, {"float32": 1e9}, 0.0)


def row(kind: str, batch: int, forward_s: float, backward_s: float, update_s: float = 0.0, tensor: int = 1) -> dict[str, Any]:
    times = {"forward_s": forward_s, "backward_s": backward_s, "update_s": update_s}
    return {"type": kind, "tensor": tensor, "batch": batch, **times}


def layer(name: str, *table: dict[str, Any], parameters: float = 4e6, kept: Any = 1000, output: float = 400) -> dict[str, Any]:
    sizes = {"parameter_bytes": parameters, "activation_bytes": kept, "output_bytes": output}
    return {"name": name, **sizes, "table": list(table)}


def profile_of(layers: Iterable[dict[str, Any]], edges: Any = None) -> LayerProfile:
    raw = {"format": 1, "kind": "profile", "ops": list(layers)}
    return parse_layers(json.dumps(raw if edges is None else {**raw, "edges": edges}, indent=1), "layers.json")


def index_of(profile: LayerProfile, cluster: Cluster, batch_size: int, settings: Settings | None = None) -> LayerIndex:
    asked = settings or Settings()
    return make_layer_index(layer_front(profile, asked), cluster, batch_size, asked, ModelRef(profile.path))


# A traced model's own prices


def matrices(rng: Random) -> Blocks:
    """A chain of matrices, some of them alike, each a block; the last also sums the loss."""
    b = Builder()
    widths = [rng.choice((4, 8, 16, 64)) for _ in range(rng.randint(3, 7))]
    x = b.input("x", (Size("b"), widths[0]))
    for number, width in enumerate([*widths[1:], widths[-1]]):
        weight = b.parameter(f"fc{number}.weight", (width, b.width(x)))
        x = b.op("aten.linear.default", Ref(x), Ref(weight), shape=(Size("b"), width), module=f"fc{number}")
    b.op("aten.sum.default", Ref(x), shape=(), module="loss")
    graph = b.graph(b.ops[-1].outputs[0].name)
    names = [op.name for op in graph.ops]
    parts = [[name] for name in names[:-2]] + [names[-2:]]
    blocks = tuple(Block(f"fc{i}", i, tuple(part), f"fc{i}") for i, part in enumerate(parts))
    placements = {name: Replicate() if name in graph.parameter_of else Shard(0) for name in graph.values}
    placements[graph.loss] = Partial()
    return Blocks(ShardedGraph(graph, placements), blocks, ())


def two_types(rng: Random, most: int = 6) -> Cluster:
    """Nodes of a fast type and nodes of a slow one, with links that matter."""
    groups = []
    for name, device in (("f", FAST), ("s", SLOW)):
        count, per_node = rng.choice(((1, 1), (1, 2), (2, 1), (1, 3)))
        inside, network = (Link(10 ** rng.uniform(-7, -5), 10 ** rng.uniform(6, 10)) for _ in range(2))
        groups.append(Group(name, count, device, min(per_node, most), inside, network))
    return Cluster("two.yaml", "", tuple(groups))


def written_down(index: Index, seconds: Mapping[int, Mapping[str, Mapping[int, Seconds]]]) -> LayerProfile:
    """The blocks of a traced model as layers; ``seconds`` by tensor degree, type and samples."""
    table, devices = index.table, {group.device.name: group.device for group in index.cluster.groups}
    kept = table.kept(FAST, 1, recompute=False).inflight
    cut = table.cut(1).values
    found = []
    for number, block in enumerate(table.blocks.blocks):
        update = {name: table.update_s(device, float(table.trained[number])) for name, device in devices.items()}
        rows = [
            row(name, samples, float(each.forward[number]), float(each.backward[number]), update[name] / tensor, tensor)
            for tensor, by_type in seconds.items()
            for name, by_samples in by_type.items()
            for samples, each in by_samples.items()
        ]
        size = float(table.trained[number]) * 4
        found.append(layer(block.name, *rows, parameters=size, kept=float(kept[number]), output=float(cut[number + 1])))
    return profile_of(found)
