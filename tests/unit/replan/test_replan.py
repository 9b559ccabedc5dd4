"""Plans for clusters that changed: what is kept of the old plan, what moves, from whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autopart.cluster.cluster import Cluster, Group
from autopart.errors import Infeasible
from autopart.planner.best import best_plan
from autopart.planner.decode import build_plan
from autopart.planner.known import candidates_of, with_known
from autopart.planner.meshes import Index, make_index
from autopart.planner.price import price, propose
from autopart.planner.score import formula_step, score
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Moves, Plan, RankMoves, Schedule, Settings, Stage, Take
from autopart.program.state import state_of
from autopart.replan.inherit import inherited
from autopart.replan.moves import busiest_s, moves_of
from autopart.replan.replan import make_before, replan
from autopart.report.moves import format_moves
from cost_models.hardware import DeviceType, Link
from tests.unit.planner.test_prices import three_layers

FAST = DeviceType("fast", 2**34, 1e11, {"float32": 1e9}, 1e-6)
SLOW = DeviceType("slow", 2**34, 1e10, {"float32": 1e8}, 1e-5)
INSIDE, NETWORK = Link(1e-7, 1e9), Link(1e-6, 1e8)
MATRIX = 4 * 4 * 4  # bytes of one of the three weights; AdamW keeps twice as much beside it
STATE = 3 * MATRIX


def cluster(*nodes: tuple[str, DeviceType, int, int], network: Link = NETWORK) -> Cluster:
    """Entries of name, type, nodes and devices."""
    return Cluster("c.yaml", "", tuple(Group(name, count, kind, size, INSIDE, network) for name, kind, count, size in nodes))


def index_of(machines: Cluster, batch_size: int = 64) -> Index:
    return make_index(three_layers(), machines, batch_size, Settings(), ModelRef("m.py"))


def stage(number: int, blocks: str, ranks: tuple[int, ...], samples: int = 16, **changes: object) -> Stage:
    """Blocks by number ("01"), samples shared out evenly."""
    tensor = changes.get("tensor", 1)
    data = len(ranks) // tensor
    return Stage(number, tuple(f"fc{b}" for b in blocks), ranks, (samples // data,) * data, data, **changes)


def by_hand(machines: Cluster, *stages: Stage, microbatches: int = 4) -> Plan:
    return build_plan(index_of(machines), Schedule("1f1b", microbatches), stages)


def replanned(plan: Plan, old: Cluster, new: Cluster, pins: Pins | None = None, **changes: float) -> Plan:
    index = index_of(new)
    return replan(make_before(plan, old, index), index, pins or Pins(), plan.schedule.name, **changes)


def moved(plan: Plan, old: Cluster, after: Plan, new: Cluster) -> Moves:
    """From a plan to this very plan."""
    index = index_of(new)
    before = make_before(plan, old, index)
    state = state_of(score(after, index).program, index.blocks.sharded.graph, "adamw")
    return moves_of(after, plan, (before.state, state), (old, new), before.same, index.blocks)


TWO_AND_TWO = cluster(("f", FAST, 1, 2), ("s", SLOW, 1, 2))


# What moves


def test_what_a_lost_node_had_alone_comes_from_a_checkpoint() -> None:
    """fc0 is on both devices of f, fc1 and fc2 on s:0 alone. Node s is lost, and t is there in its place."""
    now = Cluster("c.yaml", "", (TWO_AND_TWO.groups[0], replace(TWO_AND_TWO.groups[1], name="t")))
    before = by_hand(TWO_AND_TWO, stage(0, "0", (0, 1)), stage(1, "12", (2,)))
    after = by_hand(now, stage(0, "01", (0,)), stage(1, "2", (1, 3)))
    found = moved(before, TWO_AND_TWO, after, now)
    assert found.ranks == (
        RankMoves(0, 0, STATE, (Take(None, STATE, ("fc1",)),)),
        RankMoves(1, 1, 0, (Take(None, STATE, ("fc2",)),)),
        RankMoves(3, None, 0, (Take(None, STATE, ("fc2",)),)),
    )
    assert (found.nbytes, found.checkpoint_bytes, found.seconds) == (3 * STATE, 3 * STATE, 0.0)
    assert (found.kept, found.lost, found.new) == (2, ("s:0", "s:1"), ("t:0", "t:1"))


def test_from_the_nearest_holder_and_of_these_from_the_one_that_gives_least() -> None:
    """Everybody takes all: the devices of s from each other what these have, the rest comes over the network."""
    before = by_hand(TWO_AND_TWO, stage(0, "0", (0, 1)), stage(1, "1", (2,)), stage(2, "2", (3,)))
    after = by_hand(TWO_AND_TWO, stage(0, "012", (0, 1, 2, 3)))
    found = moved(before, TWO_AND_TWO, after, TWO_AND_TWO)
    assert found.ranks == (
        RankMoves(0, 0, STATE, (Take(2, STATE, ("fc1",)), Take(3, STATE, ("fc2",)))),
        RankMoves(1, 1, STATE, (Take(2, STATE, ("fc1",)), Take(3, STATE, ("fc2",)))),
        RankMoves(2, 2, STATE, (Take(0, STATE, ("fc0",)), Take(3, STATE, ("fc2",)))),
        RankMoves(3, 3, STATE, (Take(1, STATE, ("fc0",)), Take(2, STATE, ("fc1",)))),
    )
    assert found.seconds == pytest.approx(4 * STATE / 1e8)  # s sends four matrices with their state over its uplink


def test_tensor_halves_become_whole_and_the_other_way_round() -> None:
    """fc0 and fc1 split over two columns. A column that takes all lacks halves; one that had all lacks nothing."""
    f = cluster(("f", FAST, 1, 2))
    split = by_hand(f, stage(0, "012", (0, 1), tensor=2, layouts={"fc0.weight": "S(0)", "fc1.weight": "S(1)", "*": "R"}))
    whole = by_hand(f, stage(0, "012", (0, 1)))
    found = moved(split, f, whole, f)
    assert [each.keeps_bytes for each in found.ranks] == [2 * STATE, 2 * STATE]
    assert [each.takes for each in found.ranks] == [(Take(1, STATE, ("fc0", "fc1")),), (Take(0, STATE, ("fc0", "fc1")),)]
    assert moved(whole, f, split, f).nbytes == 0
    rows = by_hand(f, stage(0, "012", (0, 1), tensor=2, layouts={"fc0.weight": "S(1)", "fc1.weight": "S(0)", "*": "R"}))
    other = moved(split, f, rows, f)  # of each half a quarter of the matrix is there
    assert [each.keeps_bytes for each in other.ranks] == [STATE + STATE // 2] * 2
    assert other.nbytes == STATE


def test_zero_parts_are_taken_from_those_who_have_them() -> None:
    """At level 1 each has all weights and AdamW's state of one and a half matrices; at level 3 half of both."""
    f = cluster(("f", FAST, 1, 2))
    shared = by_hand(f, stage(0, "012", (0, 1), zero=1))
    found = moved(shared, f, by_hand(f, stage(0, "012", (0, 1))), f)
    assert [each.keeps_bytes for each in found.ranks] == [3 * MATRIX + 3 * MATRIX] * 2
    assert [each.takes for each in found.ranks] == [
        (Take(1, 3 * MATRIX, ("fc1", "fc2")),),
        (Take(0, 3 * MATRIX, ("fc0", "fc1")),),
    ]
    all_of_it = by_hand(f, stage(0, "012", (0, 1), zero=3))
    assert moved(shared, f, all_of_it, f).nbytes == 0
    found = moved(all_of_it, f, shared, f)
    assert [each.nbytes for rank in found.ranks for each in rank.takes] == [3 * MATRIX // 2] * 2


def test_the_busiest_link() -> None:
    machines = cluster(("a", FAST, 2, 2))
    assert busiest_s([], machines) == 0.0
    assert busiest_s([(0, 1, 500)], machines) == pytest.approx(500 / 1e9)
    assert busiest_s([(0, 2, 300), (1, 3, 400), (2, 0, 500)], machines) == pytest.approx(700 / 1e8)


# What is kept


def test_an_unchanged_cluster_keeps_its_plan_and_moves_nothing() -> None:
    for machines in (TWO_AND_TWO, cluster(("a", FAST, 2, 2)), cluster(("f", FAST, 1, 3), ("s", SLOW, 2, 1))):
        plan = best_plan(index_of(machines))
        found = replanned(plan, machines, machines)
        assert found.moves is not None
        assert found.moves.nbytes == 0
        assert found.estimate.step_time_s <= plan.estimate.step_time_s * 1.02
        assert (found.moves.kept, found.moves.lost, found.moves.new) == (len(machines.ranks), (), ())


def test_without_tolerance_the_fastest_plan_is_taken() -> None:
    """A slow device alone is a poor plan, and stays so."""
    poor = by_hand(TWO_AND_TWO, stage(0, "012", (2,)))
    found = replanned(poor, TWO_AND_TWO, TWO_AND_TWO, stay=0.0)
    assert found.estimate.step_time_s <= best_plan(index_of(TWO_AND_TWO)).estimate.step_time_s * (1 + 1e-9)
    stays = replanned(poor, TWO_AND_TWO, TWO_AND_TWO, stay=0.999 * 100)
    assert stays.moves.nbytes == 0
    assert stays.stages == poor.stages


def test_a_tolerance_keeps_a_plan_that_is_nearly_as_fast() -> None:
    best = best_plan(index_of(TWO_AND_TWO))
    order = tuple(reversed(best.stages[0].ranks))
    assert replanned(best, TWO_AND_TWO, TWO_AND_TWO).moves.nbytes == 0
    turned = replace(best, stages=(replace(best.stages[0], ranks=order), *best.stages[1:]))
    assert replanned(turned, TWO_AND_TWO, TWO_AND_TWO).moves.nbytes == 0


def test_a_lost_node_leaves_its_work_to_one_like_it() -> None:
    """Two of three equal nodes did all; of the one that is lost the idle one takes the work, and nothing else moves."""
    old, new = cluster(("a", FAST, 3, 2)), cluster(("a0", FAST, 1, 2), ("a2", FAST, 1, 2))
    plan = by_hand(old, stage(0, "01", (0, 1)), stage(1, "2", (2, 3)))
    (kept,) = inherited(plan, old, make_before(plan, old, index_of(new)).same, index_of(new))
    assert [each.ranks for each in kept.stages] == [(0, 1), (2, 3)]
    assert [each.shares for each in kept.stages] == [(8, 8), (8, 8)]


def test_where_nobody_is_like_it_replicas_go_and_stages_close_up() -> None:
    old, new = cluster(("a", FAST, 2, 2), ("s", SLOW, 1, 1)), cluster(("a", FAST, 1, 2))
    plan = by_hand(old, stage(0, "0", (0, 1, 2), 15), stage(1, "1", (4,), 15), stage(2, "2", (3,), 15))
    plan = replace(plan, batch_size=60)
    index = make_index(three_layers(), new, 60, Settings(), ModelRef("m.py"))
    ways = inherited(plan, old, make_before(plan, old, index).same, index)
    assert [[(each.blocks, each.ranks, each.shares) for each in way.stages] for way in ways] == [
        [(("fc0", "fc1", "fc2"), (0, 1), (8, 7))]
    ]
    three = cluster(("a", FAST, 1, 2), ("b", FAST, 1, 1))
    index = make_index(three_layers(), three, 60, Settings(), ModelRef("m.py"))
    ways = inherited(plan, old, {0: 0, 2: 3}, index)
    assert [[(each.index, each.blocks, each.ranks, each.shares) for each in way.stages] for way in ways] == [
        [(0, ("fc0", "fc1"), (0, 1), (8, 7)), (1, ("fc2",), (2,), (15,))],
        [(0, ("fc0",), (0, 1), (8, 7)), (1, ("fc1", "fc2"), (2,), (15,))],
    ]


def test_a_last_replica_shares_nothing_out() -> None:
    old, new = cluster(("a", FAST, 2, 1)), cluster(("a", FAST, 1, 1))
    plan = by_hand(old, stage(0, "012", (0, 1), zero=2))
    index = index_of(new)
    (way,) = inherited(plan, old, {0: 1}, index)
    assert [(each.ranks, each.shares, each.data, each.zero) for each in way.stages] == [((0,), (16,), 1, 0)]
    found = replanned(plan, old, new)
    assert found.moves.checkpoint_bytes > 0  # half of Adam's state is lost with a1


def test_nothing_like_the_old_devices() -> None:
    new = cluster(("x", SLOW, 1, 2))
    plan = by_hand(cluster(("a", FAST, 1, 2)), stage(0, "012", (0, 1)))
    assert inherited(plan, cluster(("a", FAST, 1, 2)), {}, index_of(new)) == ()
    found = replanned(plan, cluster(("a", FAST, 1, 2)), new)
    assert found.moves.nbytes == found.moves.checkpoint_bytes > 0


def test_a_new_node_is_used_and_takes_what_it_needs() -> None:
    old, new = cluster(("a", FAST, 1, 1)), cluster(("a", FAST, 2, 1), network=Link(1e-9, 1e12))
    plan = best_plan(index_of(old))
    found = replanned(plan, old, new)
    assert found.moves.new == ("a1:0",)
    assert found.moves.checkpoint_bytes == 0
    assert found.estimate.step_time_s < plan.estimate.step_time_s
    assert {take.source for each in found.moves.ranks for take in each.takes} <= {0}
    assert next(each for each in found.moves.ranks if each.was == 0).takes == ()


def test_a_slower_network_makes_another_plan() -> None:
    quick, slow = Link(1e-9, 1e12), Link(1e-2, 1e5)
    old, new = cluster(("a", FAST, 2, 1), network=quick), cluster(("a", FAST, 2, 1), network=slow)
    plan = best_plan(index_of(old))
    assert len({rank for each in plan.stages for rank in each.ranks}) == 2
    found = replanned(plan, old, new)
    assert [each.ranks for each in found.stages] in ([(0,)], [(1,)])
    assert found.moves.step_before_s == plan.estimate.step_time_s


def test_pins_hold_and_the_answer_may_be_no() -> None:
    plan = best_plan(index_of(TWO_AND_TWO))
    assert len(replanned(plan, TWO_AND_TWO, TWO_AND_TWO, Pins(stages=2)).stages) == 2
    tiny = cluster(("f", replace(FAST, memory_bytes=2**20), 1, 1))
    with pytest.raises(Infeasible, match="no plan fits"):
        replanned(plan, TWO_AND_TWO, tiny)


# The search


def test_the_old_plan_is_the_first_incumbent() -> None:
    """At its exact price, whether or not the planner would have had its options."""
    index = index_of(TWO_AND_TWO)
    odd = by_hand(TWO_AND_TWO, Stage(0, ("fc0",), (0, 2), (9, 7), 2), stage(1, "12", (1,), recompute=True))
    problem = price(index, with_known(propose(index), [odd], index))
    (candidate,) = candidates_of([odd], problem, (index,))
    assert [(choice.start, choice.stop) for choice in candidate.choices] == [(0, 1), (1, 3)]
    assert candidate.step_s == pytest.approx(formula_step(odd, index), rel=1e-12)
    assert candidates_of([odd], price(index, propose(index)), (index,)) == ()


def test_a_plan_that_does_not_fit_is_no_incumbent() -> None:
    index = index_of(cluster(("f", replace(FAST, memory_bytes=2**20), 1, 2)))
    plan = by_hand(index.cluster, stage(0, "012", (0, 1)))
    assert candidates_of([plan], price(index, with_known(propose(index), [plan], index)), (index,)) == ()


# What is said


def test_the_report() -> None:
    plan = by_hand(TWO_AND_TWO, stage(0, "01", (0, 1)), stage(1, "2", (2,)))
    takes = (Take(2, 3 * 2**20, ("fc0", "fc2")), Take(None, 2**20, ("fc0", "fc1", "fc2")))
    moves = Moves(9 * 2**20, 2**20, 0.5, 0.1, 3, ("s:1",), (), (RankMoves(0, 1, 2**20, takes), RankMoves(1, None, 0)))
    assert format_moves(replace(plan, moves=moves)) == (
        "devices: 3 kept, 1 lost (s:1), 0 new, 1 left out\n"
        "moves: 8 MiB between devices, in 500 ms at least and 1 MiB from a checkpoint; "
        "1 MiB of parameters and optimizer state stay in place\n"
        "\n"
        "rank  was  keeps  takes  from          of blocks\n"
        "0     1    1 MiB  3 MiB  rank 2        fc0, fc2\n"
        "                  1 MiB  a checkpoint  fc0 .. fc2 (3)\n"
        "\n"
        "only a checkpoint has 1 MiB of it: devices that are lost were the only ones with (parts of) fc0 .. fc2 (3)\n"
    )
    assert format_moves(plan) == ""
