"""The plans of the accuracy study are plans, and taking an ingredient away does what it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autopart.cluster.load import load_cluster
from benchmarks.accuracy.calibration import calibrated
from benchmarks.accuracy.cases import CASES, LINE, MIXED, MODELS, Hosts
from benchmarks.accuracy.plans import front_of, plan_of, simulated
from benchmarks.testbed.spec import cluster_text, load_testbed


@pytest.fixture
def nominal(tmp_path: Path) -> Path:
    path = tmp_path / "nominal.yaml"
    path.write_text(cluster_text(load_testbed(MIXED.said)))
    return path


@pytest.mark.parametrize("model", MODELS)
def test_every_case_is_a_plan(model: str, tmp_path: Path) -> None:
    front = front_of(MODELS[model])
    for hosts in (MIXED, LINE):
        (tmp_path / f"{hosts.name}.yaml").write_text(cluster_text(load_testbed(hosts.said)))
    for case in CASES:
        if case.model == model:
            plan = plan_of(case, MODELS[model], front, tmp_path / f"{case.hosts.name}.yaml")
            assert [stage.ranks for stage in plan.stages] == [part.ranks for part in case.parts]
            assert simulated(plan, front).step_s > 0


def test_there_are_plans_of_every_kind() -> None:
    assert len({case.key for case in CASES}) == len(CASES) >= 15
    assert min(Counter(case.model for case in CASES).values()) >= 3
    parts = [part for case in CASES for part in case.parts]
    assert any(part.tensor > 1 for part in parts)
    assert {part.zero for part in parts} == {0, 1, 2, 3}
    assert any(part.recompute for part in parts)


def test_no_plan_has_the_rows_that_calibrate() -> None:
    for case in CASES:
        rows = {share for part in case.parts for share in part.shares}
        assert not rows & set(MODELS[case.model].calibration), case.key


@pytest.mark.parametrize("hosts", [MIXED, LINE])
def test_the_testbed_leaves_room_for_the_kernel(hosts: Hosts) -> None:
    assert load_testbed(hosts.shaped).cores < 1.7


def test_the_line_is_between_devices_whose_costs_are_measured() -> None:
    """Calibration is shared: the same names and the same shares of a core; and what is said of them is true but for links."""
    measured = {host.name: host.cpu for host in load_testbed(MIXED.shaped).hosts}
    shaped, said = load_testbed(LINE.shaped), load_testbed(LINE.said)
    assert all(measured[host.name] == host.cpu for host in shaped.hosts)
    assert shaped.ranks == said.ranks
    assert [(host.name, host.cpu) for host in shaped.hosts] == [(host.name, host.cpu) for host in said.hosts]


def test_without_an_ingredient(nominal: Path, tmp_path: Path) -> None:
    links, file = tmp_path / "links.yaml", tmp_path / "cluster.yaml"
    text = nominal.read_text().replace("launch:", "message_cpu: 1 ms, byte_cpu: 7 ns, launch:")
    links.write_text(text.replace("bandwidth: 1000 Mb/s, latency: 50 us", "bandwidth: 900 Mb/s, latency: 70 us"))

    def without(*names: str):  # type: ignore[no-untyped-def]
        file.write_text(calibrated(nominal, links, {}, ["devices", *names]))
        return load_cluster(file)

    whole = without()
    assert whole.link(0, 1).bandwidth_bytes_per_s == 900e6 / 8
    assert whole.device(0).message_cpu_s == 1e-3
    assert without("messages").device(0).message_cpu_s == without("messages").device(0).byte_cpu_s == 0
    assert without("launch").device(2).launch_s == 0
    assert without("links").link(0, 1).bandwidth_bytes_per_s == 1e9 / 8
    free = without("contention")
    assert free.link(0, 1).bandwidth_bytes_per_s == pytest.approx(900e6 / 8)
    assert free.groups[0].network.bandwidth_bytes_per_s == 1e15
