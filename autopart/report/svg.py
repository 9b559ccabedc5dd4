"""A plan as a picture: the simulated step, a row for every rank, and the plan beside what a user would do instead."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.plans import Plan
from autopart.program.program import Kind
from autopart.report.text import block_names, mesh_text
from autopart.simulate import Event, Timeline

WIDTH, GUTTER, MARGIN, ROW, BAR = 1040, 210, 16, 24, 17
CHART = WIDTH - GUTTER - 2 * MARGIN
FORWARD = ("#9ecae1", "#a1d99b", "#fdd0a2", "#dadaeb", "#fcbba1", "#d9d9d9")
BACKWARD = ("#4292c6", "#41ab5d", "#f16913", "#807dba", "#ef3b2c", "#737373")
OTHER = {Kind.REDUCE: "#525252", Kind.UPDATE: "#bdbdbd"}
LABEL_WIDTH = 15  # pixels that a microbatch's number needs
MOST_MESHES = 3  # that the head of a picture has room for
MOST_RANKS = 64  # rows that a picture shows; more ranks than that are drawn by stage, its first rank standing for all


def format_svg(plan: Plan, cluster: Cluster, timeline: Timeline) -> str:
    """SVG text, for a browser or a page."""
    ranks = _ranks(plan)
    top = 58
    bottom = top + ROW * len(ranks)
    height = bottom + 46 + ROW * (len(plan.baselines) + 2)
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_head(plan),
        *_axis(timeline.step_s, top, bottom),
        *(line for row, rank in enumerate(ranks) for line in _row(plan, cluster, timeline, rank, top + ROW * row)),
        *_bars(plan, bottom + 46),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ranks(plan: Plan) -> list[tuple[int, int]]:
    """(stage, rank) of every row."""
    every = [(stage.index, rank) for stage in plan.stages for rank in stage.ranks]
    return every if len(every) <= MOST_RANKS else [(stage.index, stage.ranks[0]) for stage in plan.stages]


def _head(plan: Plan) -> Iterator[str]:
    step = format_seconds(plan.estimate.step_time_s) if plan.estimate else "?"
    title = f"{plan.model.path} over {plan.cluster.path}: a step of {step}"
    samples = f"{plan.batch_size} samples in {plan.schedule.microbatches} microbatches, {plan.schedule.name}"
    meshes = [f"stage {stage.index}: {mesh_text(stage)}" for stage in plan.stages if mesh_text(stage)]
    samples += f"; {'; '.join(meshes[:MOST_MESHES])}{'; ...' if len(meshes) > MOST_MESHES else ''}" if meshes else ""
    yield _text(MARGIN, 22, title, "bold", size=14)
    yield _text(MARGIN, 40, f"{samples}; light: forward, dark: backward", color="#525252")


def _axis(step_s: float, top: int, bottom: int) -> Iterator[str]:
    for tick in _ticks(step_s):
        x = _x(tick, step_s)
        yield f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#d9d9d9"/>'
        yield _text(x, bottom + 18, format_seconds(tick) if tick else "0", anchor="middle", color="#525252")


def _ticks(step_s: float) -> list[float]:
    """Round numbers, about six of them."""
    power = 1e-9
    while power * 10 <= step_s / 4:
        power *= 10
    unit = next(power * factor for factor in (10, 5, 2, 1) if power * factor <= step_s / 4)
    return [unit * i for i in range(int(step_s / unit) + 1)]


def _row(plan: Plan, cluster: Cluster, timeline: Timeline, row: tuple[int, int], y: int) -> Iterator[str]:
    index, rank = row
    stage = plan.stages[index]
    if rank == stage.ranks[0]:
        yield f'<line x1="{MARGIN}" y1="{y}" x2="{WIDTH - MARGIN}" y2="{y}" stroke="#bdbdbd"/>'
    peak = f", {format_bytes(plan.estimate.peak_bytes.get(rank, 0))}" if plan.estimate else ""
    where = ", ".join(filter(None, (f"stage {index}: {block_names(stage.blocks)}", mesh_text(stage))))
    yield f"<g><title>{escape(where)}</title>"
    yield _text(MARGIN, y + 16, f"{index}", "bold", color=BACKWARD[index % len(BACKWARD)])
    yield _text(MARGIN + 18, y + 16, f"rank {rank}, {cluster.device(rank).name}{peak}")
    for event in timeline.events:
        if event.rank == rank:
            yield from _event(event, timeline.step_s, y + (ROW - BAR) // 2)
    yield "</g>"


def _event(event: Event, step_s: float, y: int) -> Iterator[str]:
    kind, stage = event.action.kind, event.action.stage
    if kind in (Kind.SEND, Kind.RECEIVE) or event.end_s <= event.start_s:
        return
    colors = {Kind.FORWARD: FORWARD[stage % len(FORWARD)], Kind.BACKWARD: BACKWARD[stage % len(BACKWARD)], **OTHER}
    x, width = _x(event.start_s, step_s), (event.end_s - event.start_s) / step_s * CHART
    place = f'x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAR}"'
    yield f'<rect {place} fill="{colors[kind]}" stroke="white" stroke-width="0.5"/>'
    if width >= LABEL_WIDTH and event.action.microbatch >= 0:
        color = "white" if kind is Kind.BACKWARD else "black"
        yield _text(x + width / 2, y + 13, str(event.action.microbatch), anchor="middle", color=color, size=10)


def _bars(plan: Plan, y: int) -> Iterator[str]:
    """The step of the plan and of each baseline."""
    rows: list[tuple[str, float | None, str]] = [(b.name, b.step_time_s, b.infeasible) for b in plan.baselines]
    if plan.estimate is None or not rows:
        return
    rows.insert(0, ("this plan", plan.estimate.step_time_s, ""))
    longest = max(seconds for _, seconds, _ in rows if seconds is not None)
    yield _text(MARGIN, y, "Instead", "bold")
    for number, (name, seconds, reason) in enumerate(rows, 1):
        top = y - 16 + ROW * number
        yield _text(MARGIN, top + 14, name, "bold" if number == 1 else "normal")
        if seconds is None:
            yield _text(GUTTER + MARGIN, top + 14, reason, color="#a50f15")
            continue
        width = seconds / longest * (CHART - 90)
        color = BACKWARD[0] if number == 1 else "#bdbdbd"
        yield f'<rect x="{GUTTER + MARGIN}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{color}"/>'
        yield _text(GUTTER + MARGIN + width + 6, top + 14, format_seconds(seconds))


def _x(seconds: float, step_s: float) -> float:
    return MARGIN + GUTTER + seconds / step_s * CHART


def _text(
    x: float, y: float, text: str, weight: str = "normal", *, size: int = 12, anchor: str = "start", color: str = "black"
) -> str:
    style = f'font-weight="{weight}" font-size="{size}" text-anchor="{anchor}" fill="{color}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
