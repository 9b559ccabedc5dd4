"""Plans to be shown: a small one and one of 80 layers over 64 devices, simulated without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import parse_cluster
from autopart.planner.meshes import Index, make_index
from autopart.planner.score import Score, estimate, score
from autopart.plans import Baseline, ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from tests.clusters import CONTRACT
from tests.graphs import transformer

WIDE = """\
nodes:
  - name: h
    count: 4
    devices: {type: H100-80GB, count: 8}
    interconnect: {bandwidth: 450 GB/s, latency: 3 us}
    network: {bandwidth: 3200 Gb/s, latency: 5 us}
  - name: a
    count: 4
    devices: {type: A100-80GB, count: 8}
    interconnect: {bandwidth: 300 GB/s, latency: 3 us}
    network: {bandwidth: 1600 Gb/s, latency: 5 us}
"""
BASELINES = (
    Baseline("data parallel, even", 0.4936),
    Baseline("even pipeline", None, "20 devices, but 8 blocks"),
    Baseline("fastest device alone", 0.2468),
)


@dataclass(frozen=True, eq=False)
class Shown:
    """A plan with all that its pictures are made of."""

    plan: Plan
    cluster: Cluster
    blocks: Blocks
    scored: Score
    index: Index


def shown(plan: Plan, cluster: Cluster, blocks: Blocks) -> Shown:
    """Simulated, the estimate filled in."""
    index = make_index(blocks, cluster, plan.batch_size, plan.settings, plan.model)
    scored = score(plan, index)
    filled = replace(plan, estimate=estimate(scored, index, 0.9 * scored.step_s))
    return Shown(filled, cluster, blocks, replace(scored, plan=filled), index)


def plan_of(stages: tuple[Stage, ...], blocks: Blocks, samples: int, microbatches: int, unused: tuple[int, ...] = ()) -> Plan:
    """``samples`` in a microbatch."""
    model = ModelRef("model.py", "model", "", len(blocks.blocks), 1_234_567)
    schedule = Schedule("1f1b", microbatches)
    settings = Settings("adamw", "bfloat16")
    return Plan(model, ClusterRef("cluster.yaml"), samples * microbatches, settings, schedule, stages, unused, None, BASELINES)


@cache
def small() -> Shown:
    """Three stages on three of twenty devices each and all: columns, ZeRO, recomputation, uneven shares, devices left out."""
    blocks = group(transformer(layers=6))
    names = tuple(block.name for block in blocks.blocks)
    stages = (
        Stage(0, names[:3], (16, 17), (4, 2), data=2, recompute=True, zero=1),
        Stage(1, names[3:5], (0, 1, 8, 9), (3, 3), data=2, tensor=2),
        Stage(2, names[5:], (2,), (6,)),
    )
    unused = tuple(rank for rank in range(20) if rank not in {0, 1, 2, 8, 9, 16, 17})
    return shown(plan_of(stages, blocks, 6, 4, unused), parse_cluster(CONTRACT, "cluster.yaml"), blocks)


@cache
def alone() -> Shown:
    """Everything on one device, and nothing else to compare it with."""
    blocks = group(transformer(layers=2))
    names = tuple(block.name for block in blocks.blocks)
    made = plan_of((Stage(0, names, (3,), (4,)),), blocks, 4, 1)
    cluster = parse_cluster(WIDE.split("  - name: a")[0].replace("count: 4", "count: 1"), "cluster.yaml")
    return shown(replace(made, baselines=()), cluster, blocks)


@cache
def large() -> Shown:
    """Sixteen stages of four ranks."""
    blocks = group(transformer(layers=80, width=256))
    names = tuple(block.name for block in blocks.blocks)
    cuts = [round(i * len(names) / 16) for i in range(17)]
    stages = tuple(
        Stage(i, names[cuts[i] : cuts[i + 1]], tuple(range(4 * i, 4 * i + 4)), (2, 2), data=2, tensor=2, recompute=i < 4)
        for i in range(16)
    )
    return shown(plan_of(stages, blocks, 4, 64), parse_cluster(WIDE, "cluster.yaml"), blocks)
