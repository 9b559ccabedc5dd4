"""YAML with line numbers: nodes in, checked values out, every complaint with ``file:line``.

Stands on PyYAML's ``compose``, which keeps the place of everything, and looks at each scalar's text: "8" and 8 are alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from autopart.cluster.cluster import Price
from autopart.cluster.units import Quantity, QuantityError, parse, parse_price
from autopart.errors import ClusterError
from cost_models.catalogue import nearest

_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Spot:
    """A YAML node, the file it is in, and what to call it in a message: "nodes[1].devices"."""

    path: str
    node: yaml.Node
    what: str

    def error(self, message: str, remedy: str) -> ClusterError:
        """A complaint about this place, to be raised."""
        return ClusterError(message, where=f"{self.path}:{self.node.start_mark.line + 1}", remedy=remedy)

    def inside(self, node: yaml.Node, what: str) -> Spot:
        """A node below this one."""
        return Spot(self.path, node, what)


def compose(text: str, path: str) -> Spot:
    """The file's top node; syntax errors, an empty file and several documents become a ClusterError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text, path) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"a control character ({error.character!r}) can't stand in YAML"
        raise ClusterError(what, where=f"{path}:{line}", remedy="Remove it, or name a text file.") from error
    except RecursionError as error:
        raise ClusterError("brackets nested too deeply", where=path, remedy="Name a cluster file.") from error
    if node is None:
        raise ClusterError("the file is empty", where=f"{path}:1", remedy="Write `nodes:` and at least one node.")
    return Spot(path, node, "the file")


def _syntax_error(error: yaml.MarkedYAMLError, text: str, path: str) -> ClusterError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    shown = lines[line - 1] if line <= len(lines) else ""
    if "\t" in shown[: len(shown) - len(shown.lstrip())] or "'\\t'" in str(error.problem):
        return ClusterError("a tab where YAML allows spaces only", where=f"{path}:{line}", remedy="Indent with spaces.")
    if line > len(lines) or (mark is not None and mark.index >= len(text.rstrip())):
        what, remedy = f"the file ends in the middle: {error.problem}", "Close what is open, or restore the rest of the file."
    else:
        what, remedy = (
            f"not YAML: {error.problem}{_opened(error, line)}",
            "Check indentation, colons, brackets and quotes on this line and the one above.",
        )
    return ClusterError(what, where=f"{path}:{line}", remedy=remedy)


def _opened(error: yaml.MarkedYAMLError, line: int) -> str:
    """Where the thing began that could not be read to its end, if on another line."""
    start = error.context_mark.line + 1 if error.context_mark else line
    return f" ({error.context}, which begins on line {start})" if start != line else ""


def mapping(spot: Spot, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Spot]:
    """The values of a mapping by key, all known, each once, none of ``required`` absent."""
    allowed = (*required, *optional)
    found = entries(spot, f"Write it with the keys {', '.join(allowed)}.")
    for key, (key_spot, _) in found.items():
        if key not in allowed:
            near = nearest(key, allowed, limit=1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise key_spot.error(f"unknown key {key!r} in {spot.what}", f"{hint}Known keys are {', '.join(allowed)}.")
    absent = [key for key in required if key not in found]
    if absent:
        raise spot.error(f"{spot.what} has no {' and no '.join(absent)}", f"Add `{absent[0]}:`.")
    return {key: value for key, (_, value) in found.items()}


def entries(spot: Spot, remedy: str) -> dict[str, tuple[Spot, Spot]]:
    """Key and value of each entry of a mapping whose keys are free; a key that comes twice is an error."""
    if not isinstance(spot.node, yaml.MappingNode):
        raise spot.error(f"{spot.what} is {_form(spot.node)}, not a mapping of keys to values", remedy)
    found: dict[str, tuple[Spot, Spot]] = {}
    prefix = "" if spot.what == "the file" else f"{spot.what}."
    for key_node, value_node in spot.node.value:
        key_spot = spot.inside(key_node, "a key")
        if key_node.tag == _MERGE:
            raise key_spot.error("merge keys (<<) are not supported", "Write the keys out, or use an alias for the whole value.")
        key = text(key_spot)
        if key in found:
            first = found[key][0].node.start_mark.line + 1
            raise key_spot.error(f"{key!r} comes twice in {spot.what}; first on line {first}", "Remove one of the two.")
        found[key] = (key_spot, spot.inside(value_node, f"{prefix}{key}"))
    return found


def sequence(spot: Spot, remedy: str) -> list[Spot]:
    """The items of a list that is not empty."""
    if not isinstance(spot.node, yaml.SequenceNode):
        raise spot.error(f"{spot.what} is {_form(spot.node)}, not a list", remedy)
    if not spot.node.value:
        raise spot.error(f"{spot.what} is empty", remedy)
    return [spot.inside(item, f"{spot.what}[{index}]") for index, item in enumerate(spot.node.value)]


def text(spot: Spot) -> str:
    """The text of a scalar that is there."""
    if not isinstance(spot.node, yaml.ScalarNode):
        raise spot.error(f"{spot.what} is {_form(spot.node)}, not a single value", "Write one value here.")
    if spot.node.tag == _NULL or not spot.node.value.strip():
        raise spot.error(f"{spot.what} has no value", "Write one, or remove the key.")
    return str(spot.node.value)


def name(spot: Spot) -> str:
    """A name of letters, digits, dots, dashes and underscores."""
    found = text(spot)
    if not _NAME.fullmatch(found):
        raise spot.error(f"{found!r} is not a name", "Use letters, digits, '.', '-' and '_'.")
    return found


def count(spot: Spot, most: int) -> int:
    """A whole number from 1 to ``most``."""
    found = text(spot).strip()
    if not re.fullmatch(r"[-+]?[0-9][0-9_]*", found):
        raise spot.error(f"{spot.what} is {found!r}, not a whole number", "Write a whole number of at least 1, without a unit.")
    digits = found.replace("_", "")
    value = int(digits) if len(digits) < 20 else (-1 if digits.startswith("-") else most + 1)
    if value < 1:
        raise spot.error(f"{spot.what} is {found}; it must be at least 1", "Write 1 or more, or remove the whole entry.")
    if value > most:
        raise spot.error(f"{spot.what} is {found}; more than {most:,} is not supported", "Check the number.")
    return value


def fraction(spot: Spot) -> float:
    """A number above 0, at most 1."""
    found = text(spot).strip()
    if not re.fullmatch(r"0?\.[0-9]*[1-9][0-9]*|1(\.0*)?", found):
        raise spot.error(f"{spot.what} is {found!r}, not a fraction", "Write a number above 0 and at most 1, such as 0.8.")
    return float(found)


def quantity(spot: Spot, kind: Quantity) -> float:
    """A number with a unit, in bytes, bytes/s, seconds or FLOP/s."""
    try:
        return parse(text(spot), kind)
    except QuantityError as error:
        raise spot.error(f"{spot.what}: {error.what}", error.remedy) from error


def price(spot: Spot) -> Price:
    """A price of an hour, such as 3.67 USD/h."""
    try:
        return Price(*parse_price(text(spot)))
    except QuantityError as error:
        raise spot.error(f"{spot.what}: {error.what}", error.remedy) from error


def choice(spot: Spot, known: tuple[str, ...]) -> str:
    """One of a few words."""
    found = text(spot)
    if found not in known:
        raise spot.error(f"{spot.what} is {found!r}", f"Write one of {', '.join(known)}.")
    return found


def _form(node: yaml.Node) -> str:
    match node:
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
        case _ if node.tag == _NULL:
            return "empty"
        case _:
            return f"the single value {node.value!r:.40}"
