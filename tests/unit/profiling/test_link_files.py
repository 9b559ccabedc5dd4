"""Measured links: which ranks stand for which path, the cluster's numbers that follow, and the file that says so."""

from __future__ import annotations

import pytest

from autopart.cluster.cluster import Cluster
from autopart.cluster.load import parse_cluster
from autopart.errors import ClusterError
from autopart.profiling.paths import Links, Path, paths, with_links, with_messages
from autopart.profiling.report import format_links
from autopart.profiling.rewrite import MARK, rewritten
from cost_models.hardware import Link
from cost_models.links import Fit

FILE = """\
# The lab's machines.
nodes:
  - name: a  # the new ones
    count: 2
    devices: {type: box-cpu, count: 2}
    interconnect: {bandwidth: 10 Gb/s, latency: 20 us}
    network: {bandwidth: 1 Gb/s, latency: 50 us}
  - name: b
    devices: {type: cpu-core, count: 1}
    network:
      bandwidth: 10 Gb/s
      latency: 30 us
types:
  box-cpu: {memory: 2 GiB, memory_bandwidth: 10 GB/s, flops: {float32: 50 GFLOP/s}}
"""


def fit_of(latency_s: float, bandwidth: float) -> Fit:
    return Fit(latency_s, 1 / bandwidth, 0.02, 0.05)


def cluster(file: str = FILE) -> Cluster:
    return parse_cluster(file, "lab.yaml")


def test_every_kind_of_path_has_a_pair_of_ranks() -> None:
    found = [(path.name(cluster()), path.ranks) for path in paths(cluster())]
    assert found == [("inside a", (0, 1)), ("between nodes of a", (0, 2)), ("a to b", (0, 4))]


def measured(own: Fit, across: Fit) -> dict[Path, Fit]:
    inside, between, to = paths(cluster())
    return {inside: fit_of(1e-5, 2e9), between: own, to: across}


def test_uplinks_make_the_paths() -> None:
    """In a 100 us, a to b 70 us: uplinks of 50 and 20 us. The file says that b is faster: no message can fill it."""
    found = with_links(cluster(), measured(fit_of(1e-4, 1e8), fit_of(7e-5, 1e8)))
    a, b = found.groups
    assert a.interconnect == Link(1e-5, pytest.approx(2e9))
    assert a.network == Link(pytest.approx(5e-5), pytest.approx(1e8))
    assert b.network == Link(pytest.approx(2e-5), 1.25e9)
    assert found.exceptions == ()


def test_a_path_that_uplinks_do_not_make_is_an_exception() -> None:
    found = with_links(cluster(), measured(fit_of(1e-4, 1e8), fit_of(7e-5, 2e7)))
    assert found.groups[0].network.bandwidth_bytes_per_s == pytest.approx(1e8)
    assert found.link(0, 2).bandwidth_bytes_per_s == pytest.approx(1e8)
    assert found.link(0, 4) == Link(7e-5, pytest.approx(2e7))


def links_of(across: Fit, file: str = FILE) -> Links:
    fits = measured(fit_of(1e-4, 1e8), across)
    to = list(fits)[2]
    cpu = {(to, 0): Fit(1e-4, 2e-9, 0.1, 0.2), (to, 4): Fit(2e-4, 4e-9, 0.1, 0.2)}
    return Links("gloo", fits, cpu, (), with_messages(with_links(cluster(file), fits), cpu))


def test_the_file_says_what_was_measured_and_keeps_the_rest() -> None:
    found = links_of(fit_of(7e-5, 1e8))
    text = rewritten(FILE, "lab.yaml", found)
    assert text.startswith(MARK)
    assert "# The lab's machines." in text
    assert "# the new ones" in text
    again = parse_cluster(text, "lab.yaml")
    for rank in (1, 2, 4):
        assert again.link(0, rank).latency_s == pytest.approx(found.measured.link(0, rank).latency_s, rel=1e-3)
        assert again.link(0, rank).bandwidth_bytes_per_s == pytest.approx(
            found.measured.link(0, rank).bandwidth_bytes_per_s, rel=1e-3
        )
    assert again.device(0).message_cpu_s == pytest.approx(1e-4)
    assert again.device(0).byte_cpu_s == pytest.approx(2e-9)
    assert again.device(0).flops["float32"] == 5e10


def test_measuring_again_replaces_what_was_measured() -> None:
    once = rewritten(FILE, "lab.yaml", links_of(fit_of(7e-5, 2e7)))
    twice = rewritten(once, "lab.yaml", links_of(fit_of(7e-5, 2e7)))
    assert twice == once
    assert parse_cluster(once, "lab.yaml").link(0, 4).bandwidth_bytes_per_s == pytest.approx(2e7)


def test_a_type_of_the_catalogue_is_corrected() -> None:
    alone = FILE.split("types:")[0].replace("box-cpu", "cpu-core")
    for file, message_cpu_s in ((FILE, 2e-4), (alone, 1.5e-4)):  # alone: the median of two ranks of one type
        again = parse_cluster(rewritten(file, "lab.yaml", links_of(fit_of(7e-5, 1e8), file)), "lab.yaml")
        assert again.device(4).message_cpu_s == pytest.approx(message_cpu_s)
        assert again.device(4).flops == cluster().device(4).flops


def test_a_list_of_links_gets_more_of_them() -> None:
    third = FILE.replace(
        "types:", "  - {name: c, devices: {type: cpu-core, count: 1}, network: {bandwidth: 1 Gb/s, latency: 1 ms}}\ntypes:"
    )
    listed = third + "links:\n  - {between: [a, c], bandwidth: 1 Mb/s, latency: 1 s}\n"
    plain = parse_cluster(listed, "lab.yaml")
    fits = {path: fit_of(1e-4, 1e8 / (1 + number)) for number, path in enumerate(paths(plain))}
    found = Links("gloo", fits, {}, (), with_links(plain, fits))
    again = parse_cluster(rewritten(listed, "lab.yaml", found), "lab.yaml")
    for rank in (2, 4, 5):
        assert again.link(0, rank).bandwidth_bytes_per_s == pytest.approx(
            found.measured.link(0, rank).bandwidth_bytes_per_s, rel=1e-3
        )
    assert again.link(4, 5).bandwidth_bytes_per_s == pytest.approx(found.measured.link(4, 5).bandwidth_bytes_per_s, rel=1e-3)


def test_an_alias_for_links_measured_apart_is_refused() -> None:
    aliased = FILE.replace("network: {bandwidth: 1 Gb/s", "network: &net {bandwidth: 1 Gb/s")
    aliased = aliased.replace("network:\n      bandwidth: 10 Gb/s\n      latency: 30 us", "network: *net")
    with pytest.raises(ClusterError, match="an alias") as caught:
        rewritten(aliased, "lab.yaml", links_of(fit_of(7e-5, 1e8)))
    assert "lab.yaml:" in str(caught.value)


def test_the_tables_name_paths_and_types() -> None:
    text = format_links(links_of(fit_of(7e-5, 1e8)))
    assert "a to b" in text
    assert "100 MB/s" in text
    assert "box-cpu" in text
