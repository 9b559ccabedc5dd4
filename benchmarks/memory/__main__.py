"""``python -m benchmarks.memory``: the peak of every rank as simulated, and as it is, for all models of the zoo under some
plans. What the output has already is not run again; ``--predict`` simulates it again beside what was measured.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import torch

from autopart.cluster.units import format_bytes
from autopart.errors import AutopartError
from benchmarks.memory.measure import PLANS, measured_case, peak_of, predicted_again, rows_for, source_of
from benchmarks.memory.results import Peak, Results
from tests.zoo import ZOO

OUTPUT = Path("docs/design/memory.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--models", nargs="+", default=sorted(ZOO), choices=sorted(ZOO), metavar="MODEL")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS), metavar="PLAN")
    parser.add_argument("--activations-mib", type=int, default=32, help="saved by one microbatch on one rank")
    parser.add_argument("--predict", action="store_true", help="simulate again what was measured, and measure nothing")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = Results.load(arguments.output)
    for name in arguments.models:
        for plan in arguments.plans:
            if results.has(name, plan) == arguments.predict:
                _one(results, name, plan, arguments.activations_mib * 2**20)


def _one(results: Results, name: str, plan: str, activation_bytes: int) -> None:
    before = results.peaks.get(name, {}).get(plan)
    case = measured_case(name, plan, before.rows if before else rows_for(name, activation_bytes))
    if case is None:
        return
    try:
        found: Peak | str = predicted_again(source_of(name), case, before) if before else peak_of(source_of(name), case)
    except AutopartError as error:
        found = str(error)
    results.add(name, plan, found)
    print(f"{name:22}{plan:18}{_row(found)}", flush=True)


def _row(found: Peak | str) -> str:
    if isinstance(found, str):
        return found.splitlines()[0]
    sizes = zip(found.predicted, found.measured, found.errors, strict=True)
    return "   ".join(f"{format_bytes(ours):>9} {format_bytes(theirs):>9} {error:+6.1%}" for ours, theirs, error in sizes)


if __name__ == "__main__":
    main()
