"""Small programs timed by hand. A message of chain() is 4 bytes a row."""

from dataclasses import replace
from time import process_time

import pytest

from autopart.cluster.cluster import Cluster
from autopart.pricing.costs import Reduction
from autopart.program.program import Kind
from autopart.simulate import Message, Timeline, simulate
from cost_models.hardware import Link
from tests.programs import chain, cluster_of, costs_of

MIB = 2**20


def spans(timeline: Timeline, rank: int) -> list[tuple[str, float, float]]:
    found = [event for event in timeline.events if event.rank == rank and event.action.microbatch >= 0]
    return [(f"{event.action.kind.value}{event.action.microbatch}", event.start_s, event.end_s) for event in found]


def test_one_rank_just_computes() -> None:
    program = chain([(1,)], 3)
    timeline = simulate(program, costs_of(program, [1], [2], update_s=0.5), cluster_of(1))
    assert timeline.step_s == 9.5
    assert timeline.seconds[0] == {"forward": 3, "backward": 6, "transfer": 0, "bubble": 0, "reduce": 0, "update": 0.5}
    assert timeline.breakdown == timeline.seconds[0]


def test_one_microbatch_travels_there_and_back() -> None:
    program = chain([(5,), (5,)], 1)
    timeline = simulate(program, costs_of(program, [1, 2], [3, 4]), cluster_of(2, inside=Link(0.5, 10)))
    message_s = 0.5 + 5 * 4 / 10
    assert timeline.step_s == 1 + message_s + 2 + 4 + message_s + 3
    assert timeline.messages == (
        Message(0, 1, 0, False, 20, 1, 1, 1 + message_s),
        Message(1, 0, 0, True, 20, 9.5, 9.5, 9.5 + message_s),
    )
    assert timeline.seconds[0] == {"forward": 1, "backward": 3, "transfer": 2.5, "bubble": 8.5, "reduce": 0, "update": 0}
    assert timeline.seconds[1] == {"forward": 2, "backward": 4, "transfer": 2.5, "bubble": 6.5, "reduce": 0, "update": 0}
    assert timeline.idle_s == {0: 11, 1: 9}
    assert timeline.breakdown == timeline.seconds[1]


def test_1f1b_by_hand() -> None:
    program = chain([(1,), (1,)], 3)
    timeline = simulate(program, costs_of(program, [1, 1], [2, 2]), cluster_of(2))
    assert spans(timeline, 1) == [("F0", 1, 2), ("B0", 2, 4), ("F1", 4, 5), ("B1", 5, 7), ("F2", 7, 8), ("B2", 8, 10)]
    assert spans(timeline, 0) == [("F0", 0, 1), ("F1", 1, 2), ("B0", 4, 6), ("F2", 6, 7), ("B1", 7, 9), ("B2", 10, 12)]
    assert timeline.step_s == 6 + 2 * 3 == 12


def test_messages_move_while_ranks_compute() -> None:
    """Each message takes 1 s, each F 1 s: rank 1 never waits after its first message."""
    program = chain([(1,), (1,)], 4, "gpipe")
    timeline = simulate(program, costs_of(program, [1, 1], [0, 0]), cluster_of(2, inside=Link(0, 4)))
    assert [start for name, start, _ in spans(timeline, 1) if name[0] == "F"] == [2, 3, 4, 5]


def test_a_receive_is_posted_one_step_ahead_and_no_earlier() -> None:
    """Rank 0 is fast: its second message waits until rank 1 begins its first forward, its third until the second."""
    program = chain([(1,), (1,)], 3, "gpipe")
    timeline = simulate(program, costs_of(program, [1, 10], [0, 0]), cluster_of(2, inside=Link(0.25, 1e9)))
    ready = [message.ready_s for message in timeline.messages if not message.backward]
    assert ready == pytest.approx([1, 2, 11.25])
    assert [start for name, start, _ in spans(timeline, 1) if name[0] == "F"] == pytest.approx([1.25, 11.25, 21.25])


def test_a_nodes_uplink_carries_one_message_at_a_time() -> None:
    """Two ranks of one node send 8 bytes each to two ranks of another at 8 bytes a second."""
    program = chain([(2, 2), (2, 2)], 1, "gpipe")
    costs = costs_of(program, [1, 1], [0, 0])
    network = Link(0.25, 8)
    shared = simulate(program, costs, cluster_of(2, 2, network=network))
    assert [(m.sender, m.start_s, m.end_s) for m in shared.messages if not m.backward] == [(0, 1, 2.5), (1, 2, 3.5)]
    inside = simulate(program, costs, cluster_of(4, inside=network))
    assert [(m.sender, m.start_s, m.end_s) for m in inside.messages if not m.backward] == [(0, 1, 2.25), (1, 1, 2.25)]


