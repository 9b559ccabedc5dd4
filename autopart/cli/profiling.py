"""profile: measures the machines of a cluster file."""

from __future__ import annotations

import argparse

from autopart.cli.arguments import Subparsers, quiet
from autopart.cli.output import check_output, progress


def links_command(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_output(arguments.output)
    say = progress(arguments)
    from autopart.profiling.links import profile_links

    table = profile_links(arguments.devices, arguments.output, say)
    say("")
    if table:
        print(table)


def add_parsers(commands: Subparsers) -> None:
    profile = commands.add_parser(
        "profile",
        help="measure the links of a cluster, on all its ranks",
        description="Measure messages and collectives between the ranks of a cluster; write its file with what they take.",
        examples="torchrun --nproc-per-node 4 -m autopart profile --links --devices cluster.yaml -o measured.yaml",
    )
    profile.add_argument("--links", action="store_true", required=True, help="measure links")
    profile.add_argument("--devices", required=True, metavar="cluster.yaml")
    profile.add_argument("-o", "--output", metavar="FILE", help="write the cluster file with measured numbers here")
    quiet(profile)
    profile.set_defaults(command=links_command)
