"""A plan for a terminal: what runs where, what it costs, how good it is, what else was tried.

Fits 100 columns; 130 where stages have columns or ZeRO.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.plans import Baseline, Plan, Stage

BAR_WIDTH = 10


def format_plan(plan: Plan, cluster: Cluster) -> str:
    """The whole report; sections that a hand-written plan has no numbers for are left out."""
    sections = [_title(plan), _stages(plan, cluster), _unused(plan, cluster), _estimate(plan), _baselines(plan)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(plan: Plan) -> str:
    model = plan.model.path or "a model"
    count = plan.schedule.microbatches
    size = f"{plan.microbatch_size} sample{'s' * (plan.microbatch_size != 1)}"
    microbatches = f"{count} microbatches of {size}, {plan.schedule.name}" if count > 1 else "one microbatch"
    scalars = f", {plan.model.parameters:,} parameters" if plan.model.parameters else ""
    return (
        f"{model} over {plan.cluster.path}{scalars}\n"
        f"batch {plan.batch_size}: {microbatches}; {plan.settings.optimizer}, {plan.settings.precision}"
    )


def _stages(plan: Plan, cluster: Cluster) -> str:
    shown = any(map(mesh_text, plan.stages))
    mesh = ("mesh",) if shown else ()
    head = ("stage", "ranks", "devices", *mesh, "blocks", "samples", "memory of the fullest")
    rows = [
        (
            str(stage.index),
            ranges(stage.ranks),
            device_names(stage.ranks, cluster),
            *((mesh_text(stage),) if shown else ()),
            block_names(stage.blocks),
            _shares(stage),
            _memory(stage, plan, cluster) + (", recomputed" if stage.recompute else ""),
        )
        for stage in plan.stages
    ]
    return table([head, *rows])


def mesh_text(stage: Stage) -> str:
    """``2 data x 4 tensor, zero 1``; nothing of a stage that splits by samples alone."""
    if stage.tensor == 1 and not stage.zero:
        return ""
    shares = f" by {':'.join(map(str, stage.tensor_shares))}" if stage.tensor_shares else ""
    columns = f" x {stage.tensor} tensor{shares}" if stage.tensor > 1 else ""
    return f"{stage.data} data{columns}" + (f", zero {stage.zero}" if stage.zero else "")


def _shares(stage: Stage) -> str:
    """By replica."""
    runs = [(size, len(list(items))) for size, items in groupby(stage.shares)]
    return " + ".join(f"{count} x {size}" if count > 1 else str(size) for size, count in runs)


def _memory(stage: Stage, plan: Plan, cluster: Cluster) -> str:
    if plan.estimate is None:
        return "-"
    peaks = plan.estimate.peak_bytes
    fullest = max(stage.ranks, key=lambda rank: (peaks.get(rank, 0) / cluster.device(rank).memory_bytes, -rank))
    has, needs = cluster.device(fullest).memory_bytes, peaks.get(fullest, 0)
    return f"{bar(needs / has)} {format_bytes(needs)} of {format_bytes(has)}"


def _unused(plan: Plan, cluster: Cluster) -> str:
    if not plan.unused_ranks:
        return ""
    return f"left out: {device_names(plan.unused_ranks, cluster)} (rank {ranges(plan.unused_ranks)})"


def _estimate(plan: Plan) -> str:
    estimate = plan.estimate
    if estimate is None:
        return "not priced yet: `autopart price` does it"
    step, bound = format_seconds(estimate.step_time_s), format_seconds(estimate.schedule_bound_s)
    lines = [f"step {step} simulated; no execution of it beats {bound}"]
    formula = f"formula {format_seconds(estimate.formula_s)}"
    if estimate.gap == estimate.gap:
        bound = format_seconds(estimate.lower_bound_s)
        formula += f"; by it no plan is below {bound}: gap {estimate.gap:.1%}, proven under the cost model"
    lines.append(formula)
    if estimate.breakdown:
        parts = ", ".join(f"{cause} {format_seconds(seconds)}" for cause, seconds in estimate.breakdown.items() if seconds > 0)
        lines.append(f"slowest rank: {parts}")
    return "\n".join(lines)


def _baselines(plan: Plan) -> str:
    if not plan.baselines:
        return ""
    own = plan.estimate.step_time_s if plan.estimate else 0.0
    return table([("instead", "step", "x this plan"), *(_baseline(baseline, own) for baseline in plan.baselines)])


def _baseline(baseline: Baseline, own: float) -> tuple[str, str, str]:
    if baseline.step_time_s is None:
        return (baseline.name, "-", baseline.infeasible)
    ratio = f"{baseline.step_time_s / own:.2f}" if own else "-"
    return (baseline.name, format_seconds(baseline.step_time_s), ratio)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Left-aligned columns, two spaces between."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def bar(fraction: float) -> str:
    """``[####......]``"""
    full = min(BAR_WIDTH, max(0, round(fraction * BAR_WIDTH)))
    return f"[{'#' * full}{'.' * (BAR_WIDTH - full)}]"


def ranges(ranks: tuple[int, ...]) -> str:
    """``0-3, 8`` of sorted ranks."""
    runs = [list(items) for _, items in groupby(enumerate(ranks), key=lambda pair: pair[1] - pair[0])]
    ends = [(run[0][1], run[-1][1]) for run in runs]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def device_names(ranks: tuple[int, ...], cluster: Cluster) -> str:
    """``2 x A100-80GB + V100-16GB`` in order of ranks."""
    counts: dict[str, int] = {}
    for rank in ranks:
        name = cluster.device(rank).name
        counts[name] = counts.get(name, 0) + 1
    return " + ".join(f"{count} x {name}" if count > 1 else name for name, count in counts.items())


def block_names(names: tuple[str, ...]) -> str:
    """``transformer.h.0 .. 6 (7)``: first and last, what they share said once."""
    if len(names) == 1:
        return names[0]
    first, last = names[0].split("."), names[-1].split(".")
    shared = 0
    while shared < min(len(first), len(last)) - 1 and first[shared] == last[shared]:
        shared += 1
    return f"{names[0]} .. {'.'.join(last[shared:])} ({len(names)})"
