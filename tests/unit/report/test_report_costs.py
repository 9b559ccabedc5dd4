"""The terms that a page shows add up to what the simulator was given; its bytes to the messages that were sent."""

from __future__ import annotations

from collections import Counter

import pytest

from autopart.planner.score import score
from autopart.program.check import check_plan
from autopart.program.pieces import messages, nbytes
from autopart.report.opcosts import stage_cost
from autopart.report.runs import edges, runs
from autopart.report.traffic import boundaries, link_uses, message_bytes
from tests.shown import Shown, large, small

BOTH = pytest.mark.parametrize("make", [small, large])
Make = type(small)


@BOTH
def test_ops_add_up_to_the_stage(make: Make) -> None:
    """And blocks in their order are the stage's own."""
    shown: Shown = make()
    check_plan(shown.plan, shown.blocks, shown.cluster)
    rewritten = shown.index.tables_of(shown.plan)
    for stage in rewritten.local.plan.stages:
        cost = stage_cost(stage, rewritten, shown.index, shown.scored.costs)
        own = shown.scored.costs.of[stage.index, cost.rank]
        assert cost.forward_s == pytest.approx(own.forward_s, rel=1e-12)
        assert cost.backward_s == pytest.approx(own.backward_s, rel=1e-12)
        slowest = max(c.forward_s + c.backward_s for (index, _), c in shown.scored.costs.of.items() if index == stage.index)
        assert own.forward_s + own.backward_s == slowest
        names = [iter(block.names) for block in cost.blocks]
        assert tuple(next(names[kind]) for kind in cost.order) == stage.blocks


@BOTH
def test_links_carry_every_message_twice(make: Make) -> None:
    """Out of one end and into the other; a busy second is a byte over the bandwidth of the slower end at least."""
    shown: Shown = make()
    timeline = shown.scored.timeline
    uses = link_uses(timeline, shown.cluster)
    for outward in (False, True):
        assert sum(use.nbytes for use in uses if use.outward == outward) == sum(m.nbytes for m in timeline.messages)
        assert sum(use.messages for use in uses if use.outward == outward) == len(timeline.messages)
    for use in uses:
        assert use.nbytes / use.bandwidth_bytes_per_s <= use.busy_s * (1 + 1e-9)
        assert use.busy_s <= timeline.step_s, f"{use.name} carries one message at a time"
        assert use.waited_s >= -1e-12
    assert list(uses) == sorted(uses, key=lambda use: -use.busy_s)


@BOTH
def test_boundaries_are_what_the_program_sends(make: Make) -> None:
    program, timeline = make().scored.program, make().scored.timeline
    stage_of = {rank: stage.index for stage in program.stages for rank in stage.ranks}
    expected: Counter[tuple[bool, int, int]] = Counter()
    for backward in (False, True):
        for (sender, receiver), pieces in messages(program, backward=backward).items():
            size = sum(nbytes(piece, program.batch_size) for piece in pieces)
            expected[backward, stage_of[sender], stage_of[receiver]] += size
    found = boundaries(program, message_bytes(timeline.messages))
    assert {(False, b.source, b.target): b.forward_bytes for b in found} == {k: v for k, v in expected.items() if not k[0]}
    assert {(True, b.target, b.source): b.backward_bytes for b in found} == {k: v for k, v in expected.items() if k[0]}


@BOTH
def test_runs_are_the_blocks_once(make: Make) -> None:
    shown: Shown = make()
    drawn = runs(shown.blocks, shown.plan)
    assert [b.name for run in drawn for b in run.blocks] == [b.name for b in shown.blocks.blocks]
    assert all(block.name in shown.plan.stages[run.stage].blocks for run in drawn for block in run.blocks)
    for run in drawn:
        kinds = [block.kind for block in run.blocks]
        assert kinds == [block.kind for block in run.unit] * run.times
    assert len(drawn) <= 3 * len(shown.plan.stages), "repeats are one box"


def test_edges_between_runs_by_hand() -> None:
    """Hidden states of 16 tokens of 64 float32 numbers, six samples."""
    shown = small()
    drawn = runs(shown.blocks, shown.plan)
    assert [run.label for run in drawn] == ["wte", "h.0 .. 1, 2 times", "h.2 .. 3, 2 times", "h.4 .. 5, 2 times", "head"]
    found = [(edge.source, edge.target, edge.nbytes) for edge in edges(shown.blocks, drawn, 6)]
    assert found == [(i, i + 1, 6 * 16 * 64 * 4) for i in range(4)]


@BOTH
def test_busy_seconds_and_waiting_make_the_step(make: Make) -> None:
    shown: Shown = make()
    scored = score(shown.plan, shown.index)
    for rank, causes in scored.timeline.seconds.items():
        waits = causes["transfer"] + causes["bubble"]
        assert scored.busy_s[rank] + waits == pytest.approx(scored.step_s, rel=1e-9)
    assert shown.plan.estimate is not None
    assert shown.plan.estimate.busy_s == scored.busy_s
