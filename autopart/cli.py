"""The command line. Results to stdout, progress to stderr; exit 0 done, 1 the answer is no, 2 wrong input, 130 interrupted.

torch and the solver are imported inside the commands that need them: ``autopart --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, TypeAlias

from autopart.errors import AutopartError, Infeasible, InputError, PlanError
from autopart.plans import OPTIMIZERS, PRECISIONS, ZERO_LEVELS, Plan, Settings

if TYPE_CHECKING:
    from autopart.profiled.plan import ProfilePlan

PLACE = r"(R|P|-|S\(\d+(/\d+)?(:\d+)?\))"
Command = Callable[[argparse.Namespace], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = build_parser().parse_args(argv)
    command: Command = arguments.command
    try:
        command(arguments)
        sys.stdout.flush()
    except AutopartError as error:
        _complain(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        _drop_output()  # the reader went away, as `| head` does
    return 0


def _complain(text: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    print(f"{clear}autopart: {text}", file=sys.stderr)


def _drop_output() -> None:
    """Nothing is left to fail when the interpreter flushes its output at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plan_command(arguments: argparse.Namespace) -> None:
    if arguments.model.endswith(".json"):
        plan_profile_command(arguments)
        return
    _check_model_options(arguments)
    _check_output(arguments.output)
    from autopart import pipeline
    from autopart.planfile import dump_plan, save_plan

    with _users_code():
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
            say=_progress(arguments),
        )
    save_plan(plan, arguments.output)
    print(dump_plan(plan) if arguments.json else _report(plan), end="")


def plan_profile_command(arguments: argparse.Namespace) -> None:
    """``autopart plan graph.json``: no model, no torch."""
    from autopart.profiled import plan as profiled
    from autopart.profiled.problem import Goal

    _check_output(arguments.output)
    goal = Goal(arguments.objective, arguments.contiguous is not False, arguments.microbatches or 1)
    limits = {"gap": arguments.gap, "time_limit_s": arguments.time_limit}
    plan = profiled.plan_files(arguments.model, arguments.devices, goal, **limits, say=_progress(arguments))
    profiled.save_plan(plan, arguments.output)
    print(profiled.dump_plan(plan) if arguments.json else _profile_report(plan), end="")


def _check_model_options(arguments: argparse.Namespace) -> None:
    """What only one of a model and a profiled graph has."""
    if arguments.batch_size is None:
        raise InputError(
            "a model needs --batch-size", where=arguments.model, remedy="Give the samples of a step: --batch-size 64."
        )
    if arguments.objective != "step":
        raise InputError(
            f"a model is planned for its step, not for {arguments.objective} yet",
            where=arguments.model,
            remedy="Leave --objective out; profiled graphs (graph.json) have the other objectives.",
        )
    if arguments.contiguous is not None:
        raise InputError(
            "--contiguous and --no-contiguous are for profiled graphs (graph.json)",
            where=arguments.model,
            remedy="Leave the option out: stages of a model are always contiguous.",
        )


def show_command(arguments: argparse.Namespace) -> None:
    from autopart.planfile import dump_plan, load_plan
    from autopart.profiled.plan import is_profile_plan

    if is_profile_plan(arguments.plan):
        show_profile_command(arguments)
        return
    plan = load_plan(arguments.plan)
    with _about(arguments.plan):
        if arguments.format == "json":
            text = dump_plan(plan)
        elif arguments.format in ("dot", "svg"):
            text = _drawn(plan, arguments.format)
        else:
            text = _report(plan)
    _write(text, arguments.output)


def show_profile_command(arguments: argparse.Namespace) -> None:
    from autopart.profiled.plan import dump_plan, load_plan

    plan = load_plan(arguments.plan)
    if arguments.format not in ("text", "json"):
        raise InputError(
            f"there is no {arguments.format} of the plan of a profiled graph",
            where=arguments.plan,
            remedy="Use --format text or --format json.",
        )
    with _about(arguments.plan):
        text = dump_plan(plan) if arguments.format == "json" else _profile_report(plan)
    _write(text, arguments.output)


