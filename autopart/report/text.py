"""A plan for a terminal: what runs where, what it costs, how good it is, what else was tried. Fits 100 columns."""

from __future__ import annotations

from itertools import groupby

from autopart.cluster.cluster import Cluster
from autopart.cluster.tariffs import format_draw, format_draw_rate
from autopart.cluster.units import format_bytes, format_seconds
from autopart.plans import Baseline, Cost, Draw, Estimate, Plan, Stage
from autopart.report.table import Paint, bar, plain, table, wrap

WAITING = 0.5  # a rank that works less of the step than this does not bound it
STOPPED = {"time limit": "by its time limit", "interrupted": "by Ctrl-C", "rounds": "after its rounds over what neighbours pay"}


def format_plan(plan: Plan, cluster: Cluster, paint: Paint = plain) -> str:
    """The whole report; sections that a hand-written plan has no numbers for are left out."""
    sections = [
        _title(plan),
        _stages(plan, cluster, paint),
        _loads(plan, cluster, paint),
        _manners(plan, paint),
        _unused(plan, cluster),
        _estimate(plan, cluster),
        _baselines(plan, paint),
        _front(plan, paint),
        "\n".join(map(wrap, plan.notes)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _title(plan: Plan) -> str:
    model = plan.model.path or "a model"
    count = plan.schedule.microbatches
    size = f"{plan.microbatch_size} sample{'s' * (plan.microbatch_size != 1)}"
    microbatches = f"{count} microbatches of {size}, {plan.schedule.name}" if count > 1 else "one microbatch"
    scalars = f", {plan.model.parameters:,} parameters" if plan.model.parameters else ""
    return "\n".join(
        (
            wrap(f"{model} over {plan.cluster.path}{scalars}"),
            wrap(f"batch {plan.batch_size}: {microbatches}; {plan.settings.optimizer}, {plan.settings.precision}"),
        )
    )


def _stages(plan: Plan, cluster: Cluster, paint: Paint) -> str:
    """What runs where."""
    head = ("stage", "ranks", "devices", "samples", "blocks")
    rows = [
        (str(s.index), ranges(s.ranks), device_names(s.ranks, cluster), shares_text(s), block_names(s.blocks))
        for s in plan.stages
    ]
    return table([head, *rows], elastic=(1, 2, 3, 4), paint=paint, style=_stage_style)


def _stage_style(row: int, column: int) -> str:
    if row == 0:
        return "head"
    return f"stage {row - 1}" if column == 0 else ""


def _loads(plan: Plan, cluster: Cluster, paint: Paint) -> str:
    """What a step takes of the devices."""
    if plan.estimate is None:
        return ""
    estimate = plan.estimate
    rows = [(str(s.index), _busy(s, estimate), _memory(s, estimate, cluster)) for s in plan.stages]
    full = [_fullness(s, estimate, cluster)[0] for s in plan.stages]

    def style(row: int, column: int) -> str:
        if row and column == 2:
            return "bad" if full[row - 1] > 0.9 else "warn" if full[row - 1] > 0.75 else "good"
        return _stage_style(row, column)

    return table([("stage", "works, of the step", "memory of the fullest"), *rows], paint=paint, style=style)


def _busy(stage: Stage, estimate: Estimate) -> str:
    if not estimate.busy_s:
        return "-"
    busy_s = max(estimate.busy_s.get(rank, 0.0) for rank in stage.ranks)
    part = busy_s / estimate.step_time_s
    return f"{bar(part)} {part:>4.0%} {format_seconds(busy_s)}"


def _memory(stage: Stage, estimate: Estimate, cluster: Cluster) -> str:
    part, rank = _fullness(stage, estimate, cluster)
    needs, has = format_bytes(estimate.peak_bytes.get(rank, 0)), format_bytes(cluster.device(rank).memory_bytes)
    return f"{bar(part)} {part:>4.0%} {needs} of {has}"


def _fullness(stage: Stage, estimate: Estimate, cluster: Cluster) -> tuple[float, int]:
    """How full the stage's fullest device gets, and its rank."""
    parts = {rank: estimate.peak_bytes.get(rank, 0) / cluster.device(rank).memory_bytes for rank in stage.ranks}
    rank = max(parts, key=lambda rank: (parts[rank], -rank))
    return parts[rank], rank


def _manners(plan: Plan, paint: Paint) -> str:
    """How stages split their work, where that is by more than samples; like ones together."""
    alike: dict[tuple[str, str], list[int]] = {}
    for stage in plan.stages:
        alike.setdefault((manner_text(stage), layout_text(stage)), []).append(stage.index)
    rows = [(ranges(tuple(stages)), text) for (how, layout), stages in alike.items() for text in (how, layout) if text]
    if not rows:
        return ""
    shown = [(stages if i == 0 or rows[i - 1][0] != stages else "", text) for i, (stages, text) in enumerate(rows)]
    return table([("stages", "split by"), *shown], elastic=(0,), paint=paint, style=_headed)


def manner_text(stage: Stage) -> str:
    """``2 data x 4 tensor, zero 1, recomputed``; nothing of a stage that splits by samples alone and keeps everything."""
    return ", ".join(filter(None, (mesh_text(stage), "recomputed" if stage.recompute else "")))


def mesh_text(stage: Stage) -> str:
    """``2 data x 4 tensor, zero 1``; nothing of a stage that splits by samples alone."""
    if stage.tensor == 1 and not stage.zero:
        return ""
    shares = f" by {':'.join(map(str, stage.tensor_shares))}" if stage.tensor_shares else ""
    columns = f" x {stage.tensor} tensor{shares}" if stage.tensor > 1 else ""
    return f"{stage.data} data{columns}" + (f", zero {stage.zero}" if stage.zero else "")


def layout_text(stage: Stage) -> str:
    """``S(0): q_proj, up_proj; S(1): down_proj``: how parameters lie over columns, by the last part of their modules' names."""
    found: dict[str, list[str]] = {}
    for name, layout in stage.layouts.items() if stage.tensor > 1 else ():
        if ":" not in name and name != "*":
            owner = name.removesuffix(".weight").rpartition(".")[2]
            found.setdefault(layout, []).append(name if owner == "*" else owner)
    return "; ".join(f"{layout}: {', '.join(dict.fromkeys(names))}" for layout, names in sorted(found.items()) if layout != "R")


def shares_text(stage: Stage) -> str:
    """``4 x 2 + 1``: samples by replica."""
    runs = [(size, len(list(items))) for size, items in groupby(stage.shares)]
    return " + ".join(f"{count} x {size}" if count > 1 else str(size) for size, count in runs)


def _unused(plan: Plan, cluster: Cluster) -> str:
    if not plan.unused_ranks:
        return ""
    return wrap(f"left out: {device_names(plan.unused_ranks, cluster)} (rank {ranges(plan.unused_ranks)})")


def _estimate(plan: Plan, cluster: Cluster) -> str:
    estimate = plan.estimate
    if estimate is None:
        return "not priced yet: `autopart price` does it"
    step, bound = format_seconds(estimate.step_time_s), format_seconds(estimate.schedule_bound_s)
    lines = [f"step {step} simulated; no execution of it beats {bound}"]
    formula = f"formula {format_seconds(estimate.formula_s)}"
    if estimate.gap == estimate.gap:
        bound = format_seconds(estimate.lower_bound_s)
        formula += f"; by it no plan is below {bound}"
        formula += "" if estimate.cost else f": gap {estimate.gap:.1%}, proven under the cost model"
        if estimate.proof and estimate.proof.ended in STOPPED:
            formula += f"; the search was stopped {STOPPED[estimate.proof.ended]}"
    lines += [formula, _cost(estimate.cost) if estimate.cost else "", bound_text(plan, cluster), _breakdown(estimate)]
    return "\n".join(wrap(line) for line in lines if line)


def _cost(cost: Cost) -> str:
    """What a step takes, and how near to the least that is."""
    said = f"{cost.objective} {format_draw(cost.value, cost.unit)} a step, at {format_draw_rate(cost.rate, cost.unit)}"
    keeping = f" that keeps {format_seconds(cost.step_limit_s)}" if cost.step_limit_s else ""
    if cost.lower_bound == cost.lower_bound:
        said += f"; by the formula no plan{keeping} takes less than {format_draw(cost.lower_bound, cost.unit)}"
        said += f": gap {cost.gap:.1%}, proven" if cost.gap == cost.gap else "; its own step by the formula is beyond that"
    return said


def bound_text(plan: Plan, cluster: Cluster) -> str:
    """What bounds the step: the rank that works most of it, or that nobody does; "" of a plan without ``busy_s``."""
    estimate = plan.estimate
    if estimate is None or not estimate.busy_s:
        return ""
    rank = max(estimate.busy_s, key=lambda rank: (estimate.busy_s[rank], -rank))
    stage = next(stage.index for stage in plan.stages if rank in stage.ranks)
    who, part = f"rank {rank} ({cluster.device(rank).name})", estimate.busy_s[rank] / estimate.step_time_s
    if part >= WAITING:
        return f"stage {stage} bounds the step: {who} works {part:.0%} of it"
    return f"waiting bounds the step: even {who} of stage {stage} works {part:.0%} of it only"


def _breakdown(estimate: Estimate) -> str:
    parts = ", ".join(f"{cause} {format_seconds(seconds)}" for cause, seconds in estimate.breakdown.items() if seconds > 0)
    return f"slowest rank: {parts}" if parts else ""


def _baselines(plan: Plan, paint: Paint) -> str:
    if not plan.baselines:
        return ""
    if plan.estimate and plan.estimate.cost:
        cost = plan.estimate.cost
        head = ("instead", "step", cost.objective, "x this plan")
        rows = [head, *(_drawing_baseline(baseline, cost) for baseline in plan.baselines)]
        return table(rows, elastic=(0,), paint=paint, style=_headed)
    own = plan.estimate.step_time_s if plan.estimate else 0.0
    rows = [("instead", "step", "x this plan"), *(_baseline(baseline, own) for baseline in plan.baselines)]
    return table(rows, elastic=(0,), paint=paint, style=_headed)


def _headed(row: int, _column: int) -> str:
    return "" if row else "head"


def _drawing_baseline(baseline: Baseline, cost: Cost) -> tuple[str, ...]:
    """Beside a plan that was made to take little."""
    if baseline.step_time_s is None or baseline.value is None:
        return (baseline.name, "-", "-", baseline.infeasible)
    late = ", over the limit" if cost.step_limit_s and baseline.step_time_s > cost.step_limit_s else ""
    ratio = f"{baseline.value / cost.value:.2f}{late}"
    return (baseline.name, format_seconds(baseline.step_time_s), format_draw(baseline.value, cost.unit), ratio)


def _front(plan: Plan, paint: Paint) -> str:
    """Step time against devices; what a step takes where that is known."""
    if not plan.front:
        return ""
    paid, drawn = any(point.cost for point in plan.front), any(point.energy for point in plan.front)
    rates = (*("rate", "cost") * paid, *("power", "energy") * drawn)
    rows = [
        (
            str(point.devices),
            " + ".join(f"{count} x {name}" if count > 1 else name for name, count in point.types.items()),
            format_seconds(point.step_time_s),
            format_seconds(point.formula_s),
            f"{point.gap:.1%}",
            *(cell for draw in (point.cost, point.energy) if draw for cell in _draw(draw)),
        )
        for point in plan.front
    ]
    head = ("devices", "of", "step", "formula", "gap", *rates)
    return table([head, *rows], elastic=(1,), paint=paint, style=_headed)


def _draw(draw: Draw) -> tuple[str, str]:
    return format_draw_rate(draw.rate, draw.unit), format_draw(draw.value, draw.unit)


def _baseline(baseline: Baseline, own: float) -> tuple[str, str, str]:
    if baseline.step_time_s is None:
        return (baseline.name, "-", baseline.infeasible)
    ratio = f"{baseline.step_time_s / own:.2f}" if own else "-"
    return (baseline.name, format_seconds(baseline.step_time_s), ratio)


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
