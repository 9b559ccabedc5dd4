"""A plan as a picture: its graph, the simulated step with a row for every rank, its step beside that of the baselines."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.plans import Plan, Stage
from autopart.program.program import Kind
from autopart.report.shapes import MARGIN, WIDTH, rectangle, text
from autopart.report.svg_graph import draw_graph
from autopart.report.table import shorten
from autopart.report.text import block_names, mesh_text
from autopart.simulate import Event, Timeline

GUTTER, ROW, BAR = 210, 24, 17
CHART = WIDTH - GUTTER - 2 * MARGIN
FORWARD = ("#9ecae1", "#fdd0a2", "#a1d99b", "#fcbba1", "#dadaeb", "#ffe08a", "#a8dadc", "#d9d9d9")
BACKWARD = ("#3182bd", "#e6750f", "#31a354", "#c2448a", "#756bb1", "#b8860b", "#2a8c94", "#737373")
OTHER = {Kind.REDUCE: "#525252", Kind.UPDATE: "#bdbdbd"}
LABEL_WIDTH = 15  # pixels that a microbatch's number needs
MOST_RANKS = 24  # rows that a picture shows; more ranks than that are drawn by stage, the one that works most standing for all
LETTERS = 140  # that a line has room for


def format_svg(plan: Plan, cluster: Cluster, blocks: Blocks, timeline: Timeline) -> str:
    """SVG text, for a browser or a page. ``blocks`` are the model's own."""
    graph, top = draw_graph(plan, cluster, blocks, 56)
    rows, top = _rows(plan), top + 44
    bottom = top + ROW * len(rows)
    height = round(bottom + 46 + ROW * (len(plan.baselines) + 2))
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_head(plan),
        *graph,
        *_legend(top - 24),
        *_axis(timeline.step_s, top, bottom),
        *(line for number, row in enumerate(rows) for line in _row(plan, cluster, timeline, row, top + ROW * number)),
        *_bars(plan, bottom + 46),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _rows(plan: Plan) -> list[tuple[int, int]]:
    """(stage, rank) of every row."""
    every = [(stage.index, rank) for stage in plan.stages for rank in stage.ranks]
    return every if len(every) <= MOST_RANKS else [(stage.index, _busiest(stage, plan)) for stage in plan.stages]


def _busiest(stage: Stage, plan: Plan) -> int:
    busy_s = plan.estimate.busy_s if plan.estimate else {}
    return max(stage.ranks, key=lambda rank: (busy_s.get(rank, 0.0), -rank))


def _head(plan: Plan) -> Iterator[str]:
    step = format_seconds(plan.estimate.step_time_s) if plan.estimate else "?"
    title = f"{plan.model.path} over {plan.cluster.path}: a step of {step}"
    samples = f"{plan.batch_size} samples in {plan.schedule.microbatches} microbatches, {plan.schedule.name}"
    yield text(MARGIN, 22, shorten(title, LETTERS - 20), "bold", size=14)
    yield text(MARGIN, 40, f"{samples}; {plan.settings.optimizer}, {plan.settings.precision}", color="#525252")


def _legend(y: float) -> Iterator[str]:
    x = MARGIN + GUTTER
    parts = (
        ("forward", FORWARD[0]),
        ("backward", BACKWARD[0]),
        ("gradient sums", OTHER[Kind.REDUCE]),
        ("update", OTHER[Kind.UPDATE]),
    )
    for name, color in parts:
        yield rectangle(x, y - 10, 12, 12, color)
        yield text(x + 17, y, name, color="#525252")
        x += 17 + 7 * len(name) + 18


def _axis(step_s: float, top: float, bottom: float) -> Iterator[str]:
    for tick in _ticks(step_s):
        x = _x(tick, step_s)
        yield f'<line x1="{x:.1f}" y1="{top - 4:.1f}" x2="{x:.1f}" y2="{bottom + 4:.1f}" stroke="#d9d9d9"/>'
        yield text(x, bottom + 18, format_seconds(tick) if tick else "0", anchor="middle", color="#525252")


def _ticks(step_s: float) -> list[float]:
    """Round numbers, about six of them."""
    power = 1e-9
    while power * 10 <= step_s / 4:
        power *= 10
    unit = next(power * factor for factor in (10, 5, 2, 1) if power * factor <= step_s / 4)
    return [unit * i for i in range(int(step_s / unit) + 1)]


def _row(plan: Plan, cluster: Cluster, timeline: Timeline, row: tuple[int, int], y: float) -> Iterator[str]:
    index, rank = row
    stage = plan.stages[index]
    if rank == stage.ranks[0] or len(_rows(plan)) == len(plan.stages):
        yield f'<line x1="{MARGIN}" y1="{y:.1f}" x2="{WIDTH - MARGIN}" y2="{y:.1f}" stroke="#bdbdbd"/>'
    peak = f", {format_bytes(plan.estimate.peak_bytes.get(rank, 0))}" if plan.estimate else ""
    where = ", ".join(filter(None, (f"stage {index}: {block_names(stage.blocks)}", mesh_text(stage))))
    yield "<g>"
    yield text(MARGIN, y + 16, f"{index}", "bold", color=BACKWARD[index % len(BACKWARD)], title=where)
    yield text(MARGIN + 18, y + 16, f"rank {rank}, {cluster.device(rank).name}{peak}")
    for event in timeline.events:
        if event.rank == rank:
            yield from _event(event, timeline.step_s, y + (ROW - BAR) // 2)
    yield "</g>"


def _event(event: Event, step_s: float, y: float) -> Iterator[str]:
    kind, stage = event.action.kind, event.action.stage
    if event.end_s <= event.start_s:
        return
    colors = {Kind.FORWARD: FORWARD[stage % len(FORWARD)], Kind.BACKWARD: BACKWARD[stage % len(BACKWARD)], **OTHER}
    x, width = _x(event.start_s, step_s), (event.end_s - event.start_s) / step_s * CHART
    yield rectangle(x, y, width, BAR, colors[kind], edge="white", thick=0.5)
    if width >= LABEL_WIDTH and event.action.microbatch >= 0:
        color = "white" if kind is Kind.BACKWARD else "black"
        yield text(x + width / 2, y + 13, str(event.action.microbatch), anchor="middle", color=color, size=10)


def _bars(plan: Plan, y: float) -> Iterator[str]:
    """The step of the plan and of each baseline."""
    rows: list[tuple[str, float | None, str]] = [(b.name, b.step_time_s, b.infeasible) for b in plan.baselines]
    if plan.estimate is None or not rows:
        return
    rows.insert(0, ("this plan", plan.estimate.step_time_s, ""))
    longest = max(seconds for _, seconds, _ in rows if seconds is not None)
    yield text(MARGIN, y, "Instead", "bold")
    for number, (name, seconds, reason) in enumerate(rows, 1):
        top = y - 16 + ROW * number
        yield text(MARGIN, top + 14, shorten(name, 36), "bold" if number == 1 else "normal")
        if seconds is None:
            yield text(GUTTER + MARGIN, top + 14, shorten(reason, LETTERS - 20), color="#a50f15")
            continue
        width = seconds / longest * (CHART - 90)
        yield rectangle(GUTTER + MARGIN, top, width, BAR, BACKWARD[0] if number == 1 else "#bdbdbd")
        yield text(GUTTER + MARGIN + width + 6, top + 14, format_seconds(seconds))


def _x(seconds: float, step_s: float) -> float:
    return MARGIN + GUTTER + seconds / step_s * CHART
