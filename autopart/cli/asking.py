"""explain, diff: what a plan can be asked."""

from __future__ import annotations

import argparse
import json

from autopart.cli.arguments import Subparsers, fraction, quiet, seconds
from autopart.cli.output import about, progress, users_code


def explain_command(arguments: argparse.Namespace) -> None:
    say = progress(arguments)
    from autopart import pipeline
    from autopart.explain.sentences import json_values
    from autopart.explain.text import format_explanation
    from autopart.planfile import load_plan

    with about(arguments.plan), users_code():
        plan, found, cluster = pipeline.explain_plan(
            load_plan(arguments.plan),
            wishes=arguments.why_not,
            changes=arguments.what_if,
            op=arguments.op,
            gap=arguments.gap,
            time_limit_s=arguments.time_limit,
            say=say,
        )
    if arguments.json:
        print(json.dumps(json_values(found), indent=2))
    else:
        print(format_explanation(found, plan, cluster), end="")


def diff_command(arguments: argparse.Namespace) -> None:
    say = progress(arguments)
    from autopart import pipeline
    from autopart.explain.diff import difference
    from autopart.explain.diff_text import format_difference
    from autopart.explain.sentences import json_values
    from autopart.planfile import load_plan

    paths = (arguments.before, arguments.after)
    with users_code():
        first, second = pipeline.score_plans([load_plan(path) for path in paths], say)
    found = difference(paths, first.score, second.score, (first.index, second.index))
    if arguments.json:
        print(json.dumps(json_values(found), indent=2))
    else:
        clusters = (first.index.cluster, second.index.cluster)
        print(format_difference(found, (first.score.plan, second.score.plan), clusters), end="")


def add_parsers(commands: Subparsers) -> None:
    explain = commands.add_parser(
        "explain",
        help="what bounds a plan, what else there is, what would help",
        description="Answer questions about a plan, by planning again. Without one: what bounds its step, the next-best plan, "
        "what users would do instead, what would help most, why devices are left out.",
        examples="autopart explain plan.json\n"
        "autopart explain plan.json --why-not ddp            # how much would plain data parallelism lose?\n"
        "autopart explain plan.json --why-not 'rank 7'       # why does GPU 7 do nothing?\n"
        "autopart explain plan.json --why-not stages=3,tensor=2\n"
        "autopart explain plan.json --what-if 'network a-v = 100 Gb/s'\n"
        "autopart explain plan.json --what-if 'memory = 24 GB'\n"
        "autopart explain plan.json --op transformer.h.0.mlp",
    )
    explain.add_argument("plan", metavar="plan.json")
    explain.add_argument(
        "--why-not",
        action="append",
        default=[],
        metavar="KIND",
        help="compare with the best plan of a kind: dp, ddp, pp, tp, fsdp, fastest, all; 'rank N' or 'every rank' used; "
        "stages=3,tensor=2; a baseline's name; '*.fc1.weight=R'; repeatable",
    )
    explain.add_argument(
        "--what-if",
        action="append",
        default=[],
        metavar="CHANGE",
        help="plan for a changed cluster: 'memory = 24 GiB', 'network a-v = 100 Gb/s', 'interconnect a = 2x', "
        "'speed T4-16GB = 2x', 'devices a = 3', 'nodes a = 0'; repeated changes hold together",
    )
    explain.add_argument("--op", metavar="NAME", help="layouts and costs of an op, a module, a block or a parameter")
    explain.add_argument("--gap", type=fraction, default=0.01, help="every search stops this close to its bound (0.01)")
    explain.add_argument("--time-limit", type=seconds, default=20.0, metavar="S", help="seconds for every search (20)")
    explain.add_argument("--json", action="store_true", help="print the answers as JSON")
    quiet(explain)
    explain.set_defaults(command=explain_command)

    diff = commands.add_parser(
        "diff",
        help="two plans side by side",
        description="What moved between two plans, and what it changes in time, memory and bytes. Both are priced anew.",
        examples="autopart diff plan.json edited.json",
    )
    diff.add_argument("before", metavar="a.json")
    diff.add_argument("after", metavar="b.json")
    diff.add_argument("--json", action="store_true", help="print the difference as JSON")
    quiet(diff)
    diff.set_defaults(command=diff_command)
