"""What explanations are made of: plans and changes in a few words, wrapped to a terminal; and values as JSON."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_seconds
from autopart.planfile import to_json
from autopart.plans import Plan
from autopart.report.text import block_names, device_names, mesh_text, ranges

WIDTH = 100
ALIKE = 0.0005  # of a step: differences below are none
HARD = "\N{NO-BREAK SPACE}"  # between a number and its unit
MOST_STAGES = 6  # that a sentence tells one by one


def wrapped(line: str, indent: str = "  ") -> str:
    """Indented by two; of lines that are laid out already each."""
    if "\n" in line:
        return textwrap.indent(line, indent)
    kept = re.sub(r"(?<=\d) (?=[a-zA-Z])", HARD, line)
    filled = textwrap.fill(
        kept, WIDTH, initial_indent=indent, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    return filled.replace(HARD, " ")


def plan_text(plan: Plan, cluster: Cluster) -> str:
    """In a sentence."""
    count = len(plan.stages)
    shown = range(count) if count <= MOST_STAGES else range(MOST_STAGES - 1)
    stages = [f"{f'stage {index}: ' if count > 1 else ''}{stage_text(plan, index, cluster)}" for index in shown]
    rest = [f"{count - len(stages)} more"] if len(stages) < count else []
    parts = "; ".join([*stages, *rest])
    return f"{counted(plan.schedule.microbatches, 'microbatch', 'microbatches')}, {counted(count, 'stage')}: {parts}"


def stage_text(plan: Plan, index: int, cluster: Cluster) -> str:
    stage = plan.stages[index]
    mesh = mesh_text(stage)
    extra = "".join(f", {text}" for text in (mesh, "recomputed" if stage.recompute else "") if text)
    devices = f"{device_names(stage.ranks, cluster)} (rank {ranges(tuple(sorted(stage.ranks)))}{extra})"
    return f"{block_names(stage.blocks)} on {devices}"


def more(seconds: float, base_s: float) -> str:
    """``1.32 s, 12.0% more than 1.18 s``."""
    if abs(seconds - base_s) <= ALIKE * base_s:
        return f"{format_seconds(seconds)}, as long"
    word = "more" if seconds > base_s else "less"
    return f"{format_seconds(seconds)}, {abs(seconds / base_s - 1):.1%} {word} than {format_seconds(base_s)}"


def change(seconds: float, base_s: float) -> str:
    return f"{seconds / base_s - 1:+.1%}"


def counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def json_values(value: Any) -> Any:
    """The explanation as JSON values; of a plan its schedule, stages and unused ranks."""
    if isinstance(value, Plan):
        raw = to_json(value)
        return {key: raw[key] for key in ("schedule", "stages", "unused_ranks")}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: json_values(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [json_values(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
