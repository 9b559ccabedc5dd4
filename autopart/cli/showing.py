"""show, devices: a plan drawn, the catalogue listed."""

from __future__ import annotations

import argparse

from autopart.cli.arguments import Subparsers, quiet
from autopart.cli.output import about, progress, users_code, write
from autopart.plans import Plan


def show_command(arguments: argparse.Namespace) -> None:
    from autopart.planfile import dump_plan, load_plan

    plan = load_plan(arguments.plan)
    with about(arguments.plan), users_code():
        if arguments.format == "json":
            text = dump_plan(plan)
        elif arguments.format in ("dot", "svg"):
            text = _drawn(plan, arguments)
        else:
            text = report(plan)
    write(text, arguments.output)


def devices_command(_: argparse.Namespace) -> None:
    from autopart.cluster.listing import format_catalogue

    print(format_catalogue(), end="")


def report(plan: Plan) -> str:
    """The plan as text, if it is of the cluster that its file describes."""
    from autopart.cluster.load import load_cluster
    from autopart.program.check import check_cluster
    from autopart.report.moves import format_moves
    from autopart.report.text import format_plan

    cluster = load_cluster(plan.cluster.path)
    check_cluster(plan, cluster)
    return "\n".join(text for text in (format_plan(plan, cluster), format_moves(plan)) if text)


def _drawn(plan: Plan, arguments: argparse.Namespace) -> str:
    say = progress(arguments)
    from autopart import pipeline
    from autopart.report.dot import format_dot
    from autopart.report.svg import format_svg

    built = pipeline.build(plan, say=say)
    if arguments.format == "dot":
        return format_dot(plan, built.cluster, built.program)
    return format_svg(plan, built.cluster, pipeline.simulated(built).timeline)


def add_parsers(commands: Subparsers) -> None:
    show = commands.add_parser(
        "show",
        help="draw a plan",
        description="Show a plan that `autopart plan` wrote.",
        examples="autopart show plan.json\nautopart show plan.json --format svg -o plan.svg",
    )
    show.add_argument("plan", metavar="plan.json")
    show.add_argument("--format", choices=["text", "json", "dot", "svg"], default="text", help="dot is for graphviz")
    show.add_argument("-o", "--output", metavar="FILE", help="write there instead of to the terminal")
    quiet(show)
    show.set_defaults(command=show_command)

    devices = commands.add_parser("devices", help="list the device types that cluster files may name")
    devices.set_defaults(command=devices_command)
