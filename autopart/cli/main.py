"""The entry point: arguments to a command, its errors to an exit status.

0 done, 1 the answer is no, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from autopart.cli import asking, completion, planning, profiling, replanning, running, showing
from autopart.cli.arguments import Command, Parser
from autopart.cli.output import complain, drop_output
from autopart.errors import AutopartError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = build_parser().parse_args(argv)
    command: Command = arguments.command
    try:
        command(arguments)
        sys.stdout.flush()
    except AutopartError as error:
        complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:
        drop_output()  # the reader went away, as `| head` does
    return 0


def build_parser() -> Parser:
    parser = Parser(
        prog="autopart",
        description="Split a PyTorch model over a cluster of unlike devices: plan it, read the plan, compile it, run it.",
        examples="autopart plan model.py --devices cluster.yaml --batch-size 64 -o plan.json\n"
        "autopart show plan.json\n"
        "autopart explain plan.json --why-not ddp\n"
        "autopart run plan.json --steps 20 --compare",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for family in (planning, replanning, showing, asking, profiling, running):
        family.add_parsers(commands)
    completion.add_parsers(commands, parser)
    return parser
