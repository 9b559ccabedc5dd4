"""graph.json -> Profile: a graph of ops that somebody else measured. Every mistake names file, line, op and key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopart import jsonfile
from autopart.errors import ProfileError

KIND = jsonfile.FileKind(
    name="profile",
    error=ProfileError,
    schema="profile.schema.json",
    make="docs/reference/profile.md says how to write one.",
    reference="docs/reference/profile.md says what a profile holds.",
)


@dataclass(frozen=True, slots=True)
class ProfiledOp:
    """One op: seconds by device type, bytes that it keeps on its device and bytes of its output, which all its readers share."""

    name: str
    time_s: Mapping[str, float]
    memory_bytes: float
    output_bytes: float
    backward: bool = False
    colocate: str | None = None  # ops of equal label are on one device


@dataclass(frozen=True, slots=True)
class Profile:
    """A checked graph; ops in file order, edges as indices of ops (producer, reader), without repetition, acyclic."""

    path: str
    digest: str
    ops: tuple[ProfiledOp, ...]
    edges: tuple[tuple[int, int], ...]


def load_profile(path: str | Path) -> Profile:
    """Read and check a profile."""
    where = str(path)
    return parse_profile(jsonfile.read_text(path, KIND), where)


def parse_profile(text: str, path: str) -> Profile:
    """A Profile from the text of a file; ``path`` is for messages and for the plan."""
    raw = checked(text, path)
    ops = tuple(ProfiledOp(**op) for op in raw["ops"])
    names = [op.name for op in ops]
    return Profile(path, _digest(ops, raw["edges"]), ops, edges_of(names, raw["edges"], text, path))


def is_layer_profile(path: str | Path) -> bool:
    """Whether a file's ops have tables, so that they are layers; whatever is wrong with it is for its own reader to say."""
    try:
        raw = jsonfile.decode(jsonfile.read_text(path, KIND), str(path), KIND)
    except ProfileError:
        return False
    return next(iter(_layered(raw)), False)


def _layered(raw: Any) -> list[bool]:
    """Of each op whether it has a table."""
    ops = raw.get("ops") if isinstance(raw, dict) else None
    return [isinstance(op, dict) and "table" in op for op in ops] if isinstance(ops, list) else []


def checked(text: str, path: str) -> Any:
    """JSON values of either kind of profile that satisfy the schema; the message has the name of the op."""
    raw = jsonfile.decode(text, path, KIND)
    _refuse_mixed(raw, text, path)
    try:
        return jsonfile.parse(text, path, KIND)
    except ProfileError as error:
        raise ProfileError(_with_name(error.what, raw), where=error.where, remedy=error.remedy) from None


def _refuse_mixed(raw: Any, text: str, path: str) -> None:
    """Ops with one time each and layers with tables are two kinds of input."""
    layered = _layered(raw)
    if len(set(layered)) > 1:
        index = layered.index(not layered[0])
        raise ProfileError(
            _with_name(f"ops[{index}]: {'no ' * layered[0]}table, other than the ops before", raw),
            where=f"{path}:{jsonfile.line_of(text, ['ops', index])}",
            remedy="Layers have `table`, ops have `time_s`: give every one the same of the two.",
        )


def _with_name(what: str, raw: Any) -> str:
    """``ops[3].time_s: ...`` with the op's name, where it has one."""
    found = re.match(r"ops\[(\d+)\]", what)
    if not found:
        return what
    op = raw["ops"][int(found[1])]
    name = op.get("name") if isinstance(op, dict) else None
    return f"{found[0]} ({name}){what[found.end() :]}" if isinstance(name, str) else what


def _refuse_repeated(names: Sequence[str], text: str, path: str) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            raise ProfileError(
                f"ops[{index}].name: {name!r} is the name of ops[{first[name]}] too",
                where=f"{path}:{jsonfile.line_of(text, ['ops', index, 'name'])}",
                remedy="Names of ops are unique: rename one of the two.",
            )


def edges_of(names: Sequence[str], raw: Sequence[Sequence[str]], text: str, path: str) -> tuple[tuple[int, int], ...]:
    """Edges by index, each once; ProfileError where two ops share a name, an end is no op, or a circle closes."""
    _refuse_repeated(names, text, path)
    index = {name: number for number, name in enumerate(names)}
    found: dict[tuple[int, int], None] = {}
    for number, (source, target) in enumerate(raw):
        where = f"edges[{number}]: [{source!r}, {target!r}]"
        for name in (source, target):
            if name not in index:
                raise ProfileError(
                    f"{where}: there is no op {name!r}",
                    where=f"{path}:{jsonfile.line_of(text, ['edges', number])}",
                    remedy="Both ends of an edge are names under `ops`.",
                )
        found[index[source], index[target]] = None
    _refuse_circle(names, tuple(found), path)
    return tuple(found)


def _refuse_circle(names: Sequence[str], edges: Sequence[tuple[int, int]], path: str) -> None:
    remaining = [0] * len(names)
    readers: list[list[int]] = [[] for _ in names]
    for source, target in edges:
        remaining[target] += 1
        readers[source].append(target)
    ready = [op for op, count in enumerate(remaining) if not count]
    for op in ready:
        for reader in readers[op]:
            remaining[reader] -= 1
            if not remaining[reader]:
                ready.append(reader)
    if len(ready) < len(names):
        circle = [names[op] for op in _circle({op for op, count in enumerate(remaining) if count}, edges)]
        shown = " -> ".join(circle if len(circle) <= 8 else [*circle[:4], "...", *circle[-3:]])
        raise ProfileError(f"edges: {shown} is a circle", where=path, remedy="Remove an edge: ops follow their inputs.")


def _circle(stuck: set[int], edges: Sequence[tuple[int, int]]) -> list[int]:
    """One circle among ops of which each has a producer that is stuck too."""
    producer = {target: source for source, target in edges if source in stuck and target in stuck}
    seen: list[int] = []
    op = min(stuck & producer.keys())
    while op not in seen:
        seen.append(op)
        op = producer[op]
    return [op, *reversed(seen[seen.index(op) :])]


def _digest(ops: Sequence[ProfiledOp], edges: Sequence[Sequence[str]]) -> str:
    """Of what the file means; layout and order of keys don't count."""
    meaning = [
        [[op.name, sorted(op.time_s.items()), op.memory_bytes, op.output_bytes, op.backward, op.colocate] for op in ops],
        sorted({tuple(edge) for edge in edges}),
    ]
    return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()[:16]
