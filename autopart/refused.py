"""What is refused of a plan from a file: a model that is not there, or is another now, or takes more memory than devices have."""

from __future__ import annotations

from autopart.cluster.units import format_bytes
from autopart.errors import Infeasible, PlanError
from autopart.planner.score import Score
from autopart.plans import ModelRef, Plan


def no_model(plan: Plan) -> PlanError:
    """To be raised where a layer profile is asked to run."""
    return PlanError(
        f"this plan is of a layer profile ({plan.model.path}): there is no model to compile or run",
        remedy="Plan the model itself for that: autopart plan model.py ...",
    )


def check_named(plan: Plan) -> None:
    """Raises PlanError where there is no file to trace the model of."""
    if not plan.model.path:
        raise PlanError(
            "this plan was made from a model in Python; no file is named",
            remedy="Use autopart.compile(plan, model) there, or write the model's path into the plan under model.path.",
        )


def check_model(plan: Plan, model: ModelRef) -> None:
    """A plan belongs to one graph; a plan written by hand names no digest."""
    if plan.model.digest not in ("", model.digest):
        raise PlanError(
            f"this plan was made for another model than {model.path or 'this one'} is now",
            remedy="Plan again; or delete model.digest from the plan if its blocks are still right.",
        )


def check_memory(scored: Score) -> None:
    """Raises Infeasible where the simulated peak of a rank is more than its device has to use."""
    for rank, peak in sorted(scored.overfull.items()):
        capacity = next(costs.capacity_bytes for (_, owner), costs in scored.costs.of.items() if owner == rank)
        raise Infeasible(
            f"rank {rank} needs {format_bytes(peak)} and has {format_bytes(capacity)} to use",
            remedy="Move blocks to another stage, give the rank fewer samples, take more microbatches, or recompute.",
        )