def test_directions_of_an_uplink_do_not_disturb_each_other() -> None:
    """Forward 1 leaves once rank 1 begins backward 0, whose gradient comes back at the same time."""
    program = chain([(1,), (1,)], 2)
    timeline = simulate(program, costs_of(program, [1, 1], [1, 1]), cluster_of(1, 1, network=Link(0, 1)))
    assert [(m.microbatch, m.backward, m.start_s, m.end_s) for m in timeline.messages[:3]] == [
        (0, False, 1, 5),
        (1, False, 6, 10),
        (0, True, 7, 11),
    ]


def test_a_fast_uplink_feeds_two_slow_ones_at_once() -> None:
    fast, slow = cluster_of(1, network=Link(0, 80)).groups[0], cluster_of(1, network=Link(0, 8)).groups[0]
    cluster = Cluster("", "", (fast, slow, slow))
    program = chain([(4,), (2, 2)], 1, "gpipe")
    timeline = simulate(program, costs_of(program, [1, 1], [0, 0]), cluster)
    there = [(m.receiver, m.start_s, m.end_s) for m in timeline.messages if not m.backward]
    assert there == [(1, 1, 2), (2, 1.1, 2.1)]


def test_an_exception_sets_the_pace_of_its_path() -> None:
    cluster = replace(cluster_of(1, 1, network=Link(0, 1e9)), exceptions=(((0, 1), Link(1, 2)),))
    program = chain([(1,), (1,)], 1)
    timeline = simulate(program, costs_of(program, [1, 1], [1, 1]), cluster)
    assert timeline.step_s == 4 + 2 * (1 + 4 / 2)


def test_replicas_wait_for_the_rows_they_need() -> None:
    """Rank 0 has 3 rows, rank 1 one; rank 2 needs rows of rank 0 alone, rank 3 of both."""
    program = chain([(3, 1), (2, 2)], 1)
    costs = costs_of(program, [1, 1], [1, 1])
    slow = replace(costs.of[0, 1], forward_s=5.0)
    timeline = simulate(program, replace(costs, of={**costs.of, (0, 1): slow}), cluster_of(4))
    assert spans(timeline, 2)[0] == ("F0", 1, 2)
    assert spans(timeline, 3)[0] == ("F0", 5, 6)


def test_a_small_gradient_sum_follows_the_slowest_replica() -> None:
    program = chain([(1, 1)], 2)
    costs = costs_of(program, [1], [2], update_s=0.5, reductions=[Reduction((0,), (0, 1), MIB, 3)])
    slow = replace(costs.of[0, 1], backward_s=4.0)
    timeline = simulate(program, replace(costs, of={**costs.of, (0, 1): slow}), cluster_of(2))
    assert timeline.step_s == 10 + 3 + 0.5
    assert timeline.seconds[0]["reduce"] == 4 + 3
    assert timeline.seconds[1]["reduce"] == 3


def test_buckets_overlap_with_the_last_backward() -> None:
    """Four buckets of 1 s each; ready after 1, 2, 3, 4 s of a last backward of 4 s: only the last is left at its end."""
    program = chain([(1, 1)], 3)
    costs = costs_of(program, [1], [4], reductions=[Reduction((0,), (0, 1), 100 * MIB, 4)])
    assert simulate(program, costs, cluster_of(2)).step_s == 3 * 5 + 1
    slow = costs_of(program, [1], [4], reductions=[Reduction((0,), (0, 1), 100 * MIB, 40)])
    assert simulate(program, slow, cluster_of(2)).step_s == 2 * 5 + 1 + 1 + 40


def test_messages_take_time_from_computing() -> None:
    """A message of 20 bytes takes 0.1 s and 0.01 s a byte of each F and B that sends or waits for it; inside a node 0.1 s."""
    program = chain([(5,), (5,)], 1)
    costs = costs_of(program, [1, 2], [3, 4])
    for cluster, handling_s in ((cluster_of(1, 1, network=Link(0.5, 10)), 0.3), (cluster_of(2, inside=Link(0.5, 10)), 0.1)):
        device = replace(cluster.groups[0].device, message_cpu_s=0.1, byte_cpu_s=0.01)
        busy = replace(cluster, groups=tuple(replace(group, device=device) for group in cluster.groups))
        longer_s = simulate(program, costs, busy).step_s - simulate(program, costs, cluster).step_s
        assert longer_s == pytest.approx(4 * handling_s)


def test_sums_take_time_from_the_backward_beside_them() -> None:
    """Three of four buckets move while the last backward runs, and take three quarters of the sum's 2 s from it."""
    program = chain([(1, 1)], 3)
    costs = costs_of(program, [1], [4], reductions=[Reduction((0,), (0, 1), 100 * MIB, 4, 2.0)])
    assert simulate(program, costs, cluster_of(2)).step_s == 3 * 5 + 1 + 1.5
    alone = costs_of(program, [1], [4], reductions=[Reduction((0,), (0, 1), MIB, 4, 2.0)])
    assert simulate(program, alone, cluster_of(2)).step_s == 3 * 5 + 4


