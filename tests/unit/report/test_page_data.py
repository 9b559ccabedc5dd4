"""The page's data read back: what its script will draw is what was simulated."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest

from autopart.plans import Baseline, ModelRef
from autopart.report.html import SCRIPTS, format_html
from autopart.report.page import KINDS, page_data
from tests.shown import Shown, large, small

BOTH = pytest.mark.parametrize("make", [small, large])
Make = type(small)


def data_of(made: Shown) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(page_data(made.scored, made.index), allow_nan=False))
    return found


@BOTH
def test_tracks(make: Make) -> None:
    made = make()
    data = data_of(made)
    tick_s = data["tick_s"]
    assert 1e6 <= made.scored.timeline.step_s / tick_s < 1e7
    events: dict[int, list[Any]] = defaultdict(list)
    for event in made.scored.timeline.events:
        events[event.rank].append(event)
    for number, rank in enumerate(data["ranks"]):
        own = events[number]
        assert ("track" in rank) == bool(own)
        flat, at = data["tracks"][rank["track"]] if own else [], 0
        assert len(flat) == 4 * len(own)
        for event, (kind, microbatch, gap, ticks) in zip(own, zip(*[iter(flat)] * 4, strict=True), strict=True):
            assert (KINDS[kind], microbatch) == (event.action.kind, event.action.microbatch)
            assert gap >= 0
            assert (at + gap) * tick_s == pytest.approx(event.start_s, abs=tick_s)
            at += gap + ticks
            assert at * tick_s == pytest.approx(event.end_s, abs=tick_s)


@BOTH
def test_memory_over_time(make: Make) -> None:
    """Its peak is the estimate's; so is every level, to the byte."""
    made = make()
    data = data_of(made)
    assert made.plan.estimate is not None
    for number, nbytes in made.plan.estimate.peak_bytes.items():
        curve = data["curves"][data["ranks"][number]["curve"]]
        levels = [curve["levels"][place] for place in curve["steps"][1::2]]
        assert levels == [level for _, level in made.scored.timeline.memory[number]]
        assert max(levels) == nbytes == data["ranks"][number]["peak"]


@BOTH
def test_messages(make: Make) -> None:
    made = make()
    data = data_of(made)
    found = set()
    for sender, receiver, backward, nbytes, place in data["messages"]:
        at = 0
        for microbatch, after, queue, way in zip(*[iter(data["flights"][place])] * 4, strict=True):
            at += after
            found.add((sender, receiver, bool(backward), nbytes, microbatch, at, at + queue, at + queue + way))

    def ticks(seconds: float) -> int:
        return round(seconds / data["tick_s"])

    assert found == {
        (m.sender, m.receiver, m.backward, m.nbytes, m.microbatch, ticks(m.ready_s), ticks(m.start_s), ticks(m.end_s))
        for m in made.scored.timeline.messages
    }


@BOTH
def test_the_formula_of_every_op(make: Make) -> None:
    """Launch and the larger of compute and traffic, from the numbers on the page alone, is the time on the page."""
    for stage in data_of(make())["stages"]:
        cost = stage["cost"]
        for op in (op for block in cost["blocks"] for op in block["ops"] if len(op) > 5):
            _, _, forward_s, backward_s, op_class, *work = op
            wastes = work[4:] or [1.0, 1.0]
            reached, bandwidth = cost["rates"][op_class]
            for seconds, flops, nbytes, waste in ((forward_s, *work[:2], wastes[0]), (backward_s, *work[2:4], wastes[1])):
                if seconds:
                    taken = cost["launch_s"] + max(waste * flops / reached, nbytes / bandwidth)
                    assert seconds == pytest.approx(taken, rel=1e-4)
        totals = [sum(len(b["names"]) * b[way] for b in cost["blocks"]) for way in ("forward_s", "backward_s")]
        extra = [sum(row[i] for row in cost["extra"]) for i in (1, 2)]
        assert [a + b for a, b in zip(totals, extra, strict=True)] == pytest.approx(
            [cost["forward_s"], cost["backward_s"]], rel=1e-4
        )


def test_one_file_that_needs_nothing_else() -> None:
    page = format_html(large().scored, large().index)
    assert len(page.encode()) < 3_000_000
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for pattern in (r'src="', r"@import", r"url\(", r"https?://", r"fetch\(", r"XMLHttpRequest"):
        assert not re.search(pattern, page), pattern


def test_names_can_not_break_out_of_the_page() -> None:
    made = small()
    evil = "</script><img src=x onerror=alert(1)>{{script}}"
    plan = replace(made.plan, model=ModelRef(evil), baselines=(Baseline(evil, None, evil),))
    page = format_html(replace(made.scored, plan=plan), made.index)
    assert page.count("</script>") == 2
    assert "<img" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["plan"]["model"] == evil


def test_the_same_plan_gives_the_same_page() -> None:
    made = small()
    assert format_html(made.scored, made.index) == format_html(made.scored, made.index)
    assert len(set(SCRIPTS)) == len(SCRIPTS)
