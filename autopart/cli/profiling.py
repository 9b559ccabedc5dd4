"""profile: what ops and blocks of a model take on this machine, or messages between the ranks of a cluster."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autopart.cli.arguments import Subparsers, add_settings, positive, quiet
from autopart.cli.output import check_output, progress, users_code
from autopart.errors import InputError
from autopart.plans import Settings

if TYPE_CHECKING:
    from autopart.cluster.cluster import Group

ROWS = "1,2,4,8"


def profile_command(arguments: argparse.Namespace) -> None:
    if arguments.links:
        _profile_links(arguments)
    elif arguments.model is None:
        remedy = "Name a model file; or say --links, on all ranks of the cluster, for what messages take."
        raise InputError("there is nothing to profile", where=arguments.devices, remedy=remedy)
    else:
        _profile_model(arguments)


def _profile_links(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_output(arguments.output)
    say = progress(arguments)
    from autopart.profiling.links import profile_links

    table = profile_links(arguments.devices, arguments.output, say)
    say("")
    if table:
        print(table)


def _profile_model(arguments: argparse.Namespace) -> None:
    from autopart.cluster.load import load_cluster

    group = _group(load_cluster(arguments.devices, measured=False).groups, arguments)
    device = group.device
    target = Path(arguments.output) if arguments.output else Path(arguments.devices).parent / f"{device.name}.costs.json"
    check_output(str(target))
    say = progress(arguments)
    import torch

    from autopart import pipeline
    from autopart.profiling.campaign import Wanted
    from autopart.profiling.session import saver, started, stopwatch
    from autopart.profiling.text import format_outcome

    torch.set_num_threads(arguments.threads)
    watch = stopwatch(device, arguments.repeats, arguments.sustained)
    settings = Settings(arguments.optimizer, arguments.precision, arguments.batch_norm, arguments.granularity)
    wanted = Wanted(arguments.rows, settings, "block" if arguments.compile else arguments.by, arguments.compile, arguments.tensor)
    files = {"known": started(target, device, watch, compiled=arguments.compile), "save": saver(target)}
    with users_code():
        outcome = pipeline.profile_model(arguments.model, wanted, group=group, watch=watch, say=say, **files)
    print(format_outcome(outcome), end="")
    line = os.path.relpath(target.absolute(), Path(arguments.devices).absolute().parent)
    print(f"\nTo plan with it, say in {arguments.devices}:\n\ntypes:\n  {device.name}: {{measured: {line}}}")


def _group(groups: Sequence[Group], arguments: argparse.Namespace) -> Group:
    """The first of the type that this machine is."""
    types: dict[str, Group] = {}
    for group in groups:
        types.setdefault(group.device.name, group)
    if arguments.type is None and len(types) == 1:
        return next(iter(types.values()))
    if arguments.type not in types:
        what = "the cluster has several types" if arguments.type is None else f"the cluster has no type {arguments.type!r}"
        remedy = f"Say which of them this machine is: --type {' or --type '.join(types)}."
        raise InputError(what, where=arguments.devices, remedy=remedy)
    return types[str(arguments.type)]


def _numbers(text: str) -> tuple[int, ...]:
    """Several numbers, ascending."""
    return tuple(sorted({positive(part.strip()) for part in text.split(",")}))


def add_parsers(commands: Subparsers) -> None:
    profile = commands.add_parser(
        "profile",
        help="measure the ops and blocks of a model on this machine",
        description="Time the distinct ops and blocks of a model on this machine, forward and backward, and write a costs file "
        "that a cluster file may name as a type's `measured`. A second run measures only what is missing.",
        examples="autopart profile model.py --devices cluster.yaml --type box-cpu\n"
        "autopart profile model.py --devices cluster.yaml --type box-cpu --rows 1,4,16 --by block -o box-cpu.costs.json\n"
        "torchrun --nproc-per-node 4 -m autopart profile --links --devices cluster.yaml -o measured.yaml",
    )
    profile.add_argument("model", nargs="?", metavar="MODEL.py[:FACTORY]", help="defines model() and example_inputs(batch_size)")
    profile.add_argument("--links", action="store_true", help="measure messages and collectives, on all ranks of the cluster")
    profile.add_argument("--devices", required=True, metavar="CLUSTER.yaml", help="the cluster file that has the type")
    profile.add_argument("--type", metavar="TYPE", help="the type that this machine is; needed where the cluster has several")
    profile.add_argument(
        "--rows", type=_numbers, default=_numbers(ROWS), metavar="N,N", help=f"samples at which to measure ({ROWS})"
    )
    add_settings(profile)
    profile.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="the costs file (TYPE.costs.json beside the cluster file); with --links the measured cluster file",
    )
    profile.add_argument("--by", choices=["op", "block", "both"], default="both", help="ops, blocks as a whole, or both (both)")
    profile.add_argument(
        "--tensor", type=_numbers, default=(), metavar="N,N", help="also ops as N devices split them, for plans with --tensor N"
    )
    profile.add_argument("--repeats", type=positive, default=5, metavar="N", help="of which the least counts (5)")
    profile.add_argument(
        "--sustained",
        action=argparse.BooleanOptionalAction,
        help="the mean of a sustained load in place of the least of repeats (where this process is under a CPU quota)",
    )
    profile.add_argument("--threads", type=positive, default=1, metavar="N", help="of one op on a CPU (1, as `run` has)")
    profile.add_argument("--compile", action="store_true", help="blocks under torch.compile, in a costs file of their own")
    quiet(profile)
    profile.set_defaults(command=profile_command)
