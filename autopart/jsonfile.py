"""JSON files that people write: reading with the line of every mistake, checking by a schema, writing the same bytes again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from autopart.errors import InputError

LARGEST_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file is, for messages: "plan", the error class of its mistakes, its schema beside this module, and two remedies."""

    name: str
    error: type[InputError]
    schema: str
    make: str  # how to get one
    reference: str  # where it is documented


def read_text(path: str | Path, kind: FileKind) -> str:
    """The text of a file that is small enough to be of this kind."""
    source = Path(path)
    another = f"Name a {kind.name}.json."
    try:
        if source.stat().st_size > LARGEST_FILE_BYTES:
            raise kind.error(f"this is far too large for a {kind.name}", where=str(source), remedy=another)
        return source.read_text(encoding="utf-8")
    except OSError as error:
        raise kind.error(f"can't be read: {error.strerror}", where=str(source), remedy=kind.make) from error
    except UnicodeDecodeError as error:
        raise kind.error("this is not a text file", where=str(source), remedy=another) from error


def parse(text: str, path: str, kind: FileKind) -> Any:
    """JSON values that satisfy the schema; the error names file, line and remedy."""
    raw = decode(text, path, kind)
    problems = sorted(_validator(kind.schema).iter_errors(raw), key=lambda problem: [str(part) for part in problem.absolute_path])
    if problems:
        raise _schema_error(problems[0], text, path, kind)
    return raw


def decode(text: str, path: str, kind: FileKind) -> Any:
    """JSON values of any shape."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        ended = "the file ends in the middle" if error.pos >= len(text.rstrip()) else error.msg
        raise kind.error(
            f"not JSON: {ended} (column {error.colno})", where=f"{path}:{error.lineno}", remedy=f"Mend it. {kind.make}"
        ) from error
    except (_ConstantError, RecursionError) as error:
        raise kind.error(f"not a {kind.name}: {error}", where=path, remedy=f"Every number in a {kind.name} is finite.") from error


def replace_file(target: Path, text: str) -> None:
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


def render(value: Any, indent: str) -> str:
    """JSON with short containers on one line: such files are read by people too."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list | tuple) or (
        len(indent) + len(flat) <= 110 and not (isinstance(value, dict) and indent == "")
    ):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        rows: Iterable[str] = (f"{json.dumps(key)}: {render(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + render(item, inner) for item in value) + f"\n{indent}]"


class _ConstantError(ValueError):
    """NaN or Infinity, which JSON does not have."""


def _refuse_constant(name: str) -> float:
    raise _ConstantError(f"{name} is not a number")


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads(Path(__file__).with_name(schema).read_text(encoding="utf-8")))


def _schema_error(problem: ValidationError, text: str, path: str, kind: FileKind) -> InputError:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem.absolute_path).lstrip(".")
    line = line_of(text, list(problem.absolute_path))
    what = problem.message if len(problem.message) < 200 else f"... {problem.message[-160:]}"
    return kind.error(
        f"{place}: {what}" if place else what,
        where=f"{path}:{line}" if line else path,
        remedy=_schema_remedy(problem, kind),
    )


def _schema_remedy(problem: ValidationError, kind: FileKind) -> str:
    """What the schema says of the place; for a key that it does not have, the nearest that it has."""
    schema = problem.schema if isinstance(problem.schema, Mapping) else {}
    if problem.validator == "additionalProperties" and "properties" in schema:
        known, given = list(schema["properties"]), problem.instance
        near = [match for key in given if key not in known for match in get_close_matches(key, known, n=1)]  # type: ignore[union-attr]
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        return f"{hint}Known keys are {', '.join(known)}."
    return str(schema.get("description", kind.reference))


def line_of(text: str, place: list[str | int]) -> int | None:
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
