"""Files of hosts: what is read, what is refused and where, and the cluster file that describes them."""

from __future__ import annotations

import pytest

from autopart.cluster.load import parse_cluster
from autopart.errors import ClusterError
from benchmarks.testbed.spec import Host, Testbed, cluster_text, parse_testbed

TWO = """\
period: 40 ms
hosts:
  - {name: fast, ranks: 2, cpu: 0.4, memory: 1 GiB, bandwidth: 1 Gb/s, latency: 1 ms, interconnect: 8 Gb/s}
  - {name: slow, ranks: 1, cpu: 0.1}
links:
  - {between: [slow, fast], bandwidth: 50 Mb/s}
"""


def test_everything_is_read() -> None:
    fast = Host("fast", 2, 0.4, 2**30, 1.25e8, 1e-3, 1e9, (("slow", 6.25e6),))
    slow = Host("slow", 1, 0.1, slow=(("fast", 6.25e6),))
    assert parse_testbed(TWO, "hosts.yaml") == Testbed((fast, slow), 0.04)


def test_ranks_follow_the_file() -> None:
    testbed = parse_testbed(TWO, "hosts.yaml")
    assert testbed.ranks == ((0, 0), (0, 1), (1, 0))
    assert testbed.cores == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("hosts:\n  - {name: a, ranks: 1, cpu: 1.5}\n", 2, "not a share"),
        ("hosts:\n  - {name: a, ranks: 1, cpu: fast}\n", 2, "not a share"),
        ("hosts:\n  - {name: a, ranks: 1, cpu: 0.01}\n", 2, "less than 1 ms"),
        ("hosts:\n  - {name: a, ranks: 0}\n", 2, "at least 1"),
        ("hosts:\n  - {name: a, ranks: 1, bandwidth: 1000}\n", 2, "without a unit"),
        ("hosts:\n  - {name: a, ranks: 1, speed: 2}\n", 2, "unknown key"),
        ("hosts:\n  - {name: a, ranks: 1}\n  - {name: a, ranks: 1}\n", 2, "the same name"),
        ("hosts:\n  - {name: a, ranks: 1}\nlinks:\n  - {between: [a, b], bandwidth: 1 Mb/s}\n", 4, "not two of the hosts"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, line: int, what: str) -> None:
    with pytest.raises(ClusterError, match=what) as caught:
        parse_testbed(text, "hosts.yaml")
    assert f"hosts.yaml:{line}" in str(caught.value)


def test_the_cluster_file_says_what_the_hosts_are() -> None:
    cluster = parse_cluster(cluster_text(parse_testbed(TWO, "hosts.yaml")), "cluster.yaml")
    assert [group.devices for group in cluster.groups] == [2, 1]
    fast, slow = (group.device for group in cluster.groups)
    assert fast.kind == slow.kind == "cpu"
    assert fast.flops["float32"] == pytest.approx(4 * slow.flops["float32"])
    assert fast.memory_bytes == 2**30
    assert cluster.groups[0].interconnect.bandwidth_bytes_per_s == 1e9
    assert cluster.link(0, 2).bandwidth_bytes_per_s == 6.25e6
    assert cluster.link(0, 2).latency_s > 1e-3
