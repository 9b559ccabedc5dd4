"""What a cluster file means."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autopart.cluster.cluster import node_sizes, same_node, slowest_link, topology
from autopart.cluster.load import load_cluster, parse_cluster
from cost_models.catalogue import catalogue
from cost_models.collective import Topology
from cost_models.hardware import UNUSED_LINK, Link
from tests.clusters import CONTRACT

EXAMPLES = Path(__file__).parents[3] / "examples" / "clusters"


def test_contract() -> None:
    cluster = parse_cluster(CONTRACT, "c.yaml")
    a, v = cluster.groups
    assert (a.name, a.count, a.devices_per_node, a.devices) == ("a", 2, 8, 16)
    assert (v.name, v.count, v.devices_per_node, v.devices) == ("v", 1, 4, 4)
    assert a.device == catalogue()["A100-80GB"]
    assert a.interconnect == Link(3e-6, 300e9)
    assert a.network == Link(10e-6, 25e9)  # 200 Gb/s are 25 GB/s
    assert cluster.path == "c.yaml"
    assert cluster.nodes == ("a0", "a1", "v")


def test_ranks_follow_file_order() -> None:
    cluster = parse_cluster(CONTRACT, "c.yaml")
    assert [rank.rank for rank in cluster.ranks] == list(range(20))
    assert [rank.node for rank in cluster.ranks] == [0] * 8 + [1] * 8 + [2] * 4
    assert [rank.group for rank in cluster.ranks] == [0] * 16 + [1] * 4
    assert cluster.device(15).name == "A100-80GB"
    assert cluster.device(16).name == "V100-16GB"


def test_paths() -> None:
    cluster = parse_cluster(CONTRACT, "c.yaml")
    assert cluster.link(0, 7) == Link(3e-6, 300e9)
    assert cluster.link(0, 8) == Link(20e-6, 25e9)  # two uplinks: latencies add
    assert cluster.link(0, 16) == cluster.link(19, 8) == Link(50e-6, 1.25e9)  # the exception
    without = parse_cluster(CONTRACT[: CONTRACT.index("links:")], "c.yaml")
    assert without.link(0, 16) == Link(40e-6, 25e9 / 8)  # 25 Gb/s, the slower uplink


def test_exception_for_one_node() -> None:
    cluster = parse_cluster(CONTRACT.replace("[a, v]", "[a1, v]"), "c.yaml")
    assert [group.name for group in cluster.groups] == ["a0", "a1", "v"]
    assert cluster.nodes == ("a0", "a1", "v")
    assert cluster.link(0, 16) == Link(40e-6, 25e9 / 8)
    assert cluster.link(8, 16) == Link(50e-6, 1.25e9)
    assert cluster.link(0, 8) == Link(20e-6, 25e9)


def test_exception_between_nodes_of_one_entry() -> None:
    text = CONTRACT.replace("count: 2", "count: 6").replace("[a, v]", "[a1, a4]")
    cluster = parse_cluster(text, "c.yaml")
    assert [group.name for group in cluster.groups] == ["a0", "a1", "a2..a3", "a4", "a5", "v"]
    assert cluster.nodes == ("a0", "a1", "a2", "a3", "a4", "a5", "v")
    special = Link(50e-6, 1.25e9)
    for first in range(6):
        for second in range(6):
            link = cluster.link(8 * first, 8 * second + 1)
            usual = Link(3e-6, 300e9) if first == second else Link(20e-6, 25e9)
            assert link == (special if {first, second} == {1, 4} else usual)


def test_the_more_specific_exception_holds() -> None:
    text = CONTRACT.replace("latency: 50 us}\n", "latency: 50 us}\n  - {between: [v, a1], bandwidth: 1 Gb/s, latency: 1 ms}\n")
    cluster = parse_cluster(text, "c.yaml")
    assert cluster.link(0, 16) == Link(50e-6, 1.25e9)
    assert cluster.link(8, 16) == Link(1e-3, 0.125e9)


def test_own_type() -> None:
    text = CONTRACT.replace("V100-16GB", "box-cpu")
    device = parse_cluster(text, "c.yaml").groups[1].device
    assert (device.name, device.kind) == ("box-cpu", "cpu")
    assert device.memory_bytes == 2 * 2**30
    assert device.memory_bandwidth_bytes_per_s == 10e9
    assert device.flops == {"float32": 50e9}
    assert device.launch_s == catalogue()["cpu-core"].launch_s


def test_correction_of_a_known_type() -> None:
    correction = "  V100-16GB: {memory: 15 GiB, flops: {float32: 14 TFLOP/s}, launch: 20 us}\n"
    cluster = parse_cluster(CONTRACT + correction, "c.yaml")
    device, known = cluster.groups[1].device, catalogue()["V100-16GB"]
    assert device.memory_bytes == 15 * 2**30
    assert device.flops == {**known.flops, "float32": 14e12}
    assert device.launch_s == 20e-6
    assert device.memory_bandwidth_bytes_per_s == known.memory_bandwidth_bytes_per_s
    assert known.memory_bytes != device.memory_bytes, "the catalogue itself must not change"


def test_single_device_needs_no_links() -> None:
    cluster = parse_cluster("nodes: [{name: me, devices: {type: cpu-core, count: 1}}]", "c.yaml")
    assert len(cluster.ranks) == 1
    assert cluster.nodes == ("me",)
    assert slowest_link(cluster, [0]) == UNUSED_LINK
    assert math.isinf(cluster.groups[0].network.bandwidth_bytes_per_s)


def test_digest_is_of_the_meaning() -> None:
    digest = parse_cluster(CONTRACT, "c.yaml").digest
    same = CONTRACT.replace("200 Gb/s", "25 GB/s").replace("nodes:", "nodes: # the machines").replace("count: 2", "count: '2'")
    assert parse_cluster(same, "elsewhere.yaml").digest == digest
    for old, new in [
        ("count: 2", "count: 3"),
        ("3 us", "4 us"),
        ("10 Gb/s", "11 Gb/s"),
        ("name: v", "name: w"),
        ("V100-16GB", "T4-16GB"),
    ]:
        text = CONTRACT.replace(old, new).replace("[a, v]", "[a, w]" if new == "name: w" else "[a, v]")
        assert parse_cluster(text, "c.yaml").digest != digest


def test_unused_types_do_not_count() -> None:
    assert parse_cluster(CONTRACT[: CONTRACT.index("types:")], "c.yaml").digest == parse_cluster(CONTRACT, "c.yaml").digest


def test_names_that_only_look_alike() -> None:
    """a1 beside two nodes a is refused, beside a single a or far from the count it is a name like another."""
    for name, text in {"a7": CONTRACT, "a01": CONTRACT, "a1": CONTRACT.replace("    count: 2\n", "")}.items():
        changed = text.replace("name: v", f"name: {name}").replace("[a, v]", f"[a, {name}]")
        cluster = parse_cluster(changed, "c.yaml")
        assert cluster.groups[1].name == name
        assert cluster.link(0, len(cluster.ranks) - 1) == Link(50e-6, 1.25e9)


def test_most_devices() -> None:
    text = CONTRACT.replace("count: 8", "count: 1").replace("count: 2", "count: 999_996")
    assert sum(group.devices for group in parse_cluster(text, "c.yaml").groups) == 1_000_000


def test_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONTRACT, encoding="utf-8-sig")
    assert load_cluster(path).digest == parse_cluster(CONTRACT, "").digest


def test_shape_of_a_set_of_ranks() -> None:
    cluster = parse_cluster(CONTRACT, "c.yaml")
    assert node_sizes(cluster) == (8, 8, 4)
    assert same_node(cluster, [0, 7])
    assert not same_node(cluster, [7, 8])
    assert topology(cluster, [0, 1, 2]) == Topology((3,), Link(3e-6, 300e9))
    assert topology(cluster, [0, 8]) == Topology((1, 1), across=Link(20e-6, 25e9))
    assert topology(cluster, [0, 1, 8, 16, 17]) == Topology((2, 1, 2), Link(10e-6, 12e9), Link(50e-6, 1.25e9))
    assert slowest_link(cluster, [0, 8]) == Link(20e-6, 25e9)


@pytest.mark.parametrize(
    ("file", "devices"),
    {"uniform": 8, "mixed": 8, "cpus": 4, "laptop": 4, "large": 128, "box": 4, "thousands": 4096, "two_generations": 24}.items(),
    ids=lambda value: str(value),
)
def test_examples(file: str, devices: int) -> None:
    assert len(load_cluster(EXAMPLES / f"{file}.yaml").ranks) == devices


def test_every_example_is_tested() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == sorted(
        ["uniform", "mixed", "cpus", "laptop", "large", "box", "thousands", "two_generations"]
    )


def test_mixed_example_has_three_types() -> None:
    cluster = load_cluster(EXAMPLES / "mixed.yaml")
    assert {group.device.name for group in cluster.groups} == {"A100-40GB", "V100-16GB", "T4-16GB"}


def test_how_products_fill_a_device() -> None:
    """Of a new type nothing but what is said; of the catalogue's what it does not say; the digest knows of what is said."""
    said = "{memory: 8 GiB, memory_bandwidth: 1 GB/s, flops: {float32: 1 TFLOP/s}, units: 20, reached: {float32: 0.9}}"
    own = CONTRACT.replace("A100-80GB", "mine") + f"  mine: {said}\n"
    device = parse_cluster(own, "c.yaml").groups[0].device
    assert (device.units, device.cache_bandwidth_bytes_per_s, device.reached) == (20, 0.0, {"float32": 0.9})
    corrected = parse_cluster(CONTRACT + "  A100-80GB: {cache_bandwidth: 5 TB/s, reached: {float16: 0.7}}\n", "c.yaml")
    found = corrected.groups[0].device
    assert (found.units, found.cache_bandwidth_bytes_per_s) == (108, 5e12)
    assert found.reached == {"float16": 0.7, "bfloat16": 0.87}
    assert corrected.digest != parse_cluster(CONTRACT, "c.yaml").digest
