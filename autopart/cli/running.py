"""compile, run: the distributed module of a plan, written or trained here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from autopart.cli.arguments import Subparsers, positive, positive_number, quiet
from autopart.cli.output import about, check_output, progress, users_code
from autopart.plans import Plan


def compile_command(arguments: argparse.Namespace) -> None:
    say = progress(arguments)
    from autopart import pipeline
    from autopart.planfile import load_plan

    plan = load_plan(arguments.plan)
    folder = Path(arguments.output or Path(arguments.plan).with_suffix(""))
    with about(arguments.plan), users_code():
        pipeline.compile_files(plan, folder, say=say)
    print(f"{folder / 'stages.py'}: what every rank runs\n{folder / 'train.py'}: start it with torchrun")


def run_command(arguments: argparse.Namespace) -> None:
    if arguments.measure:
        check_output(arguments.measure)
    say = progress(arguments)
    from autopart import local
    from autopart.planfile import load_plan

    plan = load_plan(arguments.plan)
    local.run(
        plan,
        steps=arguments.steps,
        learning_rate=arguments.lr,
        compare=arguments.compare,
        recording=Path(arguments.measure) if arguments.measure else None,
        say=say,
    )
    if arguments.measure:
        print(f"\n{measured(plan, arguments.measure, say)}", end="")


def measured(plan: Plan, recording: str, say: Callable[[str], None]) -> str:
    """A recorded run of the plan beside its simulation, as text."""
    from autopart.feedback.compare import format_comparison
    from autopart.pictures import compared

    with users_code():
        return format_comparison(*compared(plan, recording, say))


def add_parsers(commands: Subparsers) -> None:
    build = commands.add_parser(
        "compile",
        help="write the distributed module that a plan describes",
        description="Write stages.py (what every rank runs) and train.py (a training loop to start with torchrun).",
        examples="autopart compile plan.json -o package\n"
        "torchrun --nnodes 2 --node-rank 0 --nproc-per-node 4 --master-addr HOST --master-port 29500 package/train.py",
    )
    build.add_argument("plan", metavar="plan.json")
    build.add_argument("-o", "--output", metavar="DIR", help="where the module goes (the plan's name without .json)")
    quiet(build)
    build.set_defaults(command=compile_command)

    run = commands.add_parser(
        "run",
        help="train a plan on this machine, one process a rank",
        description="Compile a plan and train it on local processes.",
        examples="autopart run plan.json --steps 20 --compare\nautopart run plan.json --steps 20 --measure recording.json",
    )
    run.add_argument("plan", metavar="plan.json")
    run.add_argument("--steps", type=positive, default=5, metavar="N", help="training steps (5)")
    run.add_argument("--lr", type=positive_number, default=1e-3, help="learning rate (0.001)")
    run.add_argument("--compare", action="store_true", help="train the unsplit model too and print both losses")
    told = "note when everything runs, set it beside the simulated step, and keep the recording there"
    run.add_argument("--measure", metavar="FILE", help=told)
    quiet(run)
    run.set_defaults(command=run_command)
