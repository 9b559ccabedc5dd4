"""Collectives, by hand."""

from __future__ import annotations

import random

import pytest

from cost_models.collective import (
    Topology,
    all_gather_s,
    all_gather_uneven_s,
    all_reduce_handling_s,
    all_reduce_s,
    all_to_all_s,
    axis_sum_s,
    broadcast_s,
    hierarchical_all_reduce_s,
    p2p_s,
    reduce_scatter_s,
    reduce_scatter_uneven_s,
    ring_all_gather_s,
)
from cost_models.hardware import Link

INSIDE, ACROSS = Link(1e-3, 100.0), Link(1e-2, 10.0)
COLLECTIVES = (all_gather_s, reduce_scatter_s, all_reduce_s, broadcast_s, hierarchical_all_reduce_s, all_to_all_s, axis_sum_s)


def test_p2p() -> None:
    assert p2p_s(200, INSIDE) == pytest.approx(1e-3 + 2.0)
    assert p2p_s(0, INSIDE) == 0.0


def test_ring_inside_a_node() -> None:
    """400 bytes over 4 ranks: steps of 100 bytes, a second each; 3 steps to gather, 3 to scatter, 6 to do both."""
    topology = Topology((4,), INSIDE)
    assert all_gather_s(400, topology) == pytest.approx(3 * 1.001)
    assert reduce_scatter_s(400, topology) == pytest.approx(3 * 1.001)
    assert all_reduce_s(400, topology) == pytest.approx(6 * 1.001)


def test_uneven_parts_wait_for_the_largest() -> None:
    topology = Topology((4,), INSIDE)
    assert all_gather_uneven_s([200, 100, 50, 50], topology) == pytest.approx(3 * 2.001)
    assert reduce_scatter_uneven_s([0, 0, 0, 400], topology) == pytest.approx(3 * 4.001)
    assert all_gather_uneven_s([100] * 4, topology) == pytest.approx(all_gather_s(400, topology))


def test_across_nodes() -> None:
    """Two nodes of two. Flat ring: 6 steps of 100 bytes at 10 bytes a second. Hierarchical: inside 2 steps of 200 bytes at 100,
    across 2 steps of 200 bytes at 10.
    """
    topology = Topology((2, 2), INSIDE, ACROSS)
    flat, hierarchical = 6 * (0.01 + 10), 2 * (0.001 + 2) + 2 * (0.01 + 20)
    assert hierarchical_all_reduce_s(400, topology) == pytest.approx(hierarchical)
    assert all_reduce_s(400, topology) == pytest.approx(min(flat, hierarchical))
    assert all_gather_s(400, topology) == pytest.approx(3 * (0.01 + 10))


def test_hierarchical_saves_latency() -> None:
    topology = Topology((8, 8), INSIDE, ACROSS)
    assert all_reduce_s(1e-6, topology) == pytest.approx(2 * 7 * 1e-3 + 2 * 1e-2, rel=1e-3)


def test_broadcast() -> None:
    """Small: 2 rounds of the tree. Large: 2 + 3 latencies, and twice three quarters of the bytes."""
    topology = Topology((4,), INSIDE)
    assert broadcast_s(1e-6, topology) == pytest.approx(2e-3, rel=1e-3)
    assert broadcast_s(400, topology) == pytest.approx(5e-3 + 6.0)


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_one_rank_or_no_bytes_cost_nothing(collective) -> None:  # type: ignore[no-untyped-def]
    assert collective(1e9, Topology((1,))) == 0.0
    assert collective(0, Topology((3, 1), INSIDE, ACROSS)) == 0.0


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_monotone(collective) -> None:  # type: ignore[no-untyped-def]
    """More bytes, more latency or less bandwidth never cost less."""
    rng = random.Random(0)
    for _ in range(300):
        nodes = tuple(rng.randint(1, 8) for _ in range(rng.randint(1, 5)))
        inside = Link(10 ** rng.uniform(-6, -3), 10 ** rng.uniform(9, 12))
        across = Link(10 ** rng.uniform(-6, -3), 10 ** rng.uniform(8, 11))
        nbytes = 10 ** rng.uniform(0, 10)
        base = collective(nbytes, Topology(nodes, inside, across))
        assert collective(nbytes * 1.5, Topology(nodes, inside, across)) >= base
        slower_across = Link(across.latency_s * 2, across.bandwidth_bytes_per_s / 2)
        assert collective(nbytes, Topology(nodes, inside, slower_across)) >= base
        slower_inside = Link(inside.latency_s * 2, inside.bandwidth_bytes_per_s / 2)
        assert collective(nbytes, Topology(nodes, slower_inside, across)) >= base


def test_no_all_reduce_beats_the_bandwidth_bound() -> None:
    """Every byte of a rank must leave it and come back: 2 (p-1)/p n over the link (Patarasu and Yuan)."""
    for ranks in (2, 3, 8):
        topology = Topology((ranks,), INSIDE)
        assert all_reduce_s(1e4, topology) >= 2 * (ranks - 1) / ranks * 1e4 / INSIDE.bandwidth_bytes_per_s


def gloo(*ranks_per_node: int, message_cpu_s: float = 0.0, byte_cpu_s: float = 0.0, memory_byte_s: float = 0.0) -> Topology:
    return Topology(ranks_per_node, INSIDE, ACROSS, "gloo", message_cpu_s, byte_cpu_s, memory_byte_s)


