"""Seconds and bytes of layers, from their profile: what planner and simulator ask of a table of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

import numpy as np

from autopart.blocks.blocks import Blocks
from autopart.blocks.walk import Most
from autopart.ir.graph import Op, Parameter
from autopart.layers.profile import Degree, Layer, LayerProfile
from autopart.pricing.held import BlockBytes
from autopart.pricing.table import Array, BlockTable, Kept, OpsSeconds
from cost_models.compute import Demand
from cost_models.hardware import DeviceType, Kind
from cost_models.price import Price

INFINITE = float("inf")
GRADIENTS_ALIVE = 2  # of a layer's output while its backward runs: its own, and that of the input


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerTable(BlockTable):
    """Prices of one of the ``tensor`` devices that share each layer; ``blocks`` have its part of the parameters.

    Seconds are those of the profile, collectives between these devices among them. ``types`` are the devices as they were
    measured: of one that somebody supposes to be faster all seconds are shorter alike. Infinite where nothing was measured.
    """

    profile: LayerProfile
    types: Mapping[str, DeviceType]
    tensor: int = 1

    def on(self, tensor: int) -> LayerTable:
        """The same of one of so many devices, each with an equal part of every parameter."""
        assert self.tensor == 1, "a layer is divided once"
        return replace(self, blocks=_divided(self.blocks, tensor), tensor=tensor, _memory={}) if tensor > 1 else self

    def measured(self, device: DeviceType) -> bool:
        """Whether every layer was, on so many devices of this type."""
        return Degree(device.name, self.tensor) in self.profile.degrees

    def demand(self, op: Op, kind: Kind, rows: int) -> Demand | None:  # noqa: ARG002
        return None

    def price(self, op: Op, device: DeviceType, rows: int) -> Price:
        curve = self._layers[op.module].curves.get(Degree(device.name, self.tensor))
        if curve is None:
            return Price(INFINITE, INFINITE, "measured")
        forward, backward = curve.at(rows)
        return Price(forward / self._speed(device), backward / self._speed(device), curve.model(rows))

    def again_s(self, device: DeviceType, rows: int) -> Array:
        return self.seconds(device, rows).forward

    def _find_ops_s(self, device: DeviceType, rows: int) -> OpsSeconds:
        each = [self.op_s(op, device, rows) for op in self._works(device.kind)[1].ops]
        return [forward for forward, _ in each], [backward for _, backward in each]

    def update_s(self, device: DeviceType, trained: float, start: int = 0, stop: int | None = None) -> float:
        last = self.count if stop is None else stop
        every = self.trained_elements(start, last)
        return float(self._updates_s(device)[start:last].sum()) * (trained / every if every else 1.0)

    def update_parts(self, device: DeviceType, trained: Array) -> Array:  # noqa: ARG002
        seconds = self._updates_s(device)
        found: Array = seconds / (float(seconds.sum()) or 1.0)
        return found

    @cached_property
    def _layers(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.profile.layers}

    def _speed(self, device: DeviceType) -> float:
        return device.memory_bandwidth_bytes_per_s / self.types[device.name].memory_bandwidth_bytes_per_s

    def _updates_s(self, device: DeviceType) -> Array:
        """[n] of all elements."""
        degree = Degree(device.name, self.tensor)
        curves = [self._layers[block.name].curves.get(degree) for block in self.blocks.blocks]
        return np.array([curve.update_s if curve else INFINITE for curve in curves]) / self._speed(device)

    def block_bytes(self, index: int, kind: Kind, rows: int, recompute: bool, *, given: bool) -> BlockBytes:  # noqa: ARG002
        """What was measured of a layer. What runs holds the gradients of its output beside it, and gathers its parameter's."""
        saved, inputs, working = self._layer_bytes(index, rows)
        needs = saved + working if recompute else working
        return BlockBytes(inputs if recompute else saved, needs, Most(needs, needs))

    def _kept(self, kind: Kind, rows: int, recompute: bool) -> Kept:  # noqa: ARG002
        saved, inputs, working = self._spread(lambda index: self._layer_bytes(index, rows))
        sent = self.cut(rows).values
        return Kept(inputs, saved + working, sent) if recompute else Kept(saved, working, sent)

    def _layer_bytes(self, index: int, rows: int) -> tuple[float, float, float]:
        """Kept for the backward, read from before, needed while it runs."""
        (op,) = self.blocks.blocks[index].ops
        saved = (self._layers[self.blocks.blocks[index].name].kept_bytes(self.tensor) or 0.0) * rows
        graph, made = self.blocks.sharded.graph, self._ops[op]
        inputs = sum(graph.values[name].nbytes(rows) for name in made.inputs if name in graph.producer)
        weights = sum(parameter.value.nbytes(1) for parameter in self.parameters(index, index + 1))
        return saved, inputs, GRADIENTS_ALIVE * made.outputs[0].nbytes(rows) + weights


def _divided(blocks: Blocks, tensor: int) -> Blocks:
    graph = blocks.sharded.graph

    def part(parameter: Parameter) -> Parameter:
        return replace(parameter, value=replace(parameter.value, shape=(ceil(parameter.value.numel(1) / tensor),)))

    sharded = replace(blocks.sharded, graph=replace(graph, parameters=tuple(map(part, graph.parameters))))
    return replace(blocks, sharded=sharded)
