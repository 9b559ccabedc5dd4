"""Real models over two and three types of devices: uneven is never worse than what a user would do instead."""

from __future__ import annotations

import pytest

from autopart.cluster.load import parse_cluster
from autopart.pipeline import Limits, decide, model_ref, priced
from autopart.planfile import dump_plan, parse_plan
from autopart.planner.meshes import make_index
from autopart.plans import Settings
from autopart.program.check import check_plan
from tests.fronts import front

SETTINGS = Settings(precision="float64")
TYPES = """
types:
  fast-cpu: {memory: 8 GiB, memory_bandwidth: 12 GB/s, flops: {float64: 60 GFLOP/s, float32: 120 GFLOP/s}}
  slow-cpu: {memory: 4 GiB, memory_bandwidth: 6 GB/s, flops: {float64: 20 GFLOP/s, float32: 40 GFLOP/s}}
  tiny-cpu: {memory: 300 MiB, memory_bandwidth: 2 GB/s, flops: {float64: 4 GFLOP/s, float32: 8 GFLOP/s}}
"""


def nodes(*rows: tuple[str, int, str]) -> str:
    """Entries of one node each: device type, number of devices, bandwidth of the uplink."""
    entries = [
        f"  - {{name: n{i}, devices: {{type: {device}, count: {count}}}, interconnect: {{bandwidth: 5 GB/s, latency: 5 us}}, "
        f"network: {{bandwidth: {bandwidth}, latency: 20 us}}}}\n"
        for i, (device, count, bandwidth) in enumerate(rows)
    ]
    return "nodes:\n" + "".join(entries)


CLUSTERS = {
    "two types, near": nodes(("fast-cpu", 2, "100 Gb/s"), ("slow-cpu", 2, "100 Gb/s")) + TYPES,
    "two types, far": nodes(("fast-cpu", 2, "100 Mb/s"), ("slow-cpu", 3, "100 Mb/s")) + TYPES,
    "many slow, one fast": nodes(("slow-cpu", 5, "10 Gb/s"), ("fast-cpu", 1, "10 Gb/s")) + TYPES,
    "three types": nodes(("slow-cpu", 2, "10 Gb/s"), ("fast-cpu", 2, "25 Gb/s"), ("tiny-cpu", 2, "1 Gb/s")) + TYPES,
    "three accelerators": nodes(("A100-40GB", 2, "100 Gb/s"), ("V100-16GB", 2, "25 Gb/s"), ("T4-16GB", 2, "25 Gb/s")),
    "three unequal numbers": nodes(("fast-cpu", 1, "10 Gb/s"), ("slow-cpu", 3, "10 Gb/s"), ("tiny-cpu", 2, "10 Gb/s")) + TYPES,
}


RUNS = [
    ("two types, near", 6, "resnet"),
    ("two types, far", 16, "llama"),
    ("many slow, one fast", 16, "mlp"),
    ("three types", 16, "resnet"),
    ("three accelerators", 6, "llama"),
    ("three unequal numbers", 16, "mlp"),
]


@pytest.mark.parametrize(("cluster", "batch_size", "model"), RUNS)
def test_no_baseline_beats_the_plan_and_its_price_is_its_estimate(cluster: str, batch_size: int, model: str) -> None:
    traced, machines = front(model), parse_cluster(CLUSTERS[cluster], "cluster.yaml")
    plan = decide(traced, machines, batch_size, SETTINGS, Limits(time_limit_s=20))
    check_plan(plan, traced.blocks, machines)
    assert plan.estimate is not None
    assert {row.name for row in plan.baselines} >= {"data parallel, even", "even pipeline", "fastest device alone"}
    others = {row.name: row.step_time_s for row in plan.baselines if row.step_time_s is not None}
    assert others, "one device alone holds these models"
    assert plan.estimate.step_time_s <= min(others.values())
    again = priced(
        parse_plan(dump_plan(plan), "plan.json"),
        make_index(traced.blocks, machines, batch_size, SETTINGS, model_ref(traced)),
    )
    assert again == plan


def test_shares_follow_speed() -> None:
    """Two kinds of devices close together, one twice as fast by bandwidth and three times by arithmetic, and enough samples;
    messages take nothing from computing.
    """
    text = CLUSTERS["two types, near"].replace("memory: ", "message_cpu: 0 us, byte_cpu: 0 ns, memory: ")
    plan = decide(front("resnet"), parse_cluster(text, ""), 2400, SETTINGS, Limits(time_limit_s=20))
    (stage,) = plan.stages
    assert stage.ranks == (0, 1, 2, 3)
    assert stage.shares[0] == stage.shares[1]
    assert 2 <= stage.shares[0] / stage.shares[3] <= 3
    even = next(row.step_time_s for row in plan.baselines if row.name == "data parallel, even")
    assert plan.estimate is not None
    assert even is not None
    assert plan.estimate.step_time_s < 0.7 * even
