"""Every format of plans drawn at random: skips over many blocks, uneven shares, devices left out; and what stands where."""

from __future__ import annotations

import json
from itertools import combinations
from random import Random
from xml.etree import ElementTree

import pytest

from autopart.blocks.group import group
from autopart.program.check import check_plan
from autopart.report.dot import format_dot
from autopart.report.html import format_html
from autopart.report.runs import edges, runs
from autopart.report.svg import format_svg
from autopart.report.table import WIDTH
from autopart.report.text import format_plan
from autopart.report.trace import format_trace
from tests.graphs import random_sharded
from tests.programs import random_cluster, random_plan
from tests.shown import Shown, alone, large, shown, small

SVG = "{http://www.w3.org/2000/svg}"
Make = type(small)


def drawn_at_random(seed: int) -> Shown:
    rng = Random(seed)
    blocks, cluster = group(random_sharded(seed, max_layers=8)), random_cluster(rng)
    plan = random_plan(rng, blocks, cluster)
    check_plan(plan, blocks, cluster)
    return shown(plan, cluster, blocks)


@pytest.mark.parametrize("seed", range(12))
def test_every_format_of_random_plans(seed: int) -> None:
    made = drawn_at_random(seed)
    assert max(map(len, format_plan(made.plan, made.cluster).splitlines())) <= WIDTH
    check_svg(made)
    check_dot(made)
    ends = [
        event["ts"] + event["dur"]
        for event in json.loads(format_trace(made.scored, made.cluster))["traceEvents"]
        if event["ph"] == "X"
    ]
    assert round(max(ends) * 1000) == round(made.scored.timeline.step_s * 1e9)
    assert format_html(made.scored, made.index).startswith("<!doctype html>")


@pytest.mark.parametrize("make", [alone, small, large])
def test_pictures(make: Make) -> None:
    check_svg(make())
    check_dot(make())


def check_svg(made: Shown) -> None:
    """A card for each stage, none over another, all inside; every box in its card; a label for each edge."""
    text = format_svg(made.plan, made.cluster, made.blocks, made.scored.timeline)
    root = ElementTree.fromstring(text)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    cards = [box(each) for each in root.iter(f"{SVG}rect") if each.get("stroke-width") == "2"]
    boxes = [box(each) for each in root.iter(f"{SVG}rect") if each.get("stroke-width") == "1"]
    assert len(cards) == len(made.plan.stages)
    drawn = runs(made.blocks, made.plan)
    assert len(boxes) == len(drawn)
    assert all(x >= 0 and y >= 0 and right <= width and bottom <= height for x, y, right, bottom in cards)
    for a, b in combinations(cards, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], "cards do not overlap"
    for run, (x, y, right, bottom) in zip(drawn, boxes, strict=True):
        card = cards[run.stage]
        assert card[0] < x
        assert card[1] < y
        assert right < card[2]
        assert bottom < card[3]
    flows = edges(made.blocks, drawn, made.plan.microbatch_size)
    inside = sum(drawn[e.source].stage == drawn[e.target].stage for e in flows)
    between = {(drawn[e.source].stage, drawn[e.target].stage) for e in flows if drawn[e.source].stage != drawn[e.target].stage}
    assert len(list(root.iter(f"{SVG}polygon"))) == inside + len(between), "an arrow for each edge"


def box(rect: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right, bottom."""
    x, y, width, height = (float(rect.attrib[name]) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def check_dot(made: Shown) -> None:
    """Braces balance, every edge joins nodes that exist, every node lies in its stage."""
    text = format_dot(made.plan, made.cluster, made.blocks)
    assert text.count("{") == text.count("}")
    drawn = runs(made.blocks, made.plan)
    for number, run in enumerate(drawn):
        frame = text.split(f"subgraph cluster_{run.stage} {{")[1].split("\n  }")[0]
        assert f"    b{number} [label=" in frame
    for edge in edges(made.blocks, drawn, made.plan.microbatch_size):
        assert f"  b{edge.source} -> b{edge.target} [label=" in text
