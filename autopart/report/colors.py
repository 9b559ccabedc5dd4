"""Colours of still pictures. A stage is told by its fill, a type of device by its border; neither relies on red against green."""

from __future__ import annotations

from autopart.cluster.cluster import Cluster
from autopart.plans import Plan

FILLS = (
    "#cfe2f3",
    "#fde9c9",
    "#d9ead3",
    "#ead1dc",
    "#d9d2e9",
    "#fff2cc",
    "#d0e0e3",
    "#f4cccc",
)  # of stages; black text reads well
BORDERS = ("#1f4e79", "#b45f06", "#38761d", "#741b47", "#351c75", "#7f6000")  # of device types


def fill(stage: int) -> str:
    """Of a stage and its blocks."""
    return FILLS[stage % len(FILLS)]


def borders(plan: Plan, cluster: Cluster) -> dict[str, str]:
    """By name, of the device types that the plan uses, in the order of its stages."""
    names = dict.fromkeys(cluster.device(rank).name for stage in plan.stages for rank in stage.ranks)
    return {name: BORDERS[i % len(BORDERS)] for i, name in enumerate(names)}
