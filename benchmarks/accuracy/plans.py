"""Cases -> plans on a cluster file, their packages, and what the simulation says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from autopart import pipeline
from autopart.cluster.load import load_cluster
from autopart.frontend.load import load
from autopart.package import write_package
from autopart.pipeline import Front
from autopart.planfile import from_json
from autopart.plans import Plan, Settings
from autopart.pricing.table import BlockTable
from autopart.simulate import Timeline
from benchmarks.accuracy.cases import Case, Model
from cost_models.catalogue import catalogue

SETTINGS = Settings(optimizer="sgd", batch_norm="local")


def front_of(model: Model) -> Front:
    """The model traced, with weights."""
    torch.manual_seed(pipeline.SEED)
    return pipeline.front_end(load(str(model.path)), SETTINGS)


def plan_of(case: Case, model: Model, front: Front, cluster: Path) -> Plan:
    """The case as somebody would write it by hand."""
    names = [block.name for block in front.blocks.blocks]
    work = BlockTable(front.blocks, SETTINGS.precision, SETTINGS.optimizer, model.batch_size)
    done = np.cumsum(work.seconds(catalogue()["cpu-core"], model.batch_size).total)
    stops = [min(int(np.searchsorted(done, part.until * done[-1] * (1 - 1e-9))) + 1, len(names)) for part in case.parts]
    starts = [0, *stops[:-1]]
    stages = [
        {
            "index": index,
            "blocks": names[start:stop],
            "ranks": list(part.ranks),
            "shares": list(part.shares),
            "data": len(part.shares),
            "tensor": part.tensor,
            "zero": part.zero,
            "recompute": part.recompute,
        }
        for index, (part, start, stop) in enumerate(zip(case.parts, starts, stops, strict=True))
    ]
    used = {rank for part in case.parts for rank in part.ranks}
    return from_json(
        {
            "format": 1,
            "model": {"path": str(model.path)},
            "cluster": {"path": str(cluster)},
            "batch_size": model.batch_size,
            "settings": {"optimizer": SETTINGS.optimizer, "batch_norm": SETTINGS.batch_norm},
            "schedule": {"name": case.schedule, "microbatches": case.microbatches},
            "stages": stages,
            "unused_ranks": [rank.rank for rank in load_cluster(cluster).ranks if rank.rank not in used],
        }
    )


def write(plan: Plan, front: Front, folder: Path) -> None:
    """The plan's package."""
    built = pipeline.build_on(plan, front)
    write_package(folder, pipeline.emit_package(built), front.loaded, front.traced, plan.batch_size)


def simulated(plan: Plan, front: Front) -> Timeline:
    """The step that the plan is predicted to take."""
    return pipeline.simulated(pipeline.build_on(plan, front)).timeline
