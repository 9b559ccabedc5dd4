"""Looking into the compiler: two environment variables, read when a step ends. docs/env.md describes them.

AUTOPART_VERIFY=1    check the graph after every step that made one
AUTOPART_DUMP=DIR    write what every step made: trace.txt, shard.txt, blocks.txt, ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from autopart.errors import InputError
from autopart.ir.graph import Graph
from autopart.ir.text import format_graph
from autopart.ir.verify import verify

VERIFY, DUMP = "AUTOPART_VERIFY", "AUTOPART_DUMP"
VARIABLES = (VERIFY, DUMP)


def after(step: str, graph: Graph) -> Graph:
    """The graph that ``step`` made, checked and written down where the user asked for it."""
    if os.environ.get(VERIFY) == "1":
        verify(graph)
    dump(step, lambda: format_graph(graph))
    return graph


def dump(step: str, text: Callable[[], str]) -> None:
    """Write ``text()`` as a file of AUTOPART_DUMP, if that is set."""
    folder = os.environ.get(DUMP)
    if not folder:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{step}.txt").write_text(text(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{DUMP}: can't be written: {error.strerror}", where=folder, remedy="Name a folder.") from error