def _profile_report(plan: ProfilePlan) -> str:
    from autopart.cluster.load import load_cluster
    from autopart.report.profiled import format_profile_plan

    cluster = load_cluster(plan.cluster.path)
    if plan.cluster.digest != cluster.digest:
        raise PlanError("this plan was made for another cluster than the file describes now", remedy="Plan again.")
    return format_profile_plan(plan, cluster)


def price_command(arguments: argparse.Namespace) -> None:
    from autopart import pipeline
    from autopart.planfile import dump_plan, load_plan, save_plan

    if arguments.output:
        _check_output(arguments.output)
    plan = load_plan(arguments.plan)
    with _about(arguments.plan), _users_code():
        plan = pipeline.price_plan(plan, say=_progress(arguments))
    if arguments.output:
        save_plan(plan, arguments.output)
    print(dump_plan(plan) if arguments.json else _report(plan), end="")


def compile_command(arguments: argparse.Namespace) -> None:
    from autopart import pipeline
    from autopart.planfile import load_plan

    plan = load_plan(arguments.plan)
    folder = Path(arguments.output or Path(arguments.plan).with_suffix(""))
    with _about(arguments.plan), _users_code():
        pipeline.compile_files(plan, folder, say=_progress(arguments))
    print(f"{folder / 'stages.py'}: what every rank runs\n{folder / 'train.py'}: start it with torchrun")


def run_command(arguments: argparse.Namespace) -> None:
    from autopart import local
    from autopart.planfile import load_plan

    local.run(
        load_plan(arguments.plan),
        steps=arguments.steps,
        learning_rate=arguments.lr,
        compare=arguments.compare,
        say=_progress(arguments),
    )


def devices_command(_: argparse.Namespace) -> None:
    from autopart.cluster.listing import format_catalogue

    print(format_catalogue(), end="")


def _users_code() -> redirect_stdout[TextIO]:
    """What a model file prints goes to stderr: stdout has results alone."""
    return redirect_stdout(sys.stderr)


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Names the plan file in messages about what is in it."""
    try:
        yield
    except (PlanError, Infeasible) as error:
        where = f"{path}: {error.where}" if error.where else path
        raise type(error)(error.what, where=where, remedy=error.remedy) from error


def _report(plan: Plan) -> str:
    from autopart.cluster.load import load_cluster
    from autopart.program.check import check_cluster
    from autopart.report.text import format_plan

    cluster = load_cluster(plan.cluster.path)
    check_cluster(plan, cluster)
    return format_plan(plan, cluster)


def _drawn(plan: Plan, kind: str) -> str:
    from autopart import pipeline
    from autopart.report.dot import format_dot
    from autopart.report.svg import format_svg

    built = pipeline.build(plan)
    if kind == "dot":
        return format_dot(plan, built.cluster, built.program)
    return format_svg(plan, built.cluster, pipeline.simulated(built).timeline)


def _check_output(path: str) -> None:
    """Raise InputError now rather than after a long search where a file can't be written."""
    target = Path(path)
    if target.is_dir():
        problem = "it is a directory"
    elif not target.absolute().parent.is_dir():
        problem = f"there is no directory {target.parent}"
    elif not os.access(target.absolute().parent, os.W_OK):
        problem = f"no permission to write in {target.parent}"
    else:
        return
    raise InputError(f"can't be written: {problem}", where=path, remedy="Name another file with -o.")


def _write(text: str, path: str | None) -> None:
    if path is None:
        print(text, end="")
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't be written: {error.strerror}", where=path, remedy="Name another file with -o.") from error


def _progress(arguments: argparse.Namespace) -> Callable[[str], None]:
    """Says what is going on, on one line of a terminal; silent elsewhere."""
    shown = not arguments.quiet and sys.stderr.isatty()

    def say(text: str) -> None:
        if shown:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return say


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autopart",
        description="Split a PyTorch model over a cluster of unlike devices: plan it, read the plan, compile it, run it.",
        epilog="example: autopart plan model.py --devices cluster.yaml --batch-size 64 -o plan.json",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _plan_parser(commands)
    _show_parser(commands)
    _price_parser(commands)
    _compile_parser(commands)
    _run_parser(commands)
    devices = commands.add_parser("devices", help="list the device types that cluster files may name")
    devices.set_defaults(command=devices_command)
    return parser


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - argparse has no public name