def test_a_sum_over_stages_waits_for_all_of_them() -> None:
    """Stage 1 ends at 4 and could stop there; the first stage's backward ends at 6, the tied sum takes 2."""
    program = chain([(1,), (1,)], 1)
    costs = costs_of(program, [1, 1], [2, 2], reductions=[Reduction((0, 1), (0, 1), 100 * MIB, 2)])
    timeline = simulate(program, costs, cluster_of(2))
    assert timeline.step_s == 8
    assert timeline.seconds[1]["reduce"] == 4
    assert timeline.seconds[0]["reduce"] == 2


def test_memory_by_hand() -> None:
    """Two stages of 1F1B over a free network; values and gradients of 3 rows are 12 bytes."""
    program = chain([(3,), (3,)], 4)
    costs = costs_of(program, [1, 1], [2, 2], static=1000, inflight=100, transient=10)
    timeline = simulate(program, costs, cluster_of(2))
    # Rank 0 holds two microbatches and, posted ahead, the gradient to come.
    assert timeline.memory[0][:6] == ((0, 1110), (1, 1222), (2, 1212), (4, 1222), (6, 1222), (7, 1222))
    # At the end, when backward follows backward, two gradients: one in use and one posted.
    assert timeline.peak_bytes[0] == 1000 + 2 * 100 + 10 + 2 * 12
    # Rank 1 holds one, from the start of B0 on the value of F1, and from its end its gradient, which it lets go of when the value
    # of the next but one comes: rank 0 sends that after it took the gradient.
    assert timeline.memory[1][:4] == ((0, 1012), (1, 1110), (2, 1122), (4, 1122))
    assert timeline.peak_bytes[1] == 1000 + 100 + 10 + 12 + 12
    assert {rank: levels[-1][1] for rank, levels in timeline.memory.items()} == {0: 1000, 1: 1000}


def test_gpipe_holds_every_microbatch() -> None:
    program = chain([(1,)], 6, "gpipe")
    timeline = simulate(program, costs_of(program, [1], [1], static=5, inflight=7, transient=2), cluster_of(1))
    assert timeline.peak_bytes == {0: 5 + 6 * 7 + 2}


def test_gradients_come_with_the_first_backward() -> None:
    """All forwards, then all backwards: while most is in flight there are no gradients yet, and the first backward has least."""
    program = chain([(1,)], 3, "gpipe")
    costs = costs_of(program, [1], [1], static=50, inflight=7, transient=2)
    needs = {(True, False): 1, (False, True): 30}
    late = replace(costs, of={(0, 0): replace(costs.of[0, 0], gradient_bytes=20, backward_bytes=needs, reduce_bytes=3)})
    timeline = simulate(program, late, cluster_of(1))
    levels = [30 + 7 + 2, 30 + 14 + 2, 30 + 21 + 2, 30 + 21 + 1, 50 + 14 + 2, 50 + 7 + 30, 50]
    assert [level for _, level in timeline.memory[0]] == levels
    assert timeline.peak_bytes[0] == late.of[0, 0].peak_bytes(3, 3) == 87


def test_the_update_has_its_own_memory() -> None:
    program = chain([(1,)], 1)
    costs = costs_of(program, [1], [1], update_s=1, static=5, inflight=1)
    roomy = replace(costs, of={(0, 0): replace(costs.of[0, 0], update_bytes=50)})
    assert simulate(program, roomy, cluster_of(1)).peak_bytes == {0: 55}


def test_a_slow_network_makes_the_step_longer_never_shorter() -> None:
    program = chain([(2, 1), (3,), (1, 2)], 6, skips=[(0, 2)])
    costs = costs_of(program, [1, 2, 1], [2, 3, 2])
    steps = [simulate(program, costs, cluster_of(2, 3, network=Link(0, 10.0**n))).step_s for n in range(6, -1, -1)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1]


def test_unused_ranks_have_no_part() -> None:
    program = chain([(1,), (1,)], 2)
    timeline = simulate(program, costs_of(program, [1, 1], [1, 1]), cluster_of(2, 6))
    assert set(timeline.peak_bytes) == {0, 1}


def test_a_program_that_hangs_is_our_mistake() -> None:
    program = chain([(1,), (1,)], 1)
    stuck = tuple(action for action in program.actions[0] if action.kind is not Kind.SEND)
    with pytest.raises(AssertionError, match="rank 0 waits for ever"):
        simulate(replace(program, actions={**program.actions, 0: stuck}), costs_of(program, [1, 1], [1, 1]), cluster_of(2))


def test_many_ranks_and_microbatches_are_quick() -> None:
    program = chain([(1,) * 8] * 16, 256)
    cluster = Cluster("", "", tuple(cluster_of(8, network=Link(1e-5, 1e9)).groups[0] for _ in range(16)))
    costs = costs_of(program, [1.0] * 16, [2.0] * 16)
    start_s = process_time()
    timeline = simulate(program, costs, cluster)
    assert process_time() - start_s < 8
    assert timeline.step_s == pytest.approx((256 + 15) * 3, rel=1e-3)
