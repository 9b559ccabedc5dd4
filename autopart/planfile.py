"""plan.json: reading, checking against the schema, writing the same bytes for the same plan."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from autopart.errors import PlanError
from autopart.plans import Baseline, ClusterRef, Estimate, ModelRef, Plan, Schedule, Search, Settings, Stage

FORMAT = 1
LARGEST_FILE_BYTES = 64 * 2**20


def dump_plan(plan: Plan) -> str:
    """The text of plan.json. Byte-identical for equal plans."""
    return _render(to_json(plan), "") + "\n"


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write plan.json, model and cluster paths relative to its folder; an existing file is replaced whole or not at all."""
    target = Path(path)
    moved = _with_paths(plan, lambda old: os.path.relpath(old, target.absolute().parent) if old else old)
    try:
        _replace(target, dump_plan(moved))
    except OSError as error:
        raise PlanError(f"can't be written: {error.strerror}", where=str(target), remedy="Name another file with -o.") from error


def _replace(target: Path, text: str) -> None:
    """Write a file beside the old one, then put it in its place; a device or a pipe is written as it is."""
    if target.exists() and not target.is_file():
        target.write_text(text, encoding="utf-8")
        return
    end = target.resolve()  # of symbolic links
    temporary = end.with_name(end.name + ".part")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(end)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def load_plan(path: str | Path) -> Plan:
    """Read and check plan.json; its model and cluster paths come back relative to the working directory."""
    source = Path(path)
    try:
        if source.stat().st_size > LARGEST_FILE_BYTES:
            raise PlanError("this is far too large for a plan", where=str(source), remedy="Name a plan.json.")
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"can't be read: {error.strerror}", where=str(source), remedy="`autopart plan` writes one.") from error
    except UnicodeDecodeError as error:
        raise PlanError("this is not a text file", where=str(source), remedy="Name a plan.json.") from error
    plan = parse_plan(text, str(source))
    return _with_paths(plan, lambda old: os.path.relpath(source.absolute().parent / old) if old else old)


def parse_plan(text: str, path: str) -> Plan:
    """A Plan from the text of plan.json; PlanError names file, line and remedy."""
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        ended = "the file ends in the middle" if error.pos >= len(text.rstrip()) else error.msg
        raise PlanError(
            f"not JSON: {ended} (column {error.colno})",
            where=f"{path}:{error.lineno}",
            remedy="Mend it, or run `autopart plan` again.",
        ) from error
    except (_ConstantError, RecursionError) as error:
        raise PlanError(f"not a plan: {error}", where=path, remedy="Every number in a plan is finite.") from error
    problems = sorted(_validator().iter_errors(raw), key=lambda problem: [str(part) for part in problem.absolute_path])
    if problems:
        raise _schema_error(problems[0], text, path)
    return from_json(raw)


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, in the order in which they are written."""
    raw: dict[str, Any] = {"format": FORMAT, **asdict(plan)}
    for stage in raw["stages"]:
        if not _uneven(stage["tensor_shares"], stage["tensor"]):
            del stage["tensor_shares"]
    if plan.estimate:
        raw["estimate"]["peak_bytes"] = {str(rank): nbytes for rank, nbytes in sorted(plan.estimate.peak_bytes.items())}
        raw["estimate"] = {key: _finite(value) for key, value in raw["estimate"].items()}
    if plan.search:
        raw["search"] = {key: _finite(value) for key, value in raw["search"].items()}
    else:
        del raw["search"]
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
        search=_search(raw["search"]) if raw.get("search") else None,
    )


def _search(raw: Mapping[str, Any]) -> Search:
    bound = raw["lower_bound_s"]
    return Search(raw["problem"], raw["pins"], raw["step_time_s"], math.nan if bound is None else bound)


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


def _render(value: Any, indent: str) -> str:
    """JSON with short containers on one line: a plan is read by people too."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list | tuple) or (
        len(indent) + len(flat) <= 110 and not (isinstance(value, dict) and indent == "")
    ):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        rows: Iterable[str] = (f"{json.dumps(key)}: {_render(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _render(item, inner) for item in value) + f"\n{indent}]"


class _ConstantError(ValueError):
    """NaN or Infinity, which JSON does not have."""


def _refuse_constant(name: str) -> float:
    raise _ConstantError(f"{name} is not a number")


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(Path(__file__).with_name("plan.schema.json").read_text(encoding="utf-8")))


def _schema_error(problem: ValidationError, text: str, path: str) -> PlanError:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path).lstrip(".")
    line = _line_of(text, list(problem.absolute_path))
    what = problem.message if len(problem.message) < 200 else f"... {problem.message[-160:]}"
    return PlanError(
        f"{place}: {what}" if place else what,
        where=f"{path}:{line}" if line else path,
        remedy=_schema_remedy(problem),
    )


def _schema_remedy(problem: ValidationError) -> str:
    """What the schema says of the place; for a key that it does not have, the nearest that it has."""
    schema = problem.schema if isinstance(problem.schema, Mapping) else {}
    if problem.validator == "additionalProperties" and "properties" in schema:
        known, given = list(schema["properties"]), problem.instance
        near = [match for key in given if key not in known for match in get_close_matches(key, known, n=1)]  # type: ignore[union-attr]
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{hint}Known keys are {', '.join(known)}."
    return str(schema.get("description", "docs/reference/plan.md says what a plan holds."))


def _line_of(text: str, place: list[str | int]) -> int | None:
    """Line of a value in JSON text; JSON is YAML but for tabs, and YAML's parser keeps the lines."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [value for key, value in node.value if key.value == part]
            if not found:
                break
            node = found[0]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
    return int(node.start_mark.line) + 1 if node else None
