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
    raw = jsonfile.decode(text, path, KIND)
    _refuse_layers(raw, path)
    try:
        jsonfile.parse(text, path, KIND)
    except ProfileError as error:
        raise ProfileError(_with_name(error.what, raw), where=error.where, remedy=error.remedy) from None
    ops = tuple(ProfiledOp(**op) for op in raw["ops"])
    _refuse_repeated([op.name for op in ops], text, path)
    return _checked(Profile(path, _digest(ops, raw["edges"]), ops, _edges(ops, raw["edges"], text, path)))


def _refuse_layers(raw: Any, path: str) -> None:
    """A layer profile is another kind of input."""
    ops = raw.get("ops") if isinstance(raw, dict) else None
    for index, op in enumerate(ops if isinstance(ops, list) else ()):
        if isinstance(op, dict) and "table" in op:
            name = op.get("name", index)
            raise ProfileError(
                f"ops[{index}] ({name}): table: layer profiles can't be planned yet",
                where=path,
                remedy="Give each op `time_s`, seconds by device type, in place of `table`.",
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


def _edges(ops: Sequence[ProfiledOp], raw: Sequence[Sequence[str]], text: str, path: str) -> tuple[tuple[int, int], ...]:
    index = {op.name: number for number, op in enumerate(ops)}
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
    return tuple(found)


def _checked(profile: Profile) -> Profile:
    """The profile; ProfileError where its edges close a circle."""
    remaining = [0] * len(profile.ops)
    readers: list[list[int]] = [[] for _ in profile.ops]
    for source, target in profile.edges:
        remaining[target] += 1
        readers[source].append(target)
    ready = [op for op, count in enumerate(remaining) if not count]
    for op in ready:
        for reader in readers[op]:
            remaining[reader] -= 1
            if not remaining[reader]:
                ready.append(reader)
    if len(ready) < len(profile.ops):
        circle = _circle({op for op, count in enumerate(remaining) if count}, profile.edges)
        names = [profile.ops[op].name for op in circle]
        shown = " -> ".join(names if len(names) <= 8 else [*names[:4], "...", *names[-3:]])
        raise ProfileError(f"edges: {shown} is a circle", where=profile.path, remedy="Remove an edge: ops follow their inputs.")
    return profile


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
