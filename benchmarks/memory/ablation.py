"""``python -m benchmarks.memory.ablation``: what the peaks that were measured are predicted as without an ingredient.

Each runs in a process of its own, for what is worked out of a graph is kept with it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch

from autopart.blocks import work as works
from autopart.blocks.call import Call
from benchmarks.memory.__main__ import OUTPUT
from benchmarks.memory.measure import measured_case, predicted_again, source_of
from benchmarks.memory.results import Results

PLANS = ("one rank", "recompute", "two stages")
TABLE = Path("docs/design/memory_ablation.json")


def saved_tensors() -> None:
    """Every op's results are kept, and nothing else: what one counts who does not ask autograd."""
    honest = works.work

    def results(call: Call) -> tuple[str, ...]:
        graph, layouts = call.facts.graph, call.facts.layouts
        owners = dict.fromkeys(layouts[value.name].storage for value in call.op.outputs if value.floating)
        return tuple(name for name in owners if name not in graph.parameter_of and name not in graph.buffer_of)

    works.saved = results
    works.work = lambda call: replace(honest(call), saved=results(call), saved_bytes=0)


def working_memory() -> None:
    """Forward and backward need nothing beside their inputs, results and gradients."""
    honest = works.work
    works.work = lambda call: replace(honest(call), working_bytes=0, making_bytes=0, spare_bytes=0)


INGREDIENTS: Mapping[str, Callable[[], None]] = {"saved tensors": saved_tensors, "working memory": working_memory}
"""Each takes itself away."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory.ablation", description=__doc__)
    parser.add_argument("--plans", nargs="+", default=list(PLANS), metavar="PLAN")
    parser.add_argument("-o", "--output", type=Path, default=TABLE)
    arguments = parser.parse_args()
    found = {}
    for name in (None, *INGREDIENTS):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name or "nothing"] = pool.apply(errors, (name, arguments.plans))
        print(summary(name or "nothing", found[name or "nothing"]), flush=True)
        arguments.output.write_text(json.dumps({"plans": arguments.plans, "errors": found}) + "\n")


def errors(ingredient: str | None, plans: Sequence[str]) -> list[float]:
    """Of every rank that was measured, without an ingredient."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if ingredient:
        INGREDIENTS[ingredient]()
    found: list[float] = []
    for model, plan, peak in Results.load(OUTPUT).cases():
        case = measured_case(model, plan, peak.rows) if plan in plans else None
        if case is not None:
            found += predicted_again(source_of(model), case, peak).errors
    return found


def summary(name: str, found: Sequence[float]) -> str:
    """A row of a table."""
    sizes = [abs(error) for error in found]
    near = sum(size <= 0.1 for size in sizes)
    return f"| {name} | {fmean(sizes):.1%} | {min(found):+.0%} | {max(found):+.0%} | {near} of {len(found)} |"


if __name__ == "__main__":
    main()
