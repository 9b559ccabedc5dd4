"""What `show` and `compile` put before a reader, for plans written by hand: their numbers don't move with the cost models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autopart.blocks.group import group
from autopart.cluster.load import parse_cluster
from autopart.codegen.emit import Notes, emit
from autopart.frontend.load import load
from autopart.pipeline import front_end
from autopart.planfile import dump_plan
from autopart.plans import Baseline, ClusterRef, Cost, Draw, Estimate, FrontPoint, ModelRef, Plan, Schedule, Settings, Stage
from autopart.program.check import check_plan
from autopart.program.lower import lower
from autopart.program.text import format_actions
from autopart.report.dot import format_dot
from autopart.report.table import ansi
from autopart.report.text import format_plan
from tests.clusters import CONTRACT
from tests.graphs import transformer
from tests.shown import large

Golden = Callable[[str, str], None]
ROOT = Path(__file__).parents[2]
BLOCKS = group(transformer(layers=6))
NAMES = tuple(block.name for block in BLOCKS.blocks)
CLUSTER = parse_cluster(CONTRACT, "cluster.yaml")
PLAN = Plan(
    model=ModelRef("model.py", "model", "", len(NAMES), 1_234_567),
    cluster=ClusterRef("cluster.yaml"),
    batch_size=24,
    settings=Settings("adamw", "bfloat16"),
    schedule=Schedule("1f1b", 4),
    stages=(
        Stage(0, NAMES[:3], (16, 17), (3, 3), data=2, recompute=True),
        Stage(1, NAMES[3:], (0, 1, 8), (2, 2, 2), data=3),
    ),
    unused_ranks=(*range(2, 8), *range(9, 16), 18, 19),
    estimate=Estimate(
        step_time_s=0.1234,
        formula_s=0.1301,
        lower_bound_s=0.1295,
        gap=0.0046,
        schedule_bound_s=0.0871,
        breakdown={"forward": 0.03, "backward": 0.06, "transfer": 0.0034, "bubble": 0.03, "reduce": 0.0, "update": 0.0},
        peak_bytes={0: 3 << 30, 1: 3 << 30, 8: 4 << 30, 16: 15 << 30, 17: 12 << 30},
        busy_s={0: 0.0412, 1: 0.0412, 8: 0.0398, 16: 0.09, 17: 0.0871},
    ),
    baselines=(
        Baseline("data parallel, even", 0.4936),
        Baseline("even pipeline", None, "20 devices, but 8 blocks"),
        Baseline("fastest device alone", 0.2468),
    ),
)
PRICED = replace(
    PLAN,
    estimate=replace(
        PLAN.estimate,
        cost=Cost("cost", "USD", 12.4, 0.0004250, 0.0004391, 0.0202, 0.15, {"a": 3.67, "v": 0.695}),
    ),
    baselines=(
        Baseline("data parallel, even", 0.1036, value=0.0009),
        Baseline("even pipeline", None, "20 devices, but 8 blocks"),
        Baseline("fastest device alone", 0.2468, value=0.000252),
    ),
    front=(
        FrontPoint(1, {"A100-80GB": 1}, 0.2468, 0.2468, 0.2455, 0.0053, Draw("USD", 3.67, 0.000252), Draw("J", 400.0, 98.7)),
        FrontPoint(
            5,
            {"A100-80GB": 3, "V100-16GB": 2},
            0.1234,
            0.1301,
            0.1295,
            0.0046,
            Draw("USD", 12.4, 0.000425),
            Draw("J", 1800.0, 222.1),
        ),
    ),
)
LARGE = replace(
    large().plan,
    estimate=Estimate(
        step_time_s=26.1,
        formula_s=26.3,
        lower_bound_s=25.6,
        gap=0.026,
        schedule_bound_s=25.5,
        breakdown={"forward": 6.46, "backward": 18.0, "reduce": 1.54, "update": 0.0328},
        peak_bytes={rank: (80 - rank) << 30 for rank in range(64)},
        busy_s={rank: 26.0 - rank / 8 for rank in range(64)},
    ),
)
BY_HAND = replace(PLAN, unused_ranks=(), estimate=None, baselines=())


def test_text(golden: Golden) -> None:
    check_plan(PLAN, BLOCKS, CLUSTER)
    golden("show.txt", format_plan(PLAN, CLUSTER))


def test_text_of_a_plan_with_prices(golden: Golden) -> None:
    golden("show_priced.txt", format_plan(PRICED, CLUSTER))


def test_text_in_colours(golden: Golden) -> None:
    golden("show_colours.txt", format_plan(PLAN, CLUSTER, ansi))


def test_text_of_a_plan_written_by_hand(golden: Golden) -> None:
    golden("show_by_hand.txt", format_plan(BY_HAND, CLUSTER))


def test_dot(golden: Golden) -> None:
    golden("show.dot", format_dot(PLAN, CLUSTER, BLOCKS))


def test_json(golden: Golden) -> None:
    golden("show.json", dump_plan(PLAN))


def test_a_large_plan(golden: Golden) -> None:
    """80 layers over 64 devices."""
    check_plan(LARGE, large().blocks, large().cluster)
    golden("show_large.txt", format_plan(LARGE, large().cluster))
    golden("show_large.dot", format_dot(LARGE, large().cluster, large().blocks))
    golden("show_large.json", dump_plan(LARGE))


@pytest.mark.parametrize("schedule", ["1f1b", "gpipe"])
def test_program(schedule: str, golden: Golden) -> None:
    plan = replace(PLAN, schedule=Schedule(schedule, 4))
    golden(f"program_{schedule}.txt", format_actions(lower(BLOCKS, plan).actions))


def test_the_example_of_the_readme(golden: Golden, tmp_path: Path) -> None:
    """GPT-2 from `transformers`: a short stage on a slow device, a long one on two fast ones of unlike shares."""
    loaded = load(str(ROOT / "examples/models/gpt2.py"), empty=True)
    blocks = front_end(loaded, Settings()).blocks
    names = tuple(block.name for block in blocks.blocks)
    stages = (Stage(0, names[:4], (2,), (4,)), Stage(1, names[4:], (0, 1), (3, 1), data=2))
    plan = Plan(ModelRef("gpt2.py"), ClusterRef("cpus.yaml"), 16, Settings(), Schedule("1f1b", 4), stages, (3,))
    sources = emit(lower(blocks, plan), blocks, plan, notes=Notes(dict.fromkeys((0, 1), "fast-cpu") | {2: "slow-cpu"}, {}))
    golden("gpt2_stages.py.txt", sources["stages.py"])
    for name in ("stages.py", "train.py"):
        (tmp_path / name).write_text(sources[name])
    for tool in (["pyflakes"], ["ruff", "format", "--check", "--isolated", "--line-length", "120"]):
        done = subprocess.run([sys.executable, "-m", *tool, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
