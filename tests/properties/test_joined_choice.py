"""Unlike devices as columns of one replica: chosen where links are fast, by the same numbers as any other plan."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

import pytest

from autopart.cluster.cluster import Cluster, same_node
from autopart.cluster.load import load_cluster
from autopart.pipeline import Limits, decide
from autopart.planner import oracle
from autopart.planner.decode import decode
from autopart.planner.meshes import Index, make_index
from autopart.planner.price import price, price_option, propose
from autopart.planner.problem import Problem
from autopart.planner.score import formula_step, parts_of, score
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Plan, Settings
from autopart.program.check import check_plan
from autopart.tensor.localize import Local
from autopart.tensor.plan import local_plan
from tests.graphs import random_sharded
from tests.programs import random_blocks, random_cluster
from tests.properties.test_planning import random_candidate
from tests.properties.test_tensor_choice import gpt

FAST, SLOW = "{bandwidth: 400 Gb/s, latency: 1500 ns}", "{bandwidth: 1 Gb/s, latency: 100 us}"
CLUSTER = """\
nodes:
  - {{name: a, devices: {{type: quick, count: 1}}, network: {network}}}
  - {{name: b, devices: {{type: slow, count: 1}}, network: {network}}}
types:
  quick: {{memory: 40 GiB, memory_bandwidth: 1500 GB/s, launch: 2 us, flops: {{float32: 60 TFLOP/s}}}}
  slow: {{memory: 40 GiB, memory_bandwidth: 500 GB/s, launch: 2 us, flops: {{float32: 20 TFLOP/s}}}}
"""


def pair(folder: Path, network: str) -> Cluster:
    """Two nodes of one device each, one three times as fast as the other; a path has twice the latency of an uplink."""
    path = folder / "cluster.yaml"
    path.write_text(CLUSTER.format(network=network))
    return load_cluster(str(path))


def planned(cluster: Cluster) -> Plan:
    return decide(gpt(), cluster, 1, Settings(), Limits(gap=0.02, time_limit_s=20.0))


def fastest_alone_s(plan: Plan) -> float:
    (found,) = (row.step_time_s for row in plan.baselines if row.name == "fastest device alone")
    assert found is not None
    return found


def test_unlike_devices_share_ops_over_a_fast_link(tmp_path: Path) -> None:
    cluster = pair(tmp_path, FAST)
    plan = planned(cluster)
    (stage,) = plan.stages
    assert (stage.ranks, stage.tensor, stage.tensor_shares) == ((0, 1), 2, (3, 1))
    assert plan.estimate is not None
    assert plan.estimate.step_time_s < fastest_alone_s(plan)
    assert plan.estimate.lower_bound_s <= plan.estimate.formula_s * (1 + 1e-9)
    index = make_index(gpt().blocks, cluster, 1, Settings(), ModelRef(""))
    check_plan(plan, index.blocks, cluster)
    assert formula_step(plan, index) == pytest.approx(plan.estimate.formula_s, rel=1e-12)
    assert score(plan, index).step_s == pytest.approx(plan.estimate.step_time_s, rel=1e-12)
    option = price_option(index.mesh_of(stage), cluster, parts_of(stage, index), stage.recompute)
    for line, rank in ((0, 0), (2, 1)):
        costs = score(plan, index).costs.of[0, rank]
        assert costs.forward_s + costs.backward_s == pytest.approx(
            option.time_s[line].sum() + option.hand_on_s(index.table.count), rel=1e-3
        )
    assert heads(local_plan(index.table, plan, cluster)) == {(9, 3)}


def heads(local: Local) -> set[tuple[int, ...]]:
    """Of every attention, by column."""
    graph = local.blocks.sharded.graph
    attention = [op for op in graph.ops if "scaled_dot_product_attention" in op.kind]
    assert len(attention) == 4
    return {graph.values[op.inputs[0]].shape[1].parts for op in attention}


def test_over_a_slow_link_one_device_is_faster(tmp_path: Path) -> None:
    plan = planned(pair(tmp_path, SLOW))
    assert {stage.tensor for stage in plan.stages} == {1}
    assert plan.estimate is not None
    assert plan.estimate.step_time_s == pytest.approx(fastest_alone_s(plan))


@cache
def problems() -> tuple[tuple[Index, Problem], ...]:
    """Random models on random clusters of unlike groups with fast links, problems of joined stages alone."""
    found = []
    for seed in range(24):
        rng = Random(seed)
        blocks, cluster = random_blocks(rng, random_sharded(seed, max_layers=5)), random_cluster(rng, most=6)
        groups = tuple(_faster(group, rng.choice((1, 2, 3, 5))) for group in cluster.groups)
        index = make_index(
            blocks, replace(cluster, groups=groups, exceptions=()), rng.choice((1, 4, 6)), Settings(), ModelRef("m.py")
        )
        problem = price(index, propose(index, Pins(zero=rng.choice((None, 2)))))
        joined = [replace(s, options=tuple(o for o in s.options if o.parts[0].weights)) for s in problem.settings]
        if kept := tuple(setting for setting in joined if setting.options):
            found.append((index, replace(problem, settings=kept)))
    return tuple(found)


def _faster(group, factor):
    flops = {dtype: factor * speed for dtype, speed in group.device.flops.items()}
    device = replace(group.device, flops=flops, memory_bandwidth_bytes_per_s=factor * group.device.memory_bandwidth_bytes_per_s)
    link = replace(group.network, latency_s=1e-9, bandwidth_bytes_per_s=1e12)
    return replace(group, device=device, network=link, interconnect=link)


def test_joined_candidates_become_valid_plans_of_the_same_formula() -> None:
    """Where a stage's blocks are split alike in two layouts of the model, the plan may be priced by the other one."""
    replicas = uneven = shared = same = 0
    for seed, (index, problem) in enumerate(problems()):
        rng = Random(seed)
        for candidate in filter(None, (random_candidate(rng, problem) for _ in range(5))):
            plan = decode(candidate, problem, index)
            assert plan is not None
            check_plan(plan, index.blocks, index.cluster)
            options = [problem.settings[candidate.setting].options[choice.option] for choice in candidate.choices]
            if all(index.mesh_of(stage).layouts == o.layouts for stage, o in zip(plan.stages, options, strict=True)):
                assert formula_step(plan, index) == pytest.approx(candidate.step_s, rel=1e-12)
                same += 1
            exact = oracle.step_s(problem, candidate.setting, candidate.choices)
            assert exact is None or exact == pytest.approx(candidate.step_s, rel=1e-12)
            for stage in plan.stages:
                groups = {rank: index.cluster.ranks[rank].group for rank in stage.replica(0)}
                for group in set(groups.values()):
                    assert same_node(index.cluster, [rank for rank in groups if groups[rank] == group])
                replicas, uneven = max(replicas, stage.data), uneven + bool(stage.tensor_shares)
                shared += stage.zero > 0
            assert score(plan, index).step_s > 0
    assert replicas > 1
    assert min(uneven, same) > 10
    assert shared
