"""When the search may stop, and what the user pinned: arguments of every command that plans."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from autopart.cli.arguments import Parser, fraction, layout, positive, seconds
from autopart.plans import ZERO_LEVELS

if TYPE_CHECKING:
    from autopart.pipeline import Limits


def add_limits(parser: Parser) -> None:
    parser.add_argument("--time-limit", type=seconds, default=60.0, metavar="S", help="seconds for the solver (60)")
    parser.add_argument("--gap", type=fraction, default=0.01, help="stop when the plan is proven this close to the best (0.01)")
    parser.add_argument("--stages", type=positive, metavar="N", help="pin the number of pipeline stages")
    parser.add_argument("--data", type=positive, metavar="N", help="pin the number of replicas of every stage")
    parser.add_argument("--tensor", type=positive, metavar="N", help="pin how many devices split the ops of every replica")
    parser.add_argument(
        "--zero", type=int, choices=ZERO_LEVELS, help="pin what replicas share out: 1 optimizer state, 2 gradients, 3 all"
    )
    parser.add_argument(
        "--layout",
        type=layout,
        action="append",
        default=[],
        metavar="GLOB=S(DIM)",
        help="how parameters or results of ops of such a name lie over a replica's devices: S(DIM), R or P; repeatable",
    )
    parser.add_argument("--microbatches", type=positive, metavar="N", help="pin the number of microbatches")
    parser.add_argument("--schedule", choices=["1f1b", "gpipe"], help="pin the pipeline schedule")


def limits(arguments: argparse.Namespace) -> Limits:
    """What ``add_limits`` reads."""
    from autopart.pipeline import Limits

    return Limits(
        stages=arguments.stages,
        data=arguments.data,
        microbatches=arguments.microbatches,
        schedule=arguments.schedule,
        gap=arguments.gap,
        time_limit_s=arguments.time_limit,
        tensor=arguments.tensor,
        zero=arguments.zero,
        layouts=dict(arguments.layout),
    )
