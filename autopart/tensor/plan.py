"""The layouts of a concrete plan: decided where the plan leaves them open, then the graph rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from autopart.cluster.cluster import Cluster, topology
from autopart.ir.analysis import Same
from autopart.plans import Plan, Stage
from autopart.pricing.table import BlockTable
from autopart.tensor.assign import EVERYTHING, Layout, best_layout
from autopart.tensor.localize import Local, localize
from autopart.tensor.prices import Prices
from autopart.tensor.ways import axis_of
from cost_models.collective import Topology
from cost_models.hardware import DeviceType


def local_plan(table: BlockTable, plan: Plan, cluster: Cluster) -> Local:
    """What the columns of a plan run; ``table`` has the prices of the model on one device. Plans of the same cuts and layouts
    run the same.
    """
    layouts = layouts_of(table, plan, cluster)
    cuts = tuple((stage.blocks, Same(layouts.get(stage.index))) for stage in plan.stages)
    found = table.lately(("local", cuts), lambda: localize(table.blocks, plan, layouts))
    stages = (replace(stage, blocks=own.blocks) for stage, own in zip(plan.stages, found.plan.stages, strict=True))
    return replace(found, plan=replace(plan, stages=tuple(stages)))


def layouts_of(table: BlockTable, plan: Plan, cluster: Cluster) -> Mapping[int, Layout]:
    """By stage, of those with several columns."""
    return {stage.index: layout_of(table, stage, cluster, plan) for stage in plan.stages if stage.tensor > 1}


def layout_of(table: BlockTable, stage: Stage, cluster: Cluster, plan: Plan) -> Layout:
    """The best one for the stage's first replica that has all that the plan says of it."""
    ranks = stage.replica(0)
    weights = stage.tensor_shares or (1,) * stage.tensor
    for layout in known_layouts(table, weights):
        if EVERYTHING in stage.layouts and stage.layouts.items() <= layout.text.items():
            return layout
    device = pace_device(table, [cluster.device(rank) for rank in ranks], weights, max(stage.shares))
    key = ("layout", device, weights, max(stage.shares), topology(cluster, ranks), plan.schedule.microbatches)

    def decided() -> Layout:
        prices = prices_of(table, weights, device, max(stage.shares), topology(cluster, ranks))
        return best_layout(table.blocks, replace(prices, once=1 / plan.schedule.microbatches), stage.layouts, stage.blocks)

    said = (tuple(stage.layouts.items()), stage.blocks) if stage.layouts else ()
    return table.remembered((*key, said), decided)


def pace_device(table: BlockTable, columns: Sequence[DeviceType], weights: tuple[int, ...], rows: int) -> DeviceType:
    """What a layout is priced on, with the largest column's part of everything: the slowest device that has so large a part.

    Weights that go by speed make its time that of every column, whatever their devices.
    """
    largest = [device for device, weight in zip(columns, weights, strict=True) if weight == max(weights)]
    return max(dict.fromkeys(largest), key=lambda device: float(table.seconds(device, rows).total.sum()))


def known_layouts(table: BlockTable, weights: tuple[int, ...]) -> list[Layout]:
    """Whole layouts that were decided before: a plan that says all of one, for its blocks, means it."""
    return table.remembered(("layouts", weights), list)


def prices_of(table: BlockTable, weights: tuple[int, ...], device: DeviceType, rows: int, group: Topology) -> Prices:
    """Of columns on such devices, connected so."""
    return Prices(table, axis_of(table.blocks.sharded.graph, weights), device, rows, group)
