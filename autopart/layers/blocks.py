"""A layer profile as blocks: a graph of one op a layer, so that it is lowered, simulated and drawn as a traced model is.

Each layer reads one parameter and the outputs of other layers, a first one the samples. Its output and the gradient that comes
back for it have the profile's bytes; its parameter has as many elements as the profile's bytes hold in the precision of the plan.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import ceil

from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.cuts import FLOPS_PER_S
from autopart.ir.graph import Graph, Input, Op, Parameter, Ref, Size, Value
from autopart.layers.profile import Layer, LayerProfile
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from cost_models.memory import PRECISIONS

KIND = "profile.layer"
SAMPLES = Value("samples", (Size("b"),), "int64")


def layer_blocks(profile: LayerProfile, precision: str) -> Blocks:
    """A block a layer; of one kind are those that cost and move the same."""
    parameters = tuple(_parameter(layer, precision) for layer in profile.layers)
    ops = tuple(_op(profile, index, parameter) for index, parameter in enumerate(parameters))
    loss = ops[-1].outputs[0].name
    graph = Graph("layers", (Input(SAMPLES, (0,), 0),), parameters, (), ops, loss)
    placements: dict[str, Placement] = {name: Shard(0) for name in graph.values}
    placements |= dict.fromkeys(graph.parameter_of, Replicate())
    sharded = ShardedGraph(graph, {**placements, loss: Partial()})
    kinds: dict[Hashable, int] = {}
    blocks = tuple(
        Block(layer.name, kinds.setdefault(_kind(profile, index), len(kinds)), (ops[index].name,), layer.name)
        for index, layer in enumerate(profile.layers)
    )
    return Blocks(sharded, blocks, ())


def _parameter(layer: Layer, precision: str) -> Parameter:
    elements = ceil(layer.parameter_bytes / PRECISIONS[precision].parameter_bytes)
    return Parameter(f"{layer.name}.parameters", Value(f"{layer.name}:parameters", (elements,), "float32"))


def _op(profile: LayerProfile, index: int, parameter: Parameter) -> Op:
    layer = profile.layers[index]
    inputs = [Ref(_output(profile.layers[read])) for read in profile.reads[index]] or [Ref(SAMPLES.name)]
    return Op(
        name=f"{layer.name}:layer",
        kind=KIND,
        args=(*inputs, Ref(parameter.value.name)),
        outputs=(_value(layer, last=index == len(profile.layers) - 1),),
        kwargs=(("flops", int(_seconds(profile, layer) * FLOPS_PER_S)),),
        module=layer.name,
    )


def _output(layer: Layer) -> str:
    return f"{layer.name}:output"


def _value(layer: Layer, *, last: bool) -> Value:
    """Of a dtype that gradients go through, and whose size divides that of the output."""
    if last:
        return Value(_output(layer), (), "float32")
    if layer.output_bytes % 4:
        return Value(_output(layer), (Size("b"), ceil(layer.output_bytes / 2)), "bfloat16")
    return Value(_output(layer), (Size("b"), layer.output_bytes // 4), "float32")


def _seconds(profile: LayerProfile, layer: Layer) -> float:
    """To weigh layers against each other: where the first of the profile was measured first, if this one was too."""
    first = profile.layers[0].rows[0]
    curves = {(row.type, row.tensor): row for row in layer.rows}
    own = curves.get((first.type, first.tensor), layer.rows[0])
    return (own.forward_s + own.backward_s) / own.batch


def _kind(profile: LayerProfile, index: int) -> Hashable:
    layer = profile.layers[index]
    kept = tuple(sorted(k.items())) if isinstance(k := layer.activation_bytes, Mapping) else k
    read = tuple(profile.layers[read].output_bytes for read in profile.reads[index])
    last = index == len(profile.layers) - 1
    return layer.parameter_bytes, kept, layer.output_bytes, frozenset(layer.rows), read, last
