"""plan and show of a profiled graph: no model, no torch; what of the options of ``plan`` a layer profile has."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from autopart.cli.output import about, check_output, progress, write
from autopart.errors import InputError, PlanError

if TYPE_CHECKING:
    from autopart.profiled.plan import ProfilePlan

OBJECTIVES = ("step", "throughput", "latency")
OF_OPS = {"granularity": "block", "batch_norm": "global", "layout": []}  # what models alone are asked, with the defaults
OF_MODELS = ("batch_size", "stages", "data", "tensor", "zero", "layout", "schedule", "step_limit", "front")


def is_layers(path: str) -> bool:
    """Whether a profile is one of layers, planned as a model is."""
    from autopart.profiled.profile import is_layer_profile

    return is_layer_profile(path)


def check_layer_options(arguments: argparse.Namespace) -> None:
    """Nothing is known of what is inside of a layer."""
    for name, default in OF_OPS.items():
        if getattr(arguments, name) != default:
            option = "--" + name.replace("_", "-")
            raise InputError(
                f"{option} is for models: a layer profile has whole layers", where=arguments.model, remedy="Leave it out."
            )


def plan_profile(arguments: argparse.Namespace) -> None:
    """``autopart plan graph.json``."""
    from autopart.profiled import plan as profiled
    from autopart.profiled.problem import Goal

    _check_options(arguments)
    check_output(arguments.output)
    goal = Goal(arguments.objective, arguments.contiguous is not False, arguments.microbatches or 1)
    limits = {"gap": arguments.gap, "time_limit_s": arguments.time_limit}
    plan = profiled.plan_files(arguments.model, arguments.devices, goal, **limits, say=progress(arguments))
    profiled.save_plan(plan, arguments.output)
    print(profiled.dump_plan(plan) if arguments.json else _report(plan), end="")


def show_profile_plan(arguments: argparse.Namespace) -> None:
    from autopart.profiled.plan import dump_plan, load_plan

    plan = load_plan(arguments.plan)
    if arguments.format not in ("text", "json"):
        raise InputError(
            f"there is no {arguments.format} of the plan of a profiled graph",
            where=arguments.plan,
            remedy="Use --format text or --format json.",
        )
    with about(arguments.plan):
        text = dump_plan(plan) if arguments.format == "json" else _report(plan)
    write(text, arguments.output)


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.objective not in OBJECTIVES:
        raise InputError(
            f"a profiled graph is not planned for {arguments.objective}",
            where=arguments.model,
            remedy=f"Take one of --objective {', '.join(OBJECTIVES)}.",
        )
    given = [name for name in OF_MODELS if getattr(arguments, name)]
    if given:
        option = "--" + given[0].replace("_", "-")
        raise InputError(f"{option} is for models", where=arguments.model, remedy="Leave it out with a profiled graph.")


def _report(plan: ProfilePlan) -> str:
    from autopart.cluster.load import load_cluster
    from autopart.report.profiled import format_profile_plan

    cluster = load_cluster(plan.cluster.path)
    if plan.cluster.digest != cluster.digest:
        raise PlanError("this plan was made for another cluster than the file describes now", remedy="Plan again.")
    return format_profile_plan(plan, cluster)
