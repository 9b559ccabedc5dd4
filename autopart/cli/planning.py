"""plan, price: from a model to a plan, from an edited plan to its price."""

from __future__ import annotations

import argparse
from dataclasses import replace

from autopart.cli import profiled
from autopart.cli.arguments import Parser, Subparsers, add_settings, duration, positive, quiet
from autopart.cli.limits import add_limits, limits
from autopart.cli.output import about, check_output, progress, users_code
from autopart.cli.showing import report
from autopart.errors import InputError
from autopart.plans import OBJECTIVES, Settings


def plan_command(arguments: argparse.Namespace) -> None:
    if not arguments.model.endswith(".json"):
        plan_model(arguments)
    elif profiled.is_layers(arguments.model):
        profiled.check_layer_options(arguments)
        plan_model(arguments)
    else:
        profiled.plan_profile(arguments)


def plan_model(arguments: argparse.Namespace) -> None:
    _check_options(arguments)
    check_output(arguments.output)
    say = progress(arguments)
    from autopart import pipeline
    from autopart.planfile import dump_plan, save_plan

    with users_code():
        plan = pipeline.plan_files(
            arguments.model,
            arguments.devices,
            batch_size=arguments.batch_size,
            settings=Settings(arguments.optimizer, arguments.precision, arguments.batch_norm, arguments.granularity),
            limits=replace(
                limits(arguments),
                objective=arguments.objective,
                step_limit_s=_step_limit(arguments),
                front=arguments.front,
            ),
            say=say,
        )
    save_plan(plan, arguments.output)
    print(dump_plan(plan) if arguments.json else report(plan), end="")


def _check_options(arguments: argparse.Namespace) -> None:
    if arguments.batch_size is None:
        raise InputError(
            "a model needs --batch-size", where=arguments.model, remedy="Give the samples of a step: --batch-size 64."
        )
    if arguments.objective not in OBJECTIVES:
        raise InputError(
            f"a model is not planned for {arguments.objective}",
            where=arguments.model,
            remedy=f"Take one of --objective {', '.join(OBJECTIVES)}; profiled graphs (graph.json) have the others.",
        )
    if arguments.contiguous is not None:
        raise InputError(
            "--contiguous and --no-contiguous are for profiled graphs (graph.json)",
            where=arguments.model,
            remedy="Leave the option out: stages of a model are always contiguous.",
        )


def _step_limit(arguments: argparse.Namespace) -> float:
    """Infinite where there is none."""
    if arguments.step_limit is None:
        return float("inf")
    if arguments.objective not in ("cost", "energy"):
        raise InputError(
            f"--step-limit with --objective {arguments.objective}",
            remedy="Take --objective cost or energy, which a limit on the step goes with, or leave it out.",
        )
    return float(arguments.step_limit)


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
        "autopart plan model.py --devices cluster.yaml --batch-size 64 --stages 2 --tensor 1\n"
        "autopart plan model.py --devices rented.yaml --batch-size 64 --objective cost --step-limit 200ms --front\n"
        "autopart plan graph.json --devices cluster.yaml --objective throughput\n"
        "autopart plan layers.json --devices cluster.yaml --batch-size 64",
    )
    _plan_arguments(plan)
    add_limits(plan)
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
    plan.add_argument(
        "model",
        metavar="MODEL.py[:FACTORY]",
        help="defines model() and example_inputs(batch_size); or graph.json, a profiled graph or layer profile",
    )
    plan.add_argument("--devices", required=True, metavar="CLUSTER.yaml", help="the machines and the links between them")
    plan.add_argument(
        "--batch-size", type=positive, metavar="N", help="samples of a step, over all devices; models and layers need it"
    )
    plan.add_argument("-o", "--output", default="plan.json", metavar="FILE", help="where the plan goes (plan.json)")
    plan.add_argument(
        "--objective",
        choices=list(dict.fromkeys((*OBJECTIVES, *profiled.OBJECTIVES))),
        default="step",
        help="what to minimise: time, money or energy of a step; of a profiled graph step, throughput or latency (step)",
    )
    plan.add_argument(
        "--contiguous", action=argparse.BooleanOptionalAction, help="a device's part of a profiled graph is convex (yes)"
    )
    plan.add_argument(
        "--step-limit", type=duration, metavar="TIME", help="with cost or energy: how long a step may take, such as 200ms"
    )
    plan.add_argument("--front", action="store_true", help="also print the least step for every number of devices")
    add_settings(plan)
