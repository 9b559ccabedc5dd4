"""show, devices: a plan drawn, the catalogue listed."""

from __future__ import annotations

import argparse
import json
import os
import sys

from autopart.cli.arguments import Subparsers, quiet
from autopart.cli.output import about, check_output, progress, users_code, write
from autopart.cli.profiled import show_profile_plan
from autopart.errors import Incomplete, InputError
from autopart.plans import Plan


def show_command(arguments: argparse.Namespace) -> None:
    from autopart.profiled.plan import is_profile_plan

    if is_profile_plan(arguments.plan):
        show_profile_plan(arguments)
    else:
        show_plan(arguments)


def show_plan(arguments: argparse.Namespace) -> None:
    from autopart.planfile import dump_plan, load_plan

    plan = load_plan(arguments.plan)
    with about(arguments.plan):
        if arguments.measured and arguments.format != "trace":
            text = _measured(plan, arguments)
        elif arguments.format == "json":
            text = dump_plan(plan)
        elif arguments.format == "text":
            text = report(plan, colour=arguments.output is None)
        else:
            text = _drawn(plan, arguments)
    write(text, arguments.output)


def devices_command(arguments: argparse.Namespace) -> None:
    if arguments.detect:
        detect_command(arguments)
        return
    for option in ("output", "hostfile"):
        if getattr(arguments, option):
            raise InputError(f"--{option} is for --detect", remedy="Write: autopart devices --detect -o cluster.yaml")
    from autopart.cluster.listing import format_catalogue

    print(format_catalogue(), end="")


def detect_command(arguments: argparse.Namespace) -> None:
    """``autopart devices --detect``."""
    from autopart.cluster.detect.detect import detect, here
    from autopart.cluster.detect.hosts import load_hostfile

    if arguments.output:
        check_output(arguments.output)
    hosts = load_hostfile(arguments.hostfile) if arguments.hostfile else ()
    found = detect(here(), hosts)
    write(found.text, arguments.output)
    for line in found.assumed:
        print(line, file=sys.stderr)
    if found.lacking:
        what = "; ".join(found.lacking)
        raise Incomplete(what, where=arguments.output or "stdout", remedy="Fill that in: then the file can be used.")


def report(plan: Plan, *, colour: bool = True) -> str:
    """The plan as text, if it is of the cluster that its file describes; in colours where stdout is a terminal
    (https://no-color.org).
    """
    from autopart.cluster.load import load_cluster
    from autopart.program.check import check_cluster
    from autopart.report.moves import format_moves
    from autopart.report.table import ansi, plain
    from autopart.report.text import format_plan

    cluster = load_cluster(plan.cluster.path)
    check_cluster(plan, cluster)
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    text = format_plan(plan, cluster, ansi if colour and terminal else plain)
    return "\n".join(part for part in (text, format_moves(plan)) if part)


def _drawn(plan: Plan, arguments: argparse.Namespace) -> str:
    if arguments.output:
        check_output(arguments.output)
    say = progress(arguments)
    from autopart.pictures import picture

    with users_code():
        return picture(plan, arguments.format, arguments.measured, say=say)


def _measured(plan: Plan, arguments: argparse.Namespace) -> str:
    if arguments.format not in ("text", "json"):
        raise InputError(
            f"--measured says nothing about --format {arguments.format}", remedy="Leave --format out, or take json or trace."
        )
    say = progress(arguments)
    from autopart.feedback.compare import comparison_data, format_comparison
    from autopart.pictures import compared

    with users_code():
        found, cluster = compared(plan, arguments.measured, say=say)
    return (
        format_comparison(found, cluster) if arguments.format == "text" else json.dumps(comparison_data(found), indent=2) + "\n"
    )


def add_parsers(commands: Subparsers) -> None:
    show = commands.add_parser(
        "show",
        help="draw a plan",
        description="Show a plan that `autopart plan` wrote.",
        examples="autopart show plan.json\nautopart show plan.json --format html -o plan.html",
    )
    show.add_argument("plan", metavar="plan.json")
    formats = ["text", "json", "dot", "svg", "html", "trace"]
    explained = "html: a page to explore, dot: for graphviz, trace: for ui.perfetto.dev (text)"
    show.add_argument("--format", choices=formats, default="text", help=explained)
    told = "a recording of `run --measure` or `train.py --timeline`: set the executed step beside the simulated one"
    show.add_argument("--measured", metavar="FILE", help=told)
    show.add_argument("-o", "--output", metavar="FILE", help="write there instead of to the terminal")
    quiet(show)
    show.set_defaults(command=show_command)

    devices = commands.add_parser(
        "devices",
        help="list the device types that cluster files may name; write a cluster file for this machine",
        description="List the catalogue. With --detect look at this machine (its GPUs and their links; else its cores, measured "
        "for two seconds), an allocation of Slurm or the hosts of a file, and write a cluster file.",
        examples="autopart devices\n"
        "autopart devices --detect -o cluster.yaml\n"
        "autopart devices --detect --hostfile hosts -o cluster.yaml",
    )
    devices.add_argument("--detect", action="store_true", help="write a cluster file for this machine")
    devices.add_argument("--hostfile", metavar="FILE", help="with --detect: lines node1 slots=8; machines like this one")
    devices.add_argument("-o", "--output", metavar="FILE", help="with --detect: write there instead of to the terminal")
    devices.set_defaults(command=devices_command)
