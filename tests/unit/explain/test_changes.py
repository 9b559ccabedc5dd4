"""A change in a line: what becomes of the cluster, and what a slip is answered."""

from __future__ import annotations

import pytest

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import parse_cluster
from autopart.errors import InputError
from autopart.explain.changes import changed, moved, parse_change
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage

FILE = """\
nodes:
  - name: a
    count: 2
    devices: {type: A100-80GB, count: 8}
    interconnect: {bandwidth: 300 GB/s, latency: 3 us}
    network: {bandwidth: 200 Gb/s, latency: 10 us}
  - name: v-1
    devices: {type: V100-16GB, count: 4}
    interconnect: {bandwidth: 12 GB/s, latency: 10 us}
    network: {bandwidth: 25 Gb/s, latency: 30 us}
links:
  - {between: [a, v-1], bandwidth: 10 Gb/s, latency: 50 us}
"""
BEFORE = parse_cluster(FILE, "cluster.yaml")


def after(*lines: str) -> Cluster:
    return changed(BEFORE, [parse_change(line) for line in lines])


@pytest.mark.parametrize(
    ("line", "old", "new"),
    [
        ("network a-v-1 = 100 Gb/s", "{between: [a, v-1], bandwidth: 10 Gb/s", "{between: [a, v-1], bandwidth: 100 Gb/s"),
        ("network a = 2x", "bandwidth: 200 Gb/s", "bandwidth: 400 Gb/s"),
        ("interconnect v-1 = 50 GB/s", "bandwidth: 12 GB/s", "bandwidth: 50 GB/s"),
        ("devices v-1 = 2", "V100-16GB, count: 4", "V100-16GB, count: 2"),
        ("nodes a=3", "count: 2\n", "count: 3\n"),
    ],
)
def test_a_change_is_an_edit_of_the_file(line: str, old: str, new: str) -> None:
    assert FILE.count(old) == 1
    edited = parse_cluster(FILE.replace(old, new), "cluster.yaml")
    found = after(line)
    assert (found.groups, found.exceptions, found.ranks) == (edited.groups, edited.exceptions, edited.ranks)


def test_memory_and_speed_of_a_type_an_entry_and_all() -> None:
    a, v = (group.device for group in BEFORE.groups)
    assert [g.device.memory_bytes for g in after("memory V100-16GB = 24 GB").groups] == [a.memory_bytes, 24 * 10**9]
    assert [g.device.memory_bytes for g in after("memory a = 0.5x").groups] == [a.memory_bytes // 2, v.memory_bytes]
    assert [g.device.memory_bytes for g in after("memory = 24 GiB").groups] == [24 << 30] * 2
    fast = after("speed v-1 = 2x").groups[1].device
    assert fast.flops["float32"] == 2 * v.flops["float32"]
    assert fast.memory_bandwidth_bytes_per_s == 2 * v.memory_bandwidth_bytes_per_s
    assert fast.launch_s == v.launch_s / 2


def test_all_of_the_network_and_several_changes_at_once() -> None:
    found = after("network = 100 Gb/s", "memory = 2x")
    assert {link.bandwidth_bytes_per_s for _, link in found.exceptions} == {12.5e9}
    assert {group.network.bandwidth_bytes_per_s for group in found.groups} == {12.5e9}
    assert found.network(0, 0).latency_s == BEFORE.network(0, 0).latency_s
    assert found.groups[0].device.memory_bytes == 2 * BEFORE.groups[0].device.memory_bytes


def test_between_the_nodes_of_one_entry() -> None:
    assert after("network a-a = 1 Gb/s").network(0, 0).bandwidth_bytes_per_s == 1.25e8
    assert after("network a-a = 1 Gb/s").network(0, 1) == BEFORE.network(0, 1)


def test_an_entry_can_go_and_ranks_follow_their_devices() -> None:
    gone = after("nodes a = 0")
    assert [group.name for group in gone.groups] == ["v-1"]
    assert gone.exceptions == ()
    stages = (Stage(0, ("x",), (16, 17), (1, 1), data=2),)
    plan = Plan(ModelRef("m.py"), ClusterRef("c.yaml"), 2, Settings(), Schedule("1f1b", 1), stages)
    found = moved(plan, BEFORE, gone)
    assert found is not None
    assert found.stages[0].ranks == (0, 1)
    assert found.unused_ranks == (2, 3)
    assert moved(plan, BEFORE, after("nodes v-1 = 0")) is None
    larger = moved(plan, BEFORE, after("devices a = 9"))
    assert larger is not None
    assert larger.stages[0].ranks == (18, 19)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("memry = 24 GiB", ("no change", "Did you mean 'memory'?", "network a-v = 100 Gb/s")),
        ("memory", ("no change",)),
        ("memory = 24", ("without a unit", "2x")),
        ("memory = 24 GB/s", ("not a unit of memory",)),
        ("memory V100 = 24 GB", ("has no 'V100'", "Did you mean V100-16GB?")),
        ("network a-w = 1 Gb/s", ("has no 'a-w'", "a, v-1")),
        ("network = 0x", ("not a unit of bandwidth",)),
        ("speed = 100 GFLOP/s", ("not a factor", "2x")),
        ("devices v-1 = many", ("not a number of devices",)),
        ("devices v-1 = 0", ("not a number of devices",)),
        ("nodes = 0", ("no device is left",)),
    ],
)
def test_slips(line: str, words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        after(line)
    for word in words:
        assert word in str(caught.value)
