"""plan, price: from a model to a plan, from an edited plan to its price."""

from __future__ import annotations

import argparse

from autopart.cli.arguments import Parser, Subparsers, fraction, layout, positive, quiet, seconds
from autopart.cli.output import about, check_output, progress, users_code
from autopart.cli.showing import report
from autopart.plans import OPTIMIZERS, PRECISIONS, ZERO_LEVELS, Settings


def plan_command(arguments: argparse.Namespace) -> None:
    check_output(arguments.output)
    say = progress(arguments)
    from autopart import pipeline
    from autopart.planfile import dump_plan, save_plan

    with users_code():
        plan = pipeline.plan_files(
            arguments.model,
            arguments.devices,
            batch_size=arguments.batch_size,
            settings=Settings(arguments.optimizer, arguments.precision, arguments.batch_norm),
            limits=pipeline.Limits(
                stages=arguments.stages,
                data=arguments.data,
                microbatches=arguments.microbatches,
                schedule=arguments.schedule,
                gap=arguments.gap,
                time_limit_s=arguments.time_limit,
                tensor=arguments.tensor,
                zero=arguments.zero,
                layouts=dict(arguments.layout),
            ),
            say=say,
        )
    save_plan(plan, arguments.output)
    print(dump_plan(plan) if arguments.json else report(plan), end="")


def price_command(arguments: argparse.Namespace) -> None:
    if arguments.output:
        check_output(arguments.output)
    say = progress(arguments)
    from autopart import pipeline
    from autopart.planfile import dump_plan, load_plan, save_plan
    from autopart.report.edit import format_edit

    given = load_plan(arguments.plan)
    with about(arguments.plan), users_code():
        plan = pipeline.price_plan(given, say=say)
    if arguments.output:
        save_plan(plan, arguments.output)
    if arguments.json:
        print(dump_plan(plan), end="")
        return
    edit = format_edit(given, plan)
    print(report(plan) + (f"\n{edit}" if edit else ""), end="")


def add_parsers(commands: Subparsers) -> None:
    plan = commands.add_parser(
        "plan",
        help="decide what runs where",
        description="Find the best plan and prove how good it is.",
        examples="autopart plan model.py --devices cluster.yaml --batch-size 64 -o plan.json\n"
        "autopart plan model.py:large --devices cluster.yaml --batch-size 512 --precision bfloat16\n"
        "autopart plan model.py --devices cluster.yaml --batch-size 64 --stages 2 --tensor 1",
    )
    _plan_arguments(plan)
    _pins(plan)
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    quiet(plan)
    plan.set_defaults(command=plan_command)

    price = commands.add_parser(
        "price",
        help="check and price a plan that somebody edited or wrote by hand",
        description="Check a plan against its model and cluster, fill in what follows from it, and say what it costs.",
        examples="autopart price plan.json\nautopart price edited.json -o priced.json",
    )
    price.add_argument("plan", metavar="plan.json")
    price.add_argument("-o", "--output", metavar="FILE", help="write the priced plan")
    price.add_argument("--json", action="store_true", help="print the plan as JSON")
    quiet(price)
    price.set_defaults(command=price_command)


def _plan_arguments(plan: Parser) -> None:
    plan.add_argument("model", metavar="MODEL.py[:FACTORY]", help="defines model() and example_inputs(batch_size)")
    plan.add_argument("--devices", required=True, metavar="CLUSTER.yaml", help="the machines and the links between them")
    plan.add_argument("--batch-size", required=True, type=positive, metavar="N", help="samples of a step, over all devices")
    plan.add_argument("-o", "--output", default="plan.json", metavar="FILE", help="where the plan goes (plan.json)")
    plan.add_argument("--time-limit", type=seconds, default=60.0, metavar="S", help="seconds for the solver (60)")
    plan.add_argument("--gap", type=fraction, default=0.01, help="stop when the plan is proven this close to the best (0.01)")
    plan.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="whose state memory must hold (adamw)")
    plan.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16 is autocast over float32 parameters")
    plan.add_argument(
        "--batch-norm",
        choices=["global", "local"],
        default="global",
        help="statistics over the global batch, or each microbatch's own",
    )


def _pins(plan: Parser) -> None:
    plan.add_argument("--stages", type=positive, metavar="N", help="pin the number of pipeline stages")
    plan.add_argument("--data", type=positive, metavar="N", help="pin the number of replicas of every stage")
    plan.add_argument("--tensor", type=positive, metavar="N", help="pin how many devices split the ops of every replica")
    plan.add_argument(
        "--zero", type=int, choices=ZERO_LEVELS, help="pin what replicas share out: 1 optimizer state, 2 gradients, 3 all"
    )
    plan.add_argument(
        "--layout",
        type=layout,
        action="append",
        default=[],
        metavar="GLOB=S(DIM)",
        help="how parameters or results of ops of such a name lie over a replica's devices: S(DIM), R or P; repeatable",
    )
    plan.add_argument("--microbatches", type=positive, metavar="N", help="pin the number of microbatches")
    plan.add_argument("--schedule", choices=["1f1b", "gpipe"], help="pin the pipeline schedule")
