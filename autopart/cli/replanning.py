"""replan: from a plan and a cluster that has changed to the plan after."""

from __future__ import annotations

import argparse

from autopart.cli.arguments import Subparsers, fraction, quiet
from autopart.cli.limits import add_limits, limits
from autopart.cli.output import about, check_output, progress, users_code
from autopart.cli.showing import report


def replan_command(arguments: argparse.Namespace) -> None:
    check_output(arguments.output)
    say = progress(arguments)
    from autopart import pipeline
    from autopart.planfile import dump_plan, load_plan, save_plan

    old = load_plan(arguments.plan)
    with users_code(), about(arguments.plan):
        plan = pipeline.replan_files(old, arguments.devices, limits=limits(arguments), stay=arguments.stay, say=say)
    save_plan(plan, arguments.output)
    print(dump_plan(plan) if arguments.json else report(plan), end="")


def add_parsers(commands: Subparsers) -> None:
    replan = commands.add_parser(
        "replan",
        help="adapt a plan to a cluster that has changed",
        description="Plan again for other machines, starting from the old plan, and say which parts of the training state move. "
        "Devices are known again by the name of their node, their number in it and their type.",
        examples="autopart replan plan.json --devices without_a1.yaml -o replan.json",
    )
    replan.add_argument("plan", metavar="plan.json", help="the plan before")
    replan.add_argument("--devices", required=True, metavar="CLUSTER.yaml", help="the machines that there are now")
    replan.add_argument("-o", "--output", default="replan.json", metavar="FILE", help="where the new plan goes (replan.json)")
    replan.add_argument(
        "--stay",
        type=fraction,
        default=0.02,
        metavar="FRACTION",
        help="take a plan this much slower than the fastest where that moves fewer bytes (0.02)",
    )
    add_limits(replan)
    replan.add_argument("--json", action="store_true", help="print the plan as JSON, with what moves")
    quiet(replan)
    replan.set_defaults(command=replan_command)
