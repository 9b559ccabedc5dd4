"""Looking into the compiler: environment variables, read when a step ends. docs/env.md describes them.

AUTOPART_DEBUG=1     say on stderr what every step made, how large it is, when it was done
              =2     and what blocks cost, and the solver's progress
              =3     and what every step changed in the graph
              =4     and everything that AUTOPART_DUMP writes
AUTOPART_DUMP=DIR    write what every step made: 00-trace.txt, 01-shard.txt, ...
AUTOPART_VERIFY=1    check the graph after every step that made one
"""

from __future__ import annotations

import difflib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from autopart.errors import InputError
from autopart.ir.graph import Graph
from autopart.ir.text import format_graph
from autopart.ir.verify import verify

DEBUG, VERIFY, DUMP = "AUTOPART_DEBUG", "AUTOPART_VERIFY", "AUTOPART_DUMP"
VARIABLES = (DEBUG, VERIFY, DUMP)
STEPS = ("trace", "shard", "blocks", "costs", "plan", "program")
"""What is written, in the order of the compiler: the number of its file."""

SIZES, COSTS, CHANGES, EVERYTHING = 1, 2, 3, 4  # levels of AUTOPART_DEBUG
_started = time.perf_counter()


def level() -> int:
    """Of AUTOPART_DEBUG; 0 where it is not set. InputError where it is no level."""
    text = os.environ.get(DEBUG, "") or "0"
    if text not in ("0", "1", "2", "3", "4"):
        raise InputError(f"{DEBUG}={text!r} is no level", remedy="Set it to 1, 2, 3 or 4, or leave it out.")
    return int(text)


def note(at: int, text: str) -> None:
    """A line on stderr where AUTOPART_DEBUG is ``at`` or more, with the seconds since the start."""
    if level() >= at:
        sys.stderr.write(f"autopart {time.perf_counter() - _started:7.2f} s  {text}\n")


def after(step: str, graph: Graph, before: Graph | None = None) -> Graph:
    """The graph that ``step`` made of ``before``, checked, spoken of and written down where the user asked for it."""
    if os.environ.get(VERIFY) == "1":
        verify(graph)
    sizes = f"{len(graph.ops)} ops, {len(graph.parameters)} parameters, {len(graph.buffers)} buffers"
    if before is not None and level() >= CHANGES:
        was, now = format_graph(before).splitlines(), format_graph(graph).splitlines()
        changes = difflib.unified_diff(was, now, "before", step, lineterm="", n=0)
        note(CHANGES, f"{step}: what changed\n" + "\n".join(changes))
    made(step, sizes, lambda: format_graph(graph))
    return graph


def made(step: str, sizes: str, text: Callable[[], str]) -> None:
    """What a step made, in a few words and in full: said, and written as a file of AUTOPART_DUMP, where that is asked for."""
    assert step in STEPS, f"{step} has no number"
    note(SIZES, f"{step}: {sizes}")
    if step == "costs" and level() in (COSTS, CHANGES):
        note(COSTS, text())
    if level() >= EVERYTHING:
        note(EVERYTHING, text())
    folder = os.environ.get(DUMP)
    if not folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{STEPS.index(step):02}-{step}.txt").write_text(text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{DUMP}: can't be written: {error.strerror}", where=folder, remedy="Name a folder.") from error
