"""The report for a terminal: what it says of stages, and that it keeps to its width and to plain text where it should."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from autopart.cluster.load import parse_cluster
from autopart.plans import Baseline, ClusterRef, Estimate, ModelRef, Plan, Schedule, Settings, Stage
from autopart.report.table import WIDTH, ansi, bar, shorten, table
from autopart.report.text import bound_text, format_plan, layout_text, manner_text, mesh_text
from tests.clusters import CONTRACT

CLUSTER = parse_cluster(CONTRACT, "cluster.yaml")
WHOLE = Stage(0, ("a",), (0, 1, 2, 3), (9, 3), data=2, tensor=2, zero=1, tensor_shares=(3, 1))
PLAN = Plan(
    ModelRef("m.py"), ClusterRef("cluster.yaml"), 24, Settings(), Schedule("1f1b", 2),
    (WHOLE, Stage(1, ("b", "c"), (4, 5), (6, 6), data=2)),
)  # fmt: skip
BUSY = {0: 0.5, 1: 0.9, 2: 0.5, 3: 0.5, 4: 0.2, 5: 0.1}
ESTIMATE = Estimate(1.0, 1.1, 0.9, 0.18, 0.8, {"forward": 0.4, "backward": 0.5, "bubble": 0.1}, dict.fromkeys(BUSY, 2**30), BUSY)
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def test_a_mesh_in_words() -> None:
    assert mesh_text(PLAN.stages[1]) == ""
    assert mesh_text(WHOLE) == "2 data x 2 tensor by 3:1, zero 1"
    assert mesh_text(replace(WHOLE, data=1, zero=0, tensor_shares=())) == "1 data x 2 tensor"
    assert mesh_text(replace(PLAN.stages[1], zero=3)) == "2 data, zero 3"
    assert manner_text(replace(PLAN.stages[1], recompute=True)) == "recomputed"


def test_layouts_in_a_line() -> None:
    """Parameters by how they lie; ops and what is whole go without saying."""
    layouts = {
        "h.*.attn:linear": "R S(0) -> S(2)",
        "h.*.attn.q.weight": "S(0)",
        "h.*.up.weight": "S(0)",
        "h.0.up.weight": "S(0)",
        "h.*.down.weight": "S(1)",
        "*": "R",
    }
    assert layout_text(replace(WHOLE, layouts=layouts)) == "S(0): q, up; S(1): down"
    assert layout_text(replace(PLAN.stages[1], layouts=layouts)) == "", "one column has everything"


def test_the_tables_say_what_runs_where_and_how() -> None:
    _, where, how, _ = format_plan(PLAN, CLUSTER).split("\n\n")
    head, first, second = where.splitlines()
    assert head.split() == ["stage", "ranks", "devices", "samples", "blocks"]
    assert re.search(r"^0 +0-3 +4 x A100-80GB +9 \+ 3 +a$", first)
    assert re.search(r"^1 +4-5 +2 x A100-80GB +2 x 6 +b .. c \(2\)$", second)
    assert how.splitlines() == ["stages  split by", "0       2 data x 2 tensor by 3:1, zero 1"]
    plain = replace(PLAN, stages=(replace(WHOLE, tensor=1, zero=0, data=4, shares=(3,) * 4, tensor_shares=()), PLAN.stages[1]))
    assert "split by" not in format_plan(plain, CLUSTER)


def test_what_bounds_the_step() -> None:
    priced = replace(PLAN, estimate=ESTIMATE)
    assert bound_text(priced, CLUSTER) == "stage 0 bounds the step: rank 1 (A100-80GB) works 90% of it"
    lazy = replace(ESTIMATE, busy_s={rank: busy / 3 for rank, busy in BUSY.items()})
    said = bound_text(replace(PLAN, estimate=lazy), CLUSTER)
    assert said == "waiting bounds the step: even rank 1 (A100-80GB) of stage 0 works 30% of it only"
    assert bound_text(replace(PLAN, estimate=replace(ESTIMATE, busy_s={})), CLUSTER) == ""
    assert bound_text(PLAN, CLUSTER) == ""


def test_a_plan_of_an_earlier_version_has_no_busy_seconds() -> None:
    report = format_plan(replace(PLAN, estimate=replace(ESTIMATE, busy_s={})), CLUSTER)
    assert re.search(r"^0 +- +\[", report, re.MULTILINE)


@pytest.mark.parametrize("long", [1, 40, 400])
def test_it_fits(long: int) -> None:
    """Whatever the names: long paths, blocks, reasons, hundreds of ranks in no order, many stages."""
    name = "module." * long + "attn"
    stages = tuple(
        replace(PLAN.stages[1], index=i, blocks=(f"{name}.{i}", f"{name}.x{i}"), ranks=ranks, shares=(3, 1) * (len(ranks) // 2))
        for i, ranks in enumerate(((0, 2, 4, 6, 8, 10, 12, 14), (16, 18)))
    )
    reason = "rank 0 needs more than it has, " * long
    plan = replace(
        PLAN,
        model=ModelRef("folder/" * long + "m.py", parameters=10**12),
        stages=stages,
        unused_ranks=(1, 3, 5, 7, 9, 11, 13, 15, 17, 19),
        estimate=replace(ESTIMATE, busy_s=dict.fromkeys(range(20), 0.5), peak_bytes=dict.fromkeys(range(20), 2**34)),
        baselines=(Baseline("even", 2.0), Baseline("baseline " * long, None, reason), Baseline("b", None, "x" * 50 * long)),
    )
    lines = format_plan(plan, CLUSTER).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "\n".join(lines).count("needs more than it has") >= min(long, 4), "a reason is wrapped, not cut"


def test_colours_change_nothing_else() -> None:
    plan = replace(PLAN, estimate=ESTIMATE, baselines=(Baseline("even", 2.0),))
    coloured = format_plan(plan, CLUSTER, ansi)
    assert ESCAPE.search(coloured)
    assert ESCAPE.sub("", coloured) == format_plan(plan, CLUSTER)


def test_shortened_in_the_middle() -> None:
    assert shorten("transformer.h.0.attn", 20) == "transformer.h.0.attn"
    assert shorten("transformer.h.0.attn", 15) == "trans..h.0.attn"
    assert len(shorten("x" * 500, 14)) == 14


def test_a_table_wraps_its_last_column() -> None:
    text = table([("a", "b"), ("1", "word " * 40)])
    first, *rest = text.splitlines()[1:]
    assert len(rest) == 2
    assert first.startswith("1  word")
    assert all(line.startswith("   word") for line in rest)


def test_bars() -> None:
    assert bar(0) == "[..........]"
    assert bar(0.44) == "[####......]"
    assert bar(7) == "[##########]"
