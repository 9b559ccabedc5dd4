"""``autopart show`` in the formats that need the model: traced again, lowered, simulated, drawn."""

from __future__ import annotations

from dataclasses import replace

from autopart import pipeline
from autopart.cluster.cluster import Cluster
from autopart.feedback.compare import Comparison, compare
from autopart.feedback.executed import load_executed
from autopart.planner.meshes import Index
from autopart.planner.score import Score, estimate, score
from autopart.plans import Plan
from autopart.report.dot import format_dot
from autopart.report.html import format_html
from autopart.report.svg import format_svg
from autopart.report.trace import format_trace
from autopart.say import Say, silent

FORMATS = ("dot", "svg", "html", "trace")


def picture(plan: Plan, kind: str, recording: str | None = None, say: Say = silent) -> str:
    """The text of a file of this format. Estimates are those of the plan as it stands, whatever an edited file says of it.

    A trace also has what a ``recording`` says was executed.
    """
    built = pipeline.build(plan, say=say)
    if kind == "dot":
        return format_dot(plan, built.cluster, built.source.blocks)
    say("simulating")
    index = pipeline.index_of(built)
    scored = _estimated(score(plan, index), index)
    say("drawing")
    match kind:
        case "svg":
            text = format_svg(scored.plan, index.cluster, index.blocks, scored.timeline)
        case "trace":
            text = format_trace(scored, index.cluster, load_executed(recording, built.program).timeline if recording else None)
        case "html":
            text = format_html(scored, index)
        case _:
            raise AssertionError(f"no format {kind}")
    say("")
    return text


def compared(plan: Plan, recording: str, say: Say = silent) -> tuple[Comparison, Cluster]:
    """A recorded run of the plan beside its simulation."""
    built = pipeline.build(plan, say=say)
    say("simulating")
    found = compare(pipeline.simulated(built), load_executed(recording, built.program))
    say("")
    return found, built.cluster


def _estimated(scored: Score, index: Index) -> Score:
    """With the estimate of this very simulation; a bound that was proven is kept."""
    plan = scored.plan
    bound = plan.estimate.lower_bound_s if plan.estimate else float("nan")
    return replace(scored, plan=replace(plan, estimate=estimate(scored, index, bound)))
