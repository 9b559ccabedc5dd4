"""autopart from Python: plan a live module, compile the plan to this rank's part of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from autopart import pipeline
from autopart.cluster.load import load_cluster
from autopart.errors import InputError, PlanError
from autopart.explain.text import format_explanation
from autopart.frontend.load import Loaded, load, loaded_from
from autopart.package import write_package
from autopart.planfile import load_plan as read_plan
from autopart.planfile import save_plan
from autopart.plans import Estimate, Plan, Settings, Stage
from autopart.refused import no_model
from autopart.report.text import format_plan
from autopart.runtime import DistributedModule
from autopart.sharding.mixing import describe

Batch = tuple[Any, ...] | Mapping[str, Any]


@dataclass(frozen=True)
class PlannedModel:
    """A plan, and the module it was made for (None where it was read from a file)."""

    plan: Plan
    front: pipeline.Front | None = None

    @property
    def estimate(self) -> Estimate | None:
        return self.plan.estimate

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.plan.stages

    def save(self, path: str | Path) -> None:
        """Write plan.json."""
        save_plan(self.plan, path)

    def show(self) -> str:
        """The plan as ``autopart show`` prints it, and what in the model forces its choices."""
        notes = describe(self.front.blocks.sharded.mixing) if self.front else ()
        return "\n".join([format_plan(self.plan, load_cluster(self.plan.cluster.path)), *notes])

    def explain(
        self,
        *,
        why_not: str | Sequence[str] = (),
        what_if: str | Sequence[str] = (),
        op: str | None = None,
        gap: float = 0.01,
        time_limit_s: float = 20.0,
    ) -> str:
        """What ``autopart explain`` prints: answers to these questions, or without any what bounds the step, what else there is
        and what would help. Each takes a search of up to ``time_limit_s``.

        ``why_not="ddp"``, ``why_not=["stages=3", "rank 7"]``; ``what_if="memory = 24 GiB"``, where several changes hold together;
        ``op`` names an op, a module, a block or a parameter. Raises InputError for what there is not.
        """
        wishes, changes = ([each] if isinstance(each, str) else each for each in (why_not, what_if))
        own, found, cluster = pipeline.explain_plan(
            self.plan, self.front, wishes=wishes, changes=changes, op=op, gap=gap, time_limit_s=time_limit_s
        )
        return format_explanation(found, own, cluster)


def plan(
    model: nn.Module,
    example_inputs: Batch | Callable[[int], Batch],
    cluster: str | Path,
    *,
    batch_size: int,
    loss: Callable[..., Any] | None = None,
    example_targets: tuple[Any, ...] | Callable[[int], tuple[Any, ...]] | None = None,
    batch_dims: Any = 0,
    optimizer: str = "adamw",
    precision: str = "float32",
    batch_norm: str = "global",
    granularity: str = "block",
    limits: pipeline.Limits | None = None,
) -> PlannedModel:
    """The best plan for a module on the cluster of a file.

    ``example_inputs`` is a batch (a tuple of tensors, or a dict of keyword inputs) or a function of the number of samples.
    ``loss(output, *targets)`` may be left out where the module returns its loss. Raises Infeasible where nothing fits.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}", remedy="Pass the number of samples of a step, over all devices.")
    settings = Settings(optimizer, precision, batch_norm, granularity)
    loaded = loaded_from(
        model, example_inputs, loss=loss, example_targets=example_targets, batch_dims=batch_dims, precision=precision
    )
    front = pipeline.front_end(loaded, settings)
    found = pipeline.decide(front, load_cluster(cluster), batch_size, settings, limits or pipeline.Limits())
    return PlannedModel(found, front)


def load_plan(path: str | Path) -> PlannedModel:
    """A plan that ``save`` or ``autopart plan`` wrote."""
    return PlannedModel(read_plan(path))


def compile(  # noqa: A001 - autopart.compile, as torch.compile
    planned: PlannedModel | Plan | str | Path,
    model: nn.Module,
    *,
    example_inputs: Batch | Callable[[int], Batch] | None = None,
    loss: Callable[..., Any] | None = None,
    example_targets: tuple[Any, ...] | Callable[[int], tuple[Any, ...]] | None = None,
    batch_dims: Any = 0,
    folder: str | Path | None = None,
    seed: int = 0,
) -> DistributedModule:
    """Make this rank's part of ``model``, with its weights; every rank calls it alike, under torchrun.

    The model is traced once more, so the plan must have been made for it. ``example_inputs`` and ``loss`` are needed for a plan
    that was read from a file and names no model file. The emitted package goes to ``folder``, else to a temporary one.
    """
    found = _planned(planned)
    if pipeline.is_profile(found.plan.model.path):
        raise no_model(found.plan)
    loaded = _inputs_for(found, model, example_inputs, loss, example_targets, batch_dims)
    built = pipeline.build_from(found.plan, loaded)
    target = Path(folder) if folder else _temporary()
    write_package(target, pipeline.emit_package(built), built.front.loaded, built.front.traced, None)
    module = DistributedModule(target, seed=seed)
    module.load_state_dict(model.state_dict())
    return module


def _planned(given: PlannedModel | Plan | str | Path) -> PlannedModel:
    match given:
        case PlannedModel():
            return given
        case Plan():
            return PlannedModel(given)
        case _:
            return load_plan(given)


def _inputs_for(
    found: PlannedModel, model: nn.Module, example_inputs: Any, loss: Any, example_targets: Any, batch_dims: Any
) -> Loaded:
    """The model with batches to trace it by: those given, those it was planned with, or those of the model file."""
    precision = found.plan.settings.precision
    if example_inputs is not None:
        return loaded_from(
            model, example_inputs, loss=loss, example_targets=example_targets, batch_dims=batch_dims, precision=precision
        )
    if found.front is not None:
        return replace(found.front.loaded, module=model)
    if found.plan.model.path:
        file = load(f"{found.plan.model.path}:{found.plan.model.factory}", empty=True, precision=precision)
        return replace(file, module=model)
    raise PlanError("the plan names no model file", remedy="Pass example_inputs (and loss), as you did to autopart.plan().")


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="autopart-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
