"""What an edit of a plan costs, against the plan that the planner chose and the bound that it proved."""

from __future__ import annotations

import math

from autopart.cluster.units import format_seconds
from autopart.plans import Plan

ALIKE = 0.0005  # of a step: differences below are none


def format_edit(before: Plan, after: Plan) -> str:
    """Of a plan as it was read and as it was priced; nothing where it is what the planner chose, or never was planned."""
    if before.search is None or after.estimate is None:
        return ""
    if after.search is None:
        return "The bound in the file is of another model, cluster, batch size, settings or schedule: it is left out.\n"
    ratio = after.estimate.step_time_s / after.search.step_time_s
    if abs(ratio - 1) <= ALIKE and not math.isnan(after.estimate.gap):
        return ""
    if abs(ratio - 1) <= ALIKE:
        lost = "As fast as the plan that it was made from"
    else:
        lost = f"{abs(ratio - 1):.1%} {'slower' if ratio > 1 else 'faster'} than the plan that it was made from"
    return f"{lost} ({format_seconds(after.search.step_time_s)}){_bound(after)}.\n"


def _bound(plan: Plan) -> str:
    """What the solver's bound says of the edited plan."""
    assert plan.estimate is not None, "it was priced"
    assert plan.search is not None, "it was planned"
    if math.isnan(plan.search.lower_bound_s):
        return ""
    if math.isnan(plan.estimate.gap):
        pins = ", ".join(f"{name}={value}" for name, value in plan.search.pins.items())
        return f"; the bound was proven for plans with {pins} and says nothing of this one"
    if plan.estimate.formula_s < plan.search.lower_bound_s:
        return "; by the formula it is below the planner's bound, so it is of a kind that the planner does not look at"
    return f"; by the formula no plan that the planner looks at saves more than {plan.estimate.gap:.1%}"
