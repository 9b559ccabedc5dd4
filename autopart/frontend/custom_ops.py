"""Ops that are not torch's own: what registers them, so that a compiled package can."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from autopart.frontend.internals import op_definition
from autopart.ir.graph import Graph

OURS = ("aten", "comm", "prims")


@dataclass
class CustomOps:
    """``places``: by the op's name (``lib::op``) a file of the package, a module to import, or "" where it isn't known.
    ``files``: those files' texts by name.
    """

    places: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def custom_ops(graph: Graph) -> CustomOps:
    """What registers the custom ops of a graph. A file that can't be imported by name (the model's own) goes into the package."""
    found = CustomOps()
    for kind in sorted({op.kind for op in graph.ops}):
        namespace, name, _ = kind.split(".")
        if namespace not in OURS:
            _add(found, f"{namespace}::{name}")
    return found


def _add(found: CustomOps, name: str) -> None:
    definition = op_definition(name)
    if definition is None or definition.__module__ == "__main__":
        found.places[name] = ""
        return
    if _installed(definition.__module__):
        found.places[name] = definition.__module__
        return
    source = Path(inspect.getfile(definition))
    file = f"ops_{source.stem}.py"
    found.places[name] = file
    found.files[file] = source.read_text(encoding="utf-8")


def _installed(module: str) -> bool:
    """Whether a module can be imported by its name wherever this environment is, not just in this folder."""
    elsewhere = [folder for folder in sys.path if Path(folder).resolve() != Path.cwd()]
    return PathFinder.find_spec(module.split(".")[0], elsewhere) is not None
