"""What `explain` and `diff` put before a reader, from numbers by hand: a small plan, and 80 layers over 64 devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

from autopart.blocks.group import group
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import parse_cluster
from autopart.explain.bottleneck import Bottleneck, Faster, Fullness
from autopart.explain.changes import Change
from autopart.explain.diff import Difference, Side, changed_samples, moved_blocks
from autopart.explain.diff_text import format_difference
from autopart.explain.explain import Explanation, WhatIf
from autopart.explain.ops import OpFacts, Way
from autopart.explain.question import Other
from autopart.explain.remedies import LeftOut
from autopart.explain.sent import Sent
from autopart.explain.text import format_explanation
from autopart.plans import ClusterRef, ModelRef, Plan, Schedule, Settings, Stage
from tests.golden.test_shown_golden import CLUSTER, NAMES, PLAN
from tests.graphs import transformer
from tests.shown import WIDE

Golden = Callable[[str, str], None]

LARGE_CLUSTER = parse_cluster(WIDE, "large.yaml")
LARGE_NAMES = tuple(block.name for block in group(transformer(layers=80)).blocks)


def large(cuts: tuple[int, ...], microbatches: int = 16) -> Plan:
    """A stage a node, of eight columns each; cut so."""
    bounds = (0, *cuts, len(LARGE_NAMES))
    stages = tuple(
        Stage(i, LARGE_NAMES[a:b], tuple(range(8 * i, 8 * i + 8)), (512 // microbatches,), tensor=8)
        for i, (a, b) in enumerate(pairwise(bounds))
    )
    model = ModelRef("llama.py", "model", "", len(LARGE_NAMES), 70_000_000_000)
    return Plan(model, ClusterRef("large.yaml"), 512, Settings(), Schedule("1f1b", microbatches), stages)


LARGE = large((14, 28, 42, 56, 62, 68, 74))
ALONE = replace(PLAN, schedule=Schedule("1f1b", 1), stages=(Stage(0, NAMES, (0,), (24,)),))
SPENT = {"forward": 0.03, "backward": 0.06, "transfer": 0.0034, "bubble": 0.03, "reduce": 0.0, "update": 0.0}


def explanation(plan: Plan, other: Plan, cluster: Cluster) -> Explanation:
    first, last = plan.stages[0].ranks[0], plan.stages[-1].ranks[-1]
    devices = dict.fromkeys(cluster.device(rank).name for stage in plan.stages for rank in stage.ranks)
    slower = {**SPENT, "bubble": 0.05, "forward": 0.028}
    return Explanation(
        step_time_s=0.1234,
        pins={"stages": len(plan.stages)},
        bottleneck=Bottleneck(
            stage=len(plan.stages) - 1,
            rank=last,
            busy_s=0.1,
            breakdown=SPENT,
            faster=(Faster(f"speed {next(iter(devices))} = 2x", 0.09), Faster("network = 2x", 0.1234)),
            memory=tuple(Fullness(name, first, 76 << 30, 77 << 30) for name in devices),
        ),
        lower_bound_s=0.12,
        next_best=Other("next best", 0.125, "", other, slower),
        baselines=(Other("data parallel, even", 0.4936), Other("even pipeline", None, "20 devices, but 8 blocks")),
        remedies=(Other("memory = 2x", 0.11, "", other, SPENT), Other("network = 2x", 0.1234, "", plan, SPENT)),
        left_out=(LeftOut(tuple(range(2, 8)), 1.0, Other("rank 2", 0.13, "", other, slower)),) if plan is PLAN else (),
    )


ASKED = replace(
    explanation(PLAN, ALONE, CLUSTER),
    bottleneck=None,
    why_not=(
        Other("dp", 0.14, "", ALONE, {**SPENT, "reduce": 0.02, "bubble": 0.0}),
        Other("stages=3", None, "3 stages of 2 blocks on 20 devices"),
        Other("rank 0", 0.1234, "", PLAN, SPENT),
    ),
    what_if=WhatIf(
        changes=(Change("memory", "", "15 GiB"),),
        kept=Other("as it is", 0.12, "", PLAN, SPENT),
        overfull=(16, 15 << 30, 14 << 30),
        best=Other("memory = 15 GiB", 0.15, "", ALONE, SPENT),
    ),
    ops=(
        OpFacts("h.0.fc:linear", "aten.linear", 1, NAMES[3], {"A100-80GB": 0.001}, {"A100-80GB": 0.002}, 10**12, ()),
        OpFacts("h.0.fc.weight", "parameter", 1, "", {}, {}, 0, (Way("S(0)", 0.1), Way("R", 0.12))),
    ),
)


def test_explained(golden: Golden) -> None:
    golden("explain.txt", format_explanation(explanation(PLAN, ALONE, CLUSTER), PLAN, CLUSTER))


def test_asked(golden: Golden) -> None:
    golden("explain_asked.txt", format_explanation(ASKED, PLAN, CLUSTER))


def test_explained_large(golden: Golden) -> None:
    other = large((12, 24, 36, 48, 56, 64, 72), 32)
    golden("explain_large.txt", format_explanation(explanation(LARGE, other, LARGE_CLUSTER), LARGE, LARGE_CLUSTER))


def side(name: str, step_s: float, nbytes: int, fullest: dict[str, int]) -> Side:
    collectives = Sent(columns=nbytes // 4, mixing=0, gradients=1 << 30, gathered=nbytes // 8)
    return Side(name, step_s, {**SPENT, "bubble": step_s / 10}, 16, nbytes, nbytes // 2, collectives, fullest, {0: 1 << 30})


def difference(before: Plan, after: Plan) -> Difference:
    sides = side("a.json", 0.12, 3 << 30, {"A100-80GB": 1 << 30}), side("b.json", 0.11, 0, {"A100-80GB": 2 << 30, "T4": 1 << 20})
    return Difference(*sides, tuple(moved_blocks(before, after)), tuple(changed_samples(before, after)))


def test_diff(golden: Golden) -> None:
    golden("diff.txt", format_difference(difference(PLAN, ALONE), (PLAN, ALONE), (CLUSTER, CLUSTER)))


def test_diff_large(golden: Golden) -> None:
    other = large((12, 24, 36, 48, 56, 64, 72), 32)
    text = format_difference(difference(LARGE, other), (LARGE, other), (LARGE_CLUSTER, LARGE_CLUSTER))
    golden("diff_large.txt", text)
