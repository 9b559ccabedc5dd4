"""plan.json: reading, checking against the schema, writing the same bytes for the same plan."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from autopart import jsonfile
from autopart.errors import PlanError
from autopart.plans import Baseline, ClusterRef, Estimate, ModelRef, Plan, Schedule, Settings, Stage

FORMAT = 1
KIND = jsonfile.FileKind(
    name="plan",
    error=PlanError,
    schema="plan.schema.json",
    make="`autopart plan` writes one.",
    reference="docs/reference/plan.md says what a plan holds.",
)


def dump_plan(plan: Plan) -> str:
    """The text of plan.json. Byte-identical for equal plans."""
    return jsonfile.render(to_json(plan), "") + "\n"


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write plan.json, model and cluster paths relative to its folder; an existing file is replaced whole or not at all."""
    target = Path(path)
    moved = _with_paths(plan, lambda old: os.path.relpath(old, target.absolute().parent) if old else old)
    try:
        jsonfile.replace_file(target, dump_plan(moved))
    except OSError as error:
        raise PlanError(f"can't be written: {error.strerror}", where=str(target), remedy="Name another file with -o.") from error


def load_plan(path: str | Path) -> Plan:
    """Read and check plan.json; its model and cluster paths come back relative to the working directory."""
    source = Path(path)
    plan = parse_plan(jsonfile.read_text(source, KIND), str(source))
    return _with_paths(plan, lambda old: os.path.relpath(source.absolute().parent / old) if old else old)


def parse_plan(text: str, path: str) -> Plan:
    """A Plan from the text of plan.json; PlanError names file, line and remedy."""
    raw = jsonfile.decode(text, path, KIND)
    if isinstance(raw, dict) and raw.get("kind") == "profile-plan":
        raise PlanError(
            "this is the plan of a profiled graph, which has no model", where=path, remedy="`autopart show` shows what is in it."
        )
    return from_json(jsonfile.parse(text, path, KIND))


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, in the order in which they are written."""
    raw: dict[str, Any] = {"format": FORMAT, **asdict(plan)}
    for stage in raw["stages"]:
        if not _uneven(stage["tensor_shares"], stage["tensor"]):
            del stage["tensor_shares"]
    if plan.estimate:
        raw["estimate"]["peak_bytes"] = {str(rank): nbytes for rank, nbytes in sorted(plan.estimate.peak_bytes.items())}
        raw["estimate"] = {key: _finite(value) for key, value in raw["estimate"].items()}
    raw["baselines"] = [
        {"name": b.name, "infeasible": b.infeasible} if b.step_time_s is None else {"name": b.name, "step_time_s": b.step_time_s}
        for b in plan.baselines
    ]
    return raw


def from_json(raw: Mapping[str, Any]) -> Plan:
    """A Plan from values that satisfy the schema; what a hand-written file leaves out is filled in."""
    stages = tuple(
        Stage(
            index=stage.get("index", index),
            blocks=tuple(stage["blocks"]),
            ranks=tuple(stage["ranks"]),
            shares=tuple(stage["shares"]),
            data=stage.get("data", len(stage["shares"])),
            tensor=stage.get("tensor", 1),
            zero=stage.get("zero", 0),
            recompute=stage.get("recompute", False),
            layouts=stage.get("layouts", {}),
            tensor_shares=_uneven(stage.get("tensor_shares", ()), stage.get("tensor", 1)),
        )
        for index, stage in enumerate(raw["stages"])
    )
    return Plan(
        model=ModelRef(**raw["model"]),
        cluster=ClusterRef(**raw["cluster"]),
        batch_size=raw["batch_size"],
        settings=Settings(**raw.get("settings", {})),
        schedule=Schedule(**raw["schedule"]),
        stages=stages,
        unused_ranks=tuple(raw.get("unused_ranks", ())),
        estimate=_estimate(raw["estimate"]) if raw.get("estimate") else None,
        baselines=tuple(Baseline(b["name"], b.get("step_time_s"), b.get("infeasible", "")) for b in raw.get("baselines", ())),
    )


def _uneven(shares: Sequence[int], tensor: int) -> tuple[int, ...]:
    """Tensor shares as a plan has them: none where one for each column says no more than that they are even."""
    even = len(shares) == tensor and len(set(shares)) == 1
    return () if even else tuple(shares)


def _estimate(raw: Mapping[str, Any]) -> Estimate:
    return Estimate(
        step_time_s=raw["step_time_s"],
        formula_s=raw["formula_s"],
        lower_bound_s=math.nan if raw["lower_bound_s"] is None else raw["lower_bound_s"],
        gap=math.nan if raw["gap"] is None else raw["gap"],
        schedule_bound_s=raw["schedule_bound_s"],
        breakdown=raw["breakdown"],
        peak_bytes={int(rank): nbytes for rank, nbytes in raw["peak_bytes"].items()},
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_paths(plan: Plan, change: Any) -> Plan:
    return replace(
        plan,
        model=replace(plan.model, path=change(plan.model.path)),
        cluster=replace(plan.cluster, path=change(plan.cluster.path)),
    )
