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
from autopart.plans import (
    Baseline,
    ClusterRef,
    Cost,
    Draw,
    Estimate,
    FrontPoint,
    ModelRef,
    Moves,
    NodeRef,
    Plan,
    Proof,
    RankMoves,
    Schedule,
    Search,
    Settings,
    Stage,
    Take,
)

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
    raw["baselines"] = [_baseline(baseline) for baseline in plan.baselines]
    raw["front"] = [_without_none(point) for point in raw["front"]]
    if plan.estimate:
        raw["estimate"] = _without_none(raw["estimate"])
        for by_rank in ("peak_bytes", "busy_s"):
            raw["estimate"][by_rank] = {str(rank): value for rank, value in sorted(raw["estimate"][by_rank].items())}
        if not plan.estimate.busy_s:
            del raw["estimate"]["busy_s"]
        raw["estimate"] = {key: _finite(value) for key, value in raw["estimate"].items()}
        if not plan.estimate.proof:
            raw["estimate"].pop("proof", None)
        if plan.estimate.cost:
            raw["estimate"]["cost"] = {key: _finite(value) for key, value in raw["estimate"]["cost"].items()}
    if not plan.cluster.nodes:
        del raw["cluster"]["nodes"]
    for name in ("front", "moves", "notes"):
        if not raw[name]:
            del raw[name]
    if plan.search:
        raw["search"] = {key: _finite(value) for key, value in raw["search"].items()}
    else:
        del raw["search"]
    return raw


def _baseline(baseline: Baseline) -> dict[str, Any]:
    if baseline.step_time_s is None:
        return {"name": baseline.name, "infeasible": baseline.infeasible}
    return _without_none({"name": baseline.name, "step_time_s": baseline.step_time_s, "value": baseline.value})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


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
        cluster=_cluster(raw["cluster"]),
        batch_size=raw["batch_size"],
        settings=Settings(**raw.get("settings", {})),
        schedule=Schedule(**raw["schedule"]),
        stages=stages,
        unused_ranks=tuple(raw.get("unused_ranks", ())),
        estimate=_estimate(raw["estimate"]) if raw.get("estimate") else None,
        baselines=tuple(Baseline(**baseline) for baseline in raw.get("baselines", ())),
        front=tuple(_front_point(point) for point in raw.get("front", ())),
        moves=_moves(raw["moves"]) if "moves" in raw else None,
        search=_search(raw["search"]) if raw.get("search") else None,
        notes=tuple(raw.get("notes", ())),
    )


def _search(raw: Mapping[str, Any]) -> Search:
    bound = raw["lower_bound_s"]
    return Search(raw["problem"], raw["pins"], raw["step_time_s"], math.nan if bound is None else bound)


def _front_point(raw: Mapping[str, Any]) -> FrontPoint:
    draws = {key: Draw(**raw[key]) if key in raw else None for key in ("cost", "energy")}
    return FrontPoint(**{**raw, **draws})


def _cluster(raw: Mapping[str, Any]) -> ClusterRef:
    nodes = tuple(NodeRef(**node) for node in raw.get("nodes", ()))
    return ClusterRef(raw["path"], raw.get("digest", ""), nodes)


def _moves(raw: Mapping[str, Any]) -> Moves:
    def rank(each: Mapping[str, Any]) -> RankMoves:
        takes = tuple(Take(take["source"], take["nbytes"], tuple(take["blocks"])) for take in each["takes"])
        return RankMoves(each["rank"], each["was"], each["keeps_bytes"], takes)

    names = {key: tuple(raw[key]) for key in ("lost", "new")}
    return Moves(**{**raw, **names, "ranks": tuple(map(rank, raw["ranks"]))})


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
        cost=_cost(raw["cost"]) if raw.get("cost") else None,
        busy_s={int(rank): seconds for rank, seconds in raw.get("busy_s", {}).items()},
        proof=Proof(**raw["proof"]) if raw.get("proof") else None,
    )


def _cost(raw: Mapping[str, Any]) -> Cost:
    unknown = {key: math.nan for key in ("lower_bound", "gap") if raw[key] is None}
    return Cost(**{**raw, **unknown})


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_paths(plan: Plan, change: Any) -> Plan:
    return replace(
        plan,
        model=replace(plan.model, path=change(plan.model.path)),
        cluster=replace(plan.cluster, path=change(plan.cluster.path)),
    )
