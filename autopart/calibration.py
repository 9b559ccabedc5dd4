"""``autopart profile``: what is measured becomes the prices of a type of device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from autopart import pipeline
from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster, Group
from autopart.feedback.executed import load_executed
from autopart.feedback.refit import Refit, refit
from autopart.frontend.load import load
from autopart.plans import ClusterRef, Plan, Schedule, Stage
from autopart.profiling.campaign import Outcome, Wanted, measure
from autopart.say import Say, silent
from autopart.tensor.localize import column


def profile_model(model: str, wanted: Wanted, group: Group, *, say: Say = silent, **options: Any) -> Outcome:
    """``autopart profile``: the model's ops and blocks timed on this machine, one as those of ``group``; ``options`` are those of
    ``campaign.measure``.
    """
    say("building the model")
    torch.manual_seed(pipeline.SEED)
    front = pipeline.front_end(load(model, empty=True, precision=wanted.settings.precision), wanted.settings, say)
    together = [replace(group, count=1, devices_per_node=count) for count in wanted.tensor]
    columns = [column_of(front, wanted, node) for node in together]
    return measure(front.loaded, front.traced, front.blocks, wanted, columns=columns, device=group.device, say=say, **options)


def column_of(front: pipeline.Front, wanted: Wanted, node: Group) -> Blocks:
    """What the first of a node's devices runs when all of them together run the whole model, split as is best for them."""
    ranks, rows = tuple(range(node.devices)), max(wanted.rows)
    stage = Stage(0, tuple(block.name for block in front.blocks.blocks), ranks, (rows,), tensor=node.devices)
    plan = Plan(pipeline.model_ref(front), ClusterRef(""), rows, wanted.settings, Schedule("1f1b", 1), (stage,))
    return column(pipeline.localized(plan, front, Cluster("", "", (node,))).blocks, 0)


def refit_files(plan: Plan, recording: str, say: Say = silent) -> Mapping[str, Refit]:
    """By type of the plan's devices: its prices, corrected by a recorded run of the plan."""
    built = pipeline.build(plan, say=say)
    index = pipeline.index_of(built)
    say("simulating")
    found = refit(pipeline.simulated(built), load_executed(recording, built.program), index)
    say("")
    return found
