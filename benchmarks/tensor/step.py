"""The training step of a transformer's layers and their halves on two columns: autopart's against one by hand and DTensor's.

``python -m benchmarks.tensor.step`` forks two gloo processes of one thread each and runs, one after the other in every round and
in an order that changes, the step of

* autopart: ``DistributedModule.train_step`` of the package that a plan with tensor degree 2 gives, Megatron's layout pinned;
* as planned: the same with the layout that autopart chooses;
* by hand: c10d collectives in autograd functions of its own, as Megatron writes them;
* DTensor: ``parallelize_module``.

A step is a forward, a backward into fresh gradients, and the sum of the loss over the ranks that a training loop reports. What
autopart does beside that, checks of the batch and the sum of the gradients of replicated parameters, counts against it. Before
anything is timed, losses and gathered gradients of all are compared with those of one device, in float64.

A round's time is that of its slowest rank. Ratios are of steps of the same round: the median, and the middle half of all rounds.
On a busy machine every message waits for a rank that is not running; so there is the ratio of the fastest tenths, too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
import torch.distributed as dist

from autopart.frontend.load import loaded_from
from autopart.pipeline import front_end
from autopart.plans import Settings
from benchmarks.tensor.blocks import MODELS, Model, Size, batch_of, layouts, made
from benchmarks.tensor.contenders import Contender, by_hand, dtensor, emitted
from tests.parity.parity import Case, Part, close, compiled
from tests.ranks import run_ranks

COLUMNS = 2
SIZES = (Size(4, 128, 512, 8), Size(4, 256, 512, 8), Size(4, 256, 1024, 16))
SMALL = Size(2, 16, 32, 4)
RATIOS = (("autopart", "by hand"), ("autopart", "DTensor"), ("as planned", "by hand"), ("as planned", "DTensor"))
WARM_UP = 5  # rounds
OUTPUT = Path("out/benchmarks/tensor-step.json")
TIMEOUT_S = 3000.0

Times = dict[str, list[float]]
"""Seconds by contender and round."""


def packages(name: str, model: Model, size: Size, precision: str, folder: Path) -> Mapping[str, Path]:
    """What autopart emits under Megatron's layout and under its own."""
    front = front_end(
        loaded_from(model, lambda samples: batch_of(size, dtype_of(precision), samples), precision=precision),
        Settings(precision=precision),
    )
    pinned = {"autopart": layouts(name), "as planned": ()}
    for title, layout in pinned.items():
        (folder / title).mkdir()
        part = Part((size.samples,), tensor=COLUMNS, layouts=layout)
        compiled(front, Case((part,)), folder / title, Settings(precision=precision))
    return {title: folder / title for title in pinned}


def contenders(name: str, size: Size, precision: str, folders: Mapping[str, Path]) -> Mapping[str, Contender]:
    """On one rank; all of them have the same weights and the same batch."""
    model, batch = made(name, size, dtype_of(precision)), batch_of(size, dtype_of(precision))
    return {
        **{title: emitted(folder, model, batch) for title, folder in folders.items()},
        "by hand": by_hand(model, batch),
        "DTensor": dtensor(model, batch),
    }


def dtype_of(precision: str) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[precision]


# On the ranks


def checked(rank: int, name: str, folders: Mapping[str, Path]) -> None:
    """Losses and gradients are those of one device."""
    model, batch = made(name, SMALL, torch.float64), batch_of(SMALL, torch.float64)
    wanted = model(**batch)
    wanted.backward()
    for title, contender in contenders(name, SMALL, "float64", folders).items():
        close(f"{title}: loss", contender.step(), wanted.detach())
        gradients = contender.gradients()
        for parameter, value in model.named_parameters() if rank == 0 else ():
            assert value.grad is not None, f"{parameter} has no gradient"
            close(f"{title}: gradient of {parameter}", gradients[parameter], value.grad)


def timed(_: int, name: str, size: Size, folders: Mapping[str, Path], rounds: int) -> Times:
    """Seconds of this rank."""
    by_title = contenders(name, size, "float32", folders)
    titles = list(by_title)
    found: Times = {title: [] for title in titles}
    for number in range(-WARM_UP, rounds):
        first = number % len(titles)
        for title in titles[first:] + titles[:first]:
            by_title[title].zero_grad()
            dist.barrier()
            started = time.perf_counter()
            by_title[title].step()
            if number >= 0:
                found[title].append(time.perf_counter() - started)
    return found


# What is found


def slowest(ranks: Sequence[Times]) -> Times:
    """Of every round."""
    return {title: [max(each) for each in zip(*(rank[title] for rank in ranks), strict=True)] for title in ranks[0]}


def summary(name: str, size: Size, times: Times) -> dict[str, Any]:
    return {
        "model": name,
        "size": str(size),
        "rounds": len(times["by hand"]),
        "median_s": {title: median(each) for title, each in times.items()},
        "ratios": {f"{a} / {b}": ratio(times[a], times[b]) for a, b in RATIOS},
    }


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    low, centre, high = quantiles([a / b for a, b in zip(ours, theirs, strict=True)], n=4)
    fastest = quantiles(ours, n=10)[0] / quantiles(theirs, n=10)[0]
    return {"median": centre, "first_quartile": low, "third_quartile": high, "fastest_tenths": fastest}


def show(found: Mapping[str, Any]) -> None:
    print(f"\n{found['model']}, {found['size']}, {found['rounds']} rounds")
    for title, seconds in found["median_s"].items():
        print(f"    {title:24} {1000 * seconds:8.2f} ms")
    for title, each in found["ratios"].items():
        middle = f"({each['first_quartile']:.3f} to {each['third_quartile']:.3f})"
        print(f"    {title:24} {each['median']:8.3f}   {middle}   fastest tenths {each['fastest_tenths']:.3f}")


def measured(name: str, size: Size, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        folders = packages(name, made(name, size, torch.float32), size, "float32", Path(folder))
        ranks = run_ranks(COLUMNS, timed, name, size, folders, rounds, timeout_s=TIMEOUT_S, group_timeout_s=60.0)
    return summary(name, size, slowest(ranks))


def check(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = packages(name, made(name, SMALL, torch.float64), SMALL, "float64", Path(folder))
        run_ranks(COLUMNS, checked, name, folders)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=MODELS, help="one of the models")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many sizes, the smallest first")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    found = []
    for name in [arguments.only] if arguments.only else MODELS:
        check(name)
        for size in SIZES[: arguments.sizes]:
            found.append(measured(name, size, arguments.rounds))
            show(found[-1])
            arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