def test_gloo_asks_before_every_step_of_a_ring() -> None:
    """Four nodes, next to no bytes: 3 steps to gather and 6 to sum, of two latencies each; an all-to-all needs two in all."""
    assert ring_all_gather_s(1e-9, gloo(1, 1, 1, 1)) == pytest.approx(3 * 2e-2)
    assert all_reduce_s(1e-9, gloo(1, 1, 1, 1)) == pytest.approx(6 * 2e-2)
    assert all_to_all_s(1e-9, gloo(1, 1, 1, 1)) == pytest.approx(2e-2)


def test_gloo_hides_the_question_behind_large_parts() -> None:
    """400 bytes over 4 nodes at 10 bytes a second: a step's 10 s are longer than 20 ms and half of them."""
    assert all_reduce_s(400, gloo(1, 1, 1, 1)) == pytest.approx(6 * 10)
    assert all_gather_s(400, gloo(1, 1, 1, 1)) == pytest.approx(2e-2 + 30)
    assert reduce_scatter_s(400, gloo(1, 1, 1, 1)) == all_gather_s(400, gloo(1, 1, 1, 1))


def test_gloo_has_no_hierarchy() -> None:
    assert all_reduce_s(1e-9, gloo(4, 4)) == pytest.approx(2 * 7 * 2e-2)


def test_all_at_once_fills_the_uplink_with_every_rank_of_a_node() -> None:
    """400 bytes over two nodes of two: each of a node's two ranks sends 100 bytes to two ranks elsewhere, at 10 a second."""
    assert all_to_all_s(400, gloo(2, 2)) == pytest.approx(2e-2 + 40)
    assert all_to_all_s(400, Topology((2, 2), INSIDE, ACROSS)) == pytest.approx(1e-2 + 40)


def test_two_ranks_of_gloo_exchange_both_ways_at_once() -> None:
    """200 bytes each way at 10 bytes a second; and so they gather. Three ranks make a ring of two steps of 200 bytes."""
    assert all_to_all_s(400, gloo(1, 1)) == pytest.approx(2e-2 + 20)
    assert ring_all_gather_s(400, gloo(1, 1)) == pytest.approx(2e-2 + 20)
    assert ring_all_gather_s(600, gloo(1, 1, 1)) == pytest.approx(2 * 20)


def test_inside_a_node_both_directions_are_copied_one_after_the_other() -> None:
    """200 bytes each way between two of one node at 100 bytes a second; across, 2 x 2 x 100 bytes at 10."""
    assert all_to_all_s(400, gloo(2)) == pytest.approx(2e-3 + 2 * 2)
    assert all_to_all_s(400, gloo(2, 2)) == pytest.approx(2e-2 + 40)


def test_two_ranks_sum_by_sending_each_other_theirs() -> None:
    """400 bytes each way at 10 bytes a second, both at once."""
    assert axis_sum_s(400, gloo(1, 1)) == pytest.approx(2e-2 + 40)
    assert axis_sum_s(400, Topology((1, 1), across=ACROSS)) == all_reduce_s(400, Topology((1, 1), across=ACROSS))


def test_adding_up_what_came_takes_time() -> None:
    """Where a byte that is read or written takes 0.01 s. An exchange of four parts of 100 bytes, then four are read and one is
    written; of two whole rows of 400, two and one.
    """
    slow = {"memory_byte_s": 0.01}
    assert reduce_scatter_s(400, gloo(1, 1, 1, 1, **slow)) == pytest.approx(all_to_all_s(400, gloo(1, 1, 1, 1)) + 500 * 0.01)
    assert axis_sum_s(400, gloo(1, 1, **slow)) == pytest.approx(all_to_all_s(800, gloo(1, 1)) + 1200 * 0.01)
    assert all_gather_s(400, gloo(1, 1, **slow)) == all_gather_s(400, gloo(1, 1))


def test_a_ring_adds_while_the_other_half_moves() -> None:
    """Two ranks, parts of 200 bytes, 20 s on the link. Adding reads two and writes one: 6 s hide behind it, 60 s do not; the way
    back adds nothing. Inside a node the processors that add are those that copy: 2 s and 6 s.
    """
    base = all_reduce_s(400, gloo(1, 1))
    assert all_reduce_s(400, gloo(1, 1, memory_byte_s=0.01)) == pytest.approx(base)
    assert all_reduce_s(400, gloo(1, 1, memory_byte_s=0.1)) == pytest.approx(60 + 20)
    assert all_reduce_s(400, gloo(2, memory_byte_s=0.01)) == pytest.approx((2 + 6) + 2)
    assert all_reduce_handling_s(400, gloo(1, 1, memory_byte_s=0.1)) == pytest.approx(60)


def test_messages_take_processor_time() -> None:
    """A step has two halves, each sent and received; where handling bytes takes longer than moving them, it counts."""
    base = all_reduce_s(400, gloo(1, 1))
    assert all_reduce_s(400, gloo(1, 1, message_cpu_s=0.5)) == pytest.approx(base + 2 * 4 * 0.5)
    assert all_reduce_s(400, gloo(1, 1, byte_cpu_s=0.01)) == pytest.approx(base)
    assert all_reduce_s(400, gloo(1, 1, byte_cpu_s=0.1)) == pytest.approx(2 * 2 * 200 * 0.1)
