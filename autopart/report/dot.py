"""A plan as a graphviz graph: a frame a stage, filled by stage and bordered by type of device, its blocks inside (repeats as
one box), edges labelled with the bytes that a microbatch moves along them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes
from autopart.plans import Plan, Stage
from autopart.report.colors import borders, fill
from autopart.report.runs import Run, edges, runs
from autopart.report.text import device_names, manner_text, ranges, shares_text

MIXED = "#000000"  # border of a stage on several types


def format_dot(plan: Plan, cluster: Cluster, blocks: Blocks) -> str:
    """DOT text; ``dot -Tsvg`` draws it. ``blocks`` are the model's own."""
    drawn, colors = runs(blocks, plan), borders(plan, cluster)
    lines = [
        "digraph plan {",
        "  rankdir=LR; fontname=Helvetica;",
        "  node [shape=box, style=filled, fillcolor=white, fontname=Helvetica]; edge [fontname=Helvetica];",
        *_legend(colors),
    ]
    for stage in plan.stages:
        lines += _stage(stage, cluster, drawn, colors)
    lines += [
        f"  b{e.source} -> b{e.target} [label={_quote(format_bytes(e.nbytes))}];"
        for e in edges(blocks, drawn, plan.microbatch_size)
    ]
    return "\n".join([*lines, "}"]) + "\n"


def _legend(colors: Mapping[str, str]) -> Iterator[str]:
    """Which border is which device, where there are several."""
    if len(colors) < 2:
        return
    yield '  subgraph cluster_devices { label="devices, by border"; color=white;'
    for number, (name, color) in enumerate(colors.items()):
        yield f"    d{number} [label={_quote(name)}, color={_quote(color)}, penwidth=3];"
    yield "  }"


def _stage(stage: Stage, cluster: Cluster, drawn: tuple[Run, ...], colors: Mapping[str, str]) -> Iterator[str]:
    what = (f"stage {stage.index}: {device_names(stage.ranks, cluster)}", f"rank {ranges(stage.ranks)}", manner_text(stage))
    label = f"{', '.join(filter(None, what))}\nsamples {shares_text(stage)}"
    types = {cluster.device(rank).name for rank in stage.ranks}
    border = colors[types.pop()] if len(types) == 1 else MIXED
    yield f"  subgraph cluster_{stage.index} {{"
    yield f"    label={_quote(label)}; style=filled; fillcolor={_quote(fill(stage.index))}; color={_quote(border)}; penwidth=3;"
    for number, run in enumerate(drawn):
        if run.stage == stage.index:
            yield f"    b{number} [label={_quote(run.label)}, color={_quote(border)}];"
    yield "  }"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
