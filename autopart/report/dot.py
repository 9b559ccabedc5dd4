"""A plan as a graphviz graph: a box a stage, runs of blocks inside, edges labelled with what crosses."""

from __future__ import annotations

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes
from autopart.ir.graph import Value
from autopart.plans import Plan, Stage
from autopart.program.program import Program
from autopart.report.text import block_names, device_names, mesh_text, ranges

# Light fills that black text reads well on, told apart without relying on red against green.
FILLS = ("#cfe2f3", "#fde9c9", "#d9ead3", "#ead1dc", "#d9d2e9", "#fff2cc", "#d0e0e3", "#f4cccc")


def format_dot(plan: Plan, cluster: Cluster, program: Program) -> str:
    """DOT text; ``dot -Tsvg`` draws it."""
    lines = [
        "digraph plan {",
        "  rankdir=LR; compound=true; fontname=Helvetica;",
        "  node [shape=box, style=filled, fillcolor=white, fontname=Helvetica]; edge [fontname=Helvetica];",
    ]
    for stage in plan.stages:
        lines += _stage(stage, cluster)
    lines += _edges(plan, program)
    return "\n".join([*lines, "}"]) + "\n"


def _stage(stage: Stage, cluster: Cluster) -> list[str]:
    label = ", ".join(
        filter(
            None, (f"stage {stage.index}: {device_names(stage.ranks, cluster)}", f"rank {ranges(stage.ranks)}", mesh_text(stage))
        )
    )
    shares = "+".join(str(share) for share in stage.shares)
    return [
        f"  subgraph cluster_{stage.index} {{",
        f"    label={_quote(label)}; style=filled; color={_quote(FILLS[stage.index % len(FILLS)])};",
        f"    s{stage.index} [label={_quote(f'{block_names(stage.blocks)}{chr(10)}samples {shares}')}];",
        "  }",
    ]


def _edges(plan: Plan, program: Program) -> list[str]:
    totals: dict[tuple[int, int], int] = {}
    for transfer in program.transfers:
        pair = (transfer.source, transfer.target)
        totals[pair] = totals.get(pair, 0) + Value(transfer.value, transfer.shape, transfer.dtype).nbytes(plan.microbatch_size)
    return [f"  s{a} -> s{b} [label={_quote(format_bytes(nbytes))}];" for (a, b), nbytes in sorted(totals.items())]


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
