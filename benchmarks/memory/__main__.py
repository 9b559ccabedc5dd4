"""``python -m benchmarks.memory``: the peak of every rank as simulated, and as it is, for all models of the zoo under some
plans.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import torch

from autopart.cluster.units import format_bytes
from benchmarks.memory.measure import PLANS, Peak, measured_case, peak_of, source_of
from tests.zoo import ZOO

OUTPUT = Path("out/benchmarks/memory.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--models", nargs="+", default=sorted(ZOO), choices=sorted(ZOO), metavar="MODEL")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS), metavar="PLAN")
    parser.add_argument("--activations-mib", type=int, default=32, help="saved by one microbatch on one rank")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: dict[str, dict[str, Peak]] = {}
    for name in arguments.models:
        for plan in arguments.plans:
            case = measured_case(name, plan, arguments.activations_mib * 2**20)
            if case is not None:
                peak = found.setdefault(name, {})[plan] = peak_of(source_of(name), case)
                print(f"{name:22}{plan:18}{_row(peak)}", flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    as_json = {name: {plan: [peak.predicted, peak.measured] for plan, peak in plans.items()} for name, plans in found.items()}
    arguments.output.write_text(json.dumps(as_json, indent=2) + "\n")


def _row(peak: Peak) -> str:
    sizes = zip(peak.predicted, peak.measured, peak.errors, strict=True)
    return "   ".join(f"{format_bytes(ours):>9} {format_bytes(theirs):>9} {error:+6.1%}" for ours, theirs, error in sizes)


if __name__ == "__main__":
    main()
