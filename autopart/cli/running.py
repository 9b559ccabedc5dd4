"""compile, run: the distributed module of a plan, written or trained here."""

from __future__ import annotations

import argparse
from pathlib import Path

from autopart.cli.arguments import Subparsers, positive, positive_number, quiet
from autopart.cli.output import about, progress, users_code


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
    say = progress(arguments)
    from autopart import local
    from autopart.planfile import load_plan

    local.run(
        load_plan(arguments.plan),
        steps=arguments.steps,
        learning_rate=arguments.lr,
        compare=arguments.compare,
        say=say,
    )


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
        examples="autopart run plan.json --steps 20 --compare",
    )
    run.add_argument("plan", metavar="plan.json")
    run.add_argument("--steps", type=positive, default=5, metavar="N", help="training steps (5)")
    run.add_argument("--lr", type=positive_number, default=1e-3, help="learning rate (0.001)")
    run.add_argument("--compare", action="store_true", help="train the unsplit model too and print both losses")
    quiet(run)
    run.set_defaults(command=run_command)
