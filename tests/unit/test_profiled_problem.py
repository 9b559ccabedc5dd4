"""From files to numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from autopart.cluster.load import parse_cluster
from autopart.profiled.evaluate import loads
from autopart.profiled.problem import Goal, make_problem
from autopart.profiled.profile import parse_profile
from autopart.profiled.solve import solve

CLUSTER = """\
nodes:
  - name: a
    devices: {type: one, count: 2}
    interconnect: {bandwidth: 10 GB/s, latency: 1 us}
    network: {bandwidth: 1 GB/s, latency: 20 us}
  - name: b
    devices: {type: two, count: 1}
    network: {bandwidth: 2 GB/s, latency: 30 us}
types:
  one: {memory: 8 GiB, memory_bandwidth: 10 GB/s, flops: {float32: 1 TFLOP/s}}
  two: {memory: 8 GiB, memory_bandwidth: 10 GB/s, flops: {float32: 1 TFLOP/s}}
"""


def graph(*times: dict[str, float]) -> str:
    ops = [{"name": f"n{i}", "time_s": each, "memory_bytes": 1, "output_bytes": 1000000} for i, each in enumerate(times)]
    return json.dumps({"format": 1, "kind": "profile", "ops": ops, "edges": [["n0", f"n{i}"] for i in range(1, len(ops))]})


def test_whole_numbers_are_seconds_too() -> None:
    problem = make_problem(parse_profile(graph({"one": 1}, {"one": 1}), "g"), parse_cluster(CLUSTER, "c"), Goal("throughput"))
    assert problem.time_s.dtype == float
    assert solve(problem).value_s == pytest.approx(1.000101)


def test_a_tensor_is_paid_once_for_each_other_rank_at_both_ends() -> None:
    text = graph({"one": 1.0}, {"one": 1.0}, {"one": 1.0}, {"two": 1.0})
    problem = make_problem(parse_profile(text, "g"), parse_cluster(CLUSTER, "c"), Goal("throughput"))
    found = loads(problem, (0, 1, 1, 2))
    inside, between = 1e-6 + 1e6 / 10e9, 50e-6 + 1e6 / 1e9
    np.testing.assert_allclose(found.sent_s, [inside + between, 0, 0])
    np.testing.assert_allclose(found.received_s, [0, inside, between])


def test_layout_and_order_of_keys_do_not_change_the_digest() -> None:
    text = graph({"one": 1.0, "two": 2.0}, {"two": 1.0})
    again = json.dumps(json.loads(text), indent=3, sort_keys=True)
    other = text.replace("2.0", "2.5")
    first, second, third = (parse_profile(each, "g").digest for each in (text, again, other))
    assert first == second != third