def _plan_parser(commands: Subparsers) -> None:
    plan = commands.add_parser("plan", help="decide what runs where", description="Find the best plan and prove how good it is.")
    plan.add_argument(
        "model",
        metavar="MODEL.py[:FACTORY]",
        help="defines model() and example_inputs(batch_size); or graph.json, a profiled graph",
    )
    plan.add_argument("--devices", required=True, metavar="CLUSTER.yaml", help="the machines and the links between them")
    plan.add_argument("--batch-size", type=positive, metavar="N", help="samples of a step, over all devices; models need it")
    plan.add_argument("-o", "--output", default="plan.json", metavar="FILE", help="where the plan goes (plan.json)")
    plan.add_argument("--time-limit", type=seconds, default=60.0, metavar="S", help="seconds for the solver (60)")
    plan.add_argument("--gap", type=fraction, default=0.01, help="stop when the plan is proven this close to the best (0.01)")
    plan.add_argument(
        "--objective", choices=["step", "throughput", "latency"], default="step", help="what to minimise; a model has step (step)"
    )
    plan.add_argument(
        "--contiguous", action=argparse.BooleanOptionalAction, help="a device's part of a profiled graph is convex (yes)"
    )
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
    plan.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="whose state memory must hold (adamw)")
    plan.add_argument("--precision", choices=PRECISIONS, default="float32", help="bfloat16 is autocast over float32 parameters")
    plan.add_argument(
        "--batch-norm",
        choices=["global", "local"],
        default="global",
        help="statistics over the global batch, or each microbatch's own",
    )
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    _quiet(plan)
    plan.set_defaults(command=plan_command)


def _show_parser(commands: Subparsers) -> None:
    show = commands.add_parser("show", help="draw a plan", description="Show a plan that `autopart plan` wrote.")
    show.add_argument("plan", metavar="plan.json")
    show.add_argument("--format", choices=["text", "json", "dot", "svg"], default="text", help="dot is for graphviz")
    show.add_argument("-o", "--output", metavar="FILE", help="write there instead of to the terminal")
    show.set_defaults(command=show_command)


def _price_parser(commands: Subparsers) -> None:
    price = commands.add_parser("price", help="check and price a plan that somebody edited or wrote by hand")
    price.add_argument("plan", metavar="plan.json")
    price.add_argument("-o", "--output", metavar="FILE", help="write the priced plan")
    price.add_argument("--json", action="store_true", help="print the plan as JSON")
    _quiet(price)
    price.set_defaults(command=price_command)


def _compile_parser(commands: Subparsers) -> None:
    build = commands.add_parser("compile", help="write the distributed module that a plan describes")
    build.add_argument("plan", metavar="plan.json")
    build.add_argument("-o", "--output", metavar="DIR", help="where the module goes (the plan's name without .json)")
    _quiet(build)
    build.set_defaults(command=compile_command)


def _run_parser(commands: Subparsers) -> None:
    run = commands.add_parser("run", help="train a plan on this machine, one process a rank")
    run.add_argument("plan", metavar="plan.json")
    run.add_argument("--steps", type=positive, default=5, metavar="N", help="training steps (5)")
    run.add_argument("--lr", type=positive_number, default=1e-3, help="learning rate (0.001)")
    run.add_argument("--compare", action="store_true", help="train the unsplit model too and print both losses")
    _quiet(run)
    run.set_defaults(command=run_command)


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def positive(text: str) -> int:
    """An argument that counts something."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def positive_number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


seconds = positive_number


def layout(text: str) -> tuple[str, str]:
    """A glob and what is wished for what it matches."""
    glob, _, wish = text.rpartition("=")
    if not glob or not re.fullmatch(rf"{PLACE}( {PLACE}| ->)*", wish):
        raise argparse.ArgumentTypeError(f"{text!r} is not a name and a layout, such as '*.fc1.weight=S(0)'")
    return glob, wish


def fraction(text: str) -> float:
    """A share from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction such as 0.01")
    return value


if __name__ == "__main__":
    sys.exit(main())
