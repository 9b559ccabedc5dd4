"""Which devices of a new cluster are old ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import parse_cluster
from autopart.errors import PlanError
from autopart.planner.decode import cluster_ref
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from autopart.replan.devices import device_names, old_cluster, same_devices


def node(name: str, count: int = 1, devices: int = 2, kind: str = "A100-40GB") -> str:
    """An entry of a cluster file."""
    return (
        f"  - name: {name}\n    count: {count}\n    devices: {{type: {kind}, count: {devices}}}\n"
        "    interconnect: {bandwidth: 300 GB/s, latency: 3 us}\n    network: {bandwidth: 100 Gb/s, latency: 10 us}\n"
    )


def text(*nodes: str) -> str:
    return "nodes:\n" + "".join(nodes)


def cluster(*nodes: str) -> Cluster:
    return parse_cluster(text(*nodes), "c.yaml")


OLD = cluster(node("a", 2), node("v", kind="V100-16GB"))


@pytest.mark.parametrize(
    ("nodes", "same"),
    [
        ((node("a", 2), node("v", kind="V100-16GB")), {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5}),
        ((node("v", kind="V100-16GB"), node("a", 3)), {0: 4, 1: 5, 2: 0, 3: 1, 4: 2, 5: 3}),
        ((node("a1"), node("v", kind="V100-16GB")), {0: 2, 1: 3, 2: 4, 3: 5}),
        ((node("a"),), {0: 0, 1: 1}),  # an entry of one node that was the first of several
        ((node("a", 2, devices=1), node("v", devices=3, kind="V100-16GB")), {0: 0, 1: 2, 2: 4, 3: 5}),
        ((node("a", 2, kind="H100-80GB"), node("v", 2, kind="V100-16GB")), {4: 4, 5: 5}),  # other devices; v is v0 now
        ((node("b", 2), node("w", kind="V100-16GB")), {}),
    ],
    ids=["unchanged", "in another order", "a0 is gone", "a1 is gone", "sizes", "types", "names"],
)  # fmt: skip
def test_by_node_number_and_type(nodes: tuple[str, ...], same: dict[int, int]) -> None:
    assert same_devices(OLD, cluster(*nodes)) == same


def test_a_name_that_ends_in_a_digit_is_no_numbered_node() -> None:
    assert same_devices(cluster(node("a1"), node("b")), cluster(node("a10"), node("b"))) == {2: 2, 3: 3}


def test_names() -> None:
    assert device_names(OLD) == ("a0:0", "a0:1", "a1:0", "a1:1", "v:0", "v:1")


def plan(path: Path, ref: ClusterRef, **changes: object) -> Plan:
    stage = Stage(0, ("b",), (0, 1), (1,), **{"tensor": 2, "layouts": {"*": "R"}, **changes})
    named = ClusterRef(str(path), ref.digest, ref.nodes)
    return Plan(ModelRef("m.py"), named, 1, Settings(), Schedule("1f1b", 1), (stage,))


def test_the_file_is_read_where_it_is_still_that(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text(node("a", 2), node("v", kind="V100-16GB")))
    assert old_cluster(plan(path, cluster_ref(OLD)), OLD).groups == OLD.groups
    assert old_cluster(plan(path, ClusterRef("")), OLD).groups == OLD.groups  # by hand, without a digest


@pytest.mark.parametrize("gone", [True, False])
def test_the_plan_remembers_its_nodes_where_the_file_is_gone_or_changed(gone: bool, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    if not gone:
        path.write_text(text(node("z")))
    now = cluster(node("v", kind="V100-16GB"), node("a"))
    found = old_cluster(plan(path, cluster_ref(OLD)), now)
    assert device_names(found) == device_names(OLD)
    assert same_devices(found, now) == {0: 4, 1: 5, 2: 0, 3: 1}


def test_what_nobody_remembers_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(PlanError, match=r"c.yaml can't be read, and the plan does not say which device each rank was"):
        old_cluster(plan(path, ClusterRef("", "abc")), OLD)
    path.write_text(text(node("z")))
    with pytest.raises(PlanError, match=r"has changed since the plan was made, and the plan does not say") as caught:
        old_cluster(plan(path, ClusterRef("", "abc")), OLD)
    assert '"nodes": [{"name": "a0"' in caught.value.remedy
    with pytest.raises(PlanError, match="stage 0 leaves layouts open"):
        old_cluster(plan(path, cluster_ref(OLD), layouts={}), OLD)
