"""The planner's index for a layer profile: tensor degrees are those that were measured, and a layer is never looked into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster, same_node
from autopart.errors import PlanError, ProfileError
from autopart.layers.blocks import layer_blocks
from autopart.layers.profile import Degree, Layer, LayerProfile
from autopart.layers.table import LayerTable
from autopart.planner.meshes import Index, Mesh, Rewritten, Team
from autopart.planner.problem import Part
from autopart.plans import ModelRef, Plan, Settings, Stage
from autopart.pricing.table import BlockTable
from autopart.sharding.placement import Shard
from autopart.tensor.localize import Local

MOST_NAMED = 4  # layers in a note


@dataclass(frozen=True, eq=False)
class LayerIndex(Index):
    """What prices plans of layers on one device and on as many columns as they were measured on."""

    lays_out: ClassVar[bool] = False

    @property
    def layers(self) -> LayerTable:
        assert isinstance(self.table, LayerTable), "a layer profile has a table of layers"
        return self.table

    def columns(self, tensor: int) -> Mesh:
        """All layers on so many devices each."""
        if tensor == 1:
            return self.whole

        def found() -> Mesh:
            table = self.layers.on(tensor)
            return Mesh(tensor, table, {}, table.trained)

        return self.table.remembered(("columns", tensor), found)

    def meshes(self, group: int, tensor: int) -> tuple[Mesh, ...]:
        degree = Degree(self.cluster.groups[group].device.name, tensor)
        return (self.columns(tensor),) if degree in self.layers.profile.degrees else ()

    def joined(self, team: Team) -> tuple[Mesh, ...]:  # noqa: ARG002
        """Nobody measured columns of several types."""
        return ()

    def meshes_of(self, parts: Sequence[Part]) -> tuple[Mesh, ...]:
        """Every group must have been measured."""
        if any(part.weights or not self.meshes(part.group, part.tensor) for part in parts):
            return ()
        return (self.columns(parts[0].tensor),)

    def mesh_of(self, stage: Stage) -> Mesh:
        return self.columns(stage.tensor)

    def planned_mesh(self, stage: Stage) -> Mesh | None:
        return self.columns(stage.tensor)

    def tables_of(self, plan: Plan) -> Rewritten:
        split = {name for stage in plan.stages if stage.tensor > 1 for name in stage.blocks}
        graph = self.blocks.sharded.graph
        shards = {
            parameter.name: Shard(0, units=max(1, parameter.value.numel(1)))
            for parameter in graph.parameters
            if parameter.name.removesuffix(".parameters") in split
        }
        return Rewritten(Local(self.blocks, plan, shards), lambda stage, _column: self.columns(stage.tensor).table)

    def undivided(self, tensor: int) -> BlockTable:
        return self.columns(tensor).table

    def notes(self, plan: Plan) -> tuple[str, ...]:
        """Where seconds are extrapolated, and which devices could not be used."""
        return tuple(dict.fromkeys([*self._extrapolated(plan), *self._unmeasured()]))

    def _extrapolated(self, plan: Plan) -> Iterator[str]:
        for stage in plan.stages:
            layers = [layer for layer in self.layers.profile.layers if layer.name in stage.blocks]
            for replica, samples in enumerate(stage.shares):
                degree = Degree(self.cluster.device(stage.replica(replica)[0]).name, stage.tensor)
                beyond = [layer.name for layer in layers if not layer.curves[degree].covers(samples)]
                if beyond:
                    which = ", ".join(beyond[:MOST_NAMED]) + (f", ... ({len(beyond)} layers)" if len(beyond) > MOST_NAMED else "")
                    s = "s" * (samples != 1)
                    yield f"extrapolated: {_said(degree)} with {samples} sample{s}, outside of what was measured of {which}"

    def _unmeasured(self) -> Iterator[str]:
        profile = self.layers.profile
        for name in dict.fromkeys(group.device.name for group in self.cluster.groups):
            if not any(degree.type == name for degree in profile.degrees):
                yield f"can't be used: {name}, {lacking(profile, name)}"


def lacking(profile: LayerProfile, device: str, tensor: int | None = None) -> str:
    """Why a type, or so many devices of it, can't be used."""

    def has(layer: Layer) -> bool:
        return any(degree.type == device and tensor in (None, degree.tensor) for degree in layer.curves)

    without = [layer.name for layer in profile.layers if not has(layer)]
    if not without:
        return "of which no tensor degree was measured for all layers"
    if len(without) == len(profile.layers):
        return "of which no layer has a row"
    return f"of which {', '.join(without[:MOST_NAMED])} ha{'s' if len(without) == 1 else 've'} no row"


def _said(degree: Degree) -> str:
    return f"{degree.type}, tensor {degree.tensor}," if degree.tensor > 1 else degree.type


@dataclass(frozen=True)
class LayerFront:
    """A layer profile, understood: its blocks in the order of the file, or as a plan has them."""

    profile: LayerProfile
    blocks: Blocks

    @property
    def model(self) -> ModelRef:
        """As plans name it."""
        scalars = sum(parameter.value.numel(1) for parameter in self.blocks.sharded.graph.parameters)
        return ModelRef(self.profile.path, digest=self.profile.digest, blocks=len(self.profile.layers), parameters=scalars)


def layer_front(profile: LayerProfile, settings: Settings) -> LayerFront:
    return LayerFront(profile, layer_blocks(profile, settings.precision))


def make_layer_index(front: LayerFront, cluster: Cluster, batch_size: int, settings: Settings, model: ModelRef) -> LayerIndex:
    """What is to be planned; ProfileError where no device of the cluster was measured."""
    types = {group.device.name: group.device for group in cluster.groups}
    measured = dict.fromkeys(degree.type for degree in sorted(front.profile.degrees))
    if not any(name in types for name in measured):
        raise ProfileError(
            f"no device of {cluster.path} can be used: all layers have rows for {', '.join(measured) or 'no type'}, "
            f"the cluster has {', '.join(types)}",
            where=front.profile.path,
            remedy="Measure the layers on a type of the cluster, or name types alike in both files.",
        )
    table = LayerTable(front.blocks, settings.precision, settings.optimizer, batch_size, profile=front.profile, types=types)
    return LayerIndex(table, cluster, model, settings)


def check_layers(plan: Plan, profile: LayerProfile, cluster: Cluster) -> None:
    """Raise PlanError where a stage is what nobody measured."""
    for stage in plan.stages:
        where = f"stage {stage.index}"
        if stage.layouts or stage.tensor_shares:
            what = "layouts" if stage.layouts else "tensor_shares"
            raise PlanError(f"{what}, but layers of a profile are split evenly", where=where, remedy=f"Leave {what} out.")
        for replica in map(stage.replica, range(stage.data)):
            names = {cluster.device(rank).name for rank in replica}
            if len(names) > 1 or not same_node(cluster, replica):
                place = "types" if len(names) > 1 else "nodes"
                raise PlanError(
                    f"ranks {', '.join(map(str, replica))} share layers, but are of several {place}: that was not measured",
                    where=where,
                    remedy="Take the columns of a replica from one node.",
                )
            (name,) = names
            if Degree(name, stage.tensor) not in profile.degrees:
                possible = sorted(degree.tensor for degree in profile.degrees if degree.type == name)
                known = f"Take tensor {' or '.join(map(str, possible))} there." if possible else "Take other ranks."
                raise PlanError(
                    f"rank {replica[0]} can't run it: {name} with tensor {stage.tensor}, {lacking(profile, name, stage.tensor)}",
                    where=where,
                    remedy=known,
                )
