"""`python -m benchmarks.versus.exhaustive`, as root: the chosen plan beside every plan of a small case, all measured.

Two ranks of unlike speed: each alone; the batch cut between them at every share; every cut of the blocks into two stages, in
both orders, under every number of microbatches.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from statistics import median

from autopart import pipeline
from autopart.frontend.load import load
from autopart.plans import Plan, Schedule, Stage
from benchmarks.accuracy.plans import write
from benchmarks.pages import FOLDER, PAGE, publish
from benchmarks.testbed.launch import missing
from benchmarks.versus.cases import Case, Setting
from benchmarks.versus.report import OURS, spread
from benchmarks.versus.study import COUNTED, TRIED, Found, Study, plan_line

Part = tuple[tuple[str, ...], tuple[int, ...], tuple[int, ...]]
"""Blocks, ranks, shares."""
LAUNCHES = 5
HOSTS = """hosts:
  - {name: fast, ranks: 1, cpu: 0.8, bandwidth: 1 Gb/s}
  - {name: slow, ranks: 1, cpu: 0.4, bandwidth: 1 Gb/s}
"""
CASES = (
    Case("small-gpt2", "two ranks", HOSTS, "gpt2", 16),
    Case("small-unet", "two ranks, skips", HOSTS, "unet", 16),
)
MICROBATCHES = (4, 8)
PARTS = 8  # of the batch, of which each of the two ranks takes some
NEAR = 6  # of the fastest when each is tried once, launched beside ours
PATIENCE = 1.25


def every(plan: Plan) -> Iterator[Plan]:
    """All plans of the enumeration, with the blocks, the cluster and the settings of this one."""
    blocks, batch = tuple(block for stage in plan.stages for block in stage.blocks), plan.batch_size
    for rank in (0, 1):
        yield _made(plan, [(blocks, (rank,), (batch,))], 1)
    for part in range(batch // PARTS, batch, batch // PARTS):
        yield _made(plan, [(blocks, (0, 1), (part, batch - part))], 1)
    for cut, first, microbatches in product(range(1, len(blocks)), (0, 1), MICROBATCHES):
        share = (batch // microbatches,)
        yield _made(plan, [(blocks[:cut], (first,), share), (blocks[cut:], (1 - first,), share)], microbatches)


def _made(plan: Plan, stages: Sequence[Part], microbatches: int) -> Plan:
    made = tuple(
        Stage(index=index, blocks=blocks, ranks=ranks, shares=shares, data=len(shares))
        for index, (blocks, ranks, shares) in enumerate(stages)
    )
    used = {rank for stage in made for rank in stage.ranks}
    unused = tuple(rank for rank in (0, 1) if rank not in used)
    return replace(plan, stages=made, schedule=Schedule("1f1b", microbatches), unused_ranks=unused, estimate=None)


def record(study: Study) -> Found:
    """All plans once, then the fastest and ours in several launches."""
    plans = list(every(study.plan))
    chosen = [Setting("by hand", str(number), "ours", {"package": str(_folder(study, number))}) for number in range(len(plans))]

    def tried() -> Found:
        front = pipeline.front_end(load(study.model), study.plan.settings)
        for setting, plan in zip(chosen, plans, strict=True):
            write(plan, front, Path(setting.options["package"]))
        return study.measured(chosen, TRIED, PATIENCE)

    seconds = [study.saved("every.json", tried)[setting.key].get("step_s", math.inf) for setting in chosen]
    best = sorted(range(len(plans)), key=seconds.__getitem__)[:NEAR]
    settings = [study.ours, *(chosen[number] for number in best)]
    runs = [study.saved(f"near{number}.json", lambda: study.measured(settings, COUNTED)) for number in range(LAUNCHES)]
    names = [f"{OURS}: {plan_line(study.plan)}", *(plan_line(plans[number]) for number in best)]
    return {
        "case": asdict(study.case),
        "cluster": study.cluster.read_text().replace(f"{study.work.absolute()}/", ""),
        "plans": len(plans),
        "steps_s": {name: [run[each.key]["step_s"] for run in runs] for name, each in zip(names, settings, strict=True)},
        "tried_s": {plan_line(plan): each for plan, each in zip(plans, seconds, strict=True)},
    }


def _folder(study: Study, number: int) -> Path:
    return (study.work / "every" / str(number)).absolute()


def lines(found: Found) -> list[str]:
    """How far ours is from the best of all, launch by launch."""
    own, *others = found["steps_s"].values()
    least = min(others, key=median)
    ratios = [mine / best for mine, best in zip(own, least, strict=True)]
    name = next(name for name, each in found["steps_s"].items() if each is least)
    told = f"{median(own) * 1e3:.0f} and {median(least) * 1e3:.0f} ms"
    return [
        f"* {found['case']['name']}: {spread(ratios)} times the step of the fastest of {found['plans']} plans ({told}).",
        *(f"    * {each}" for each in (next(iter(found["steps_s"])), f"fastest: {name}")),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus.exhaustive", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("out/versus"), help="where parts are saved")
    parser.add_argument("--write", action="store_true", help=f"also into {FOLDER} and {PAGE}")
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    records = [record(Study(case, arguments.work)) for case in CASES]
    found = [line for each in records for line in lines(each)]
    print("\n".join(found))
    if arguments.write:
        publish("exhaustive", "python -m benchmarks.versus.exhaustive --write", {"cases": records}, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
