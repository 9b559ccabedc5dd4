"""Plans as somebody would write them by hand, cut where a chain of blocks is, and their packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from autopart import pipeline
from autopart.frontend.load import load
from autopart.package import write_package
from autopart.pipeline import Front
from autopart.planfile import from_json, save_plan
from autopart.plans import Plan, Settings

SETTINGS = Settings(optimizer="sgd")
CLUSTER = """\
nodes:
  - name: box
    devices: {{type: cpu-core, count: {ranks}}}
    interconnect: {{bandwidth: 4 GB/s, latency: 30 us}}
"""
PLACE = re.compile(r"blocks\.(\d+)\b")


def model_file(model: str) -> str:
    return f"benchmarks/models/{model}.py"


def package(model: str, batch_size: int, cuts: Sequence[int], microbatches: int, folder: Path) -> Path:
    """Compiled into ``folder``, its plan beside it; ``cuts`` are the numbers of the chain's blocks before each boundary."""
    torch.manual_seed(pipeline.SEED)
    front = pipeline.front_end(load(model_file(model), precision=SETTINGS.precision), SETTINGS)
    cluster = folder.with_suffix(".yaml")
    cluster.write_text(CLUSTER.format(ranks=len(cuts) + 1))
    plan = plan_of(model, batch_size, cuts, microbatches, front, cluster)
    save_plan(plan, folder.with_suffix(".json"))
    built = pipeline.build_on(plan, front)
    write_package(folder, pipeline.emit_package(built), front.loaded, front.traced, batch_size)
    return folder


def plan_of(model: str, batch_size: int, cuts: Sequence[int], microbatches: int, front: Front, cluster: Path) -> Plan:
    """1F1B, one rank a stage."""
    stages = cut_names([block.name for block in front.blocks.blocks], cuts)
    return from_json(
        {
            "format": 1,
            "model": {"path": model_file(model)},
            "cluster": {"path": str(cluster)},
            "batch_size": batch_size,
            "settings": {"optimizer": SETTINGS.optimizer},
            "schedule": {"name": "1f1b", "microbatches": microbatches},
            "stages": [
                {"blocks": names, "ranks": [rank], "shares": [batch_size // microbatches]} for rank, names in enumerate(stages)
            ],
        }
    )


def cut_names(names: Sequence[str], cuts: Sequence[int]) -> list[list[str]]:
    """The names of a plan's blocks by stage: those of ``blocks.3...`` lie where the chain's block 3 does."""
    places = []
    for name in names:
        found = PLACE.match(name)
        places.append(int(found[1]) if found else places[-1])
    edges = pairwise((0, *cuts, max(places) + 1))
    return [[name for name, place in zip(names, places, strict=True) if start <= place < stop] for start, stop in edges]
