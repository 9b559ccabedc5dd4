"""Raw data as JSON, and what commands write into docs/benchmarks.md: each between two lines of its own."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

PAGE, FOLDER = Path("docs/benchmarks.md"), Path("docs/benchmarks")


def machine() -> dict[str, object]:
    """When and where."""
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__.split("+")[0],
    }


def publish(part: str, command: str, data: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Into the JSON of this part, and into the page."""
    raw = {**machine(), "command": command, **data}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{part}.json").write_text(json.dumps(raw, indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text(), part, [dated(raw), "", *lines]))


def dated(raw: Mapping[str, Any]) -> str:
    return f"{raw['date']}, {raw['cores']} cores ({raw['machine']}), torch {raw['torch']}, `{raw['command']}`:"


def filled(text: str, part: str, lines: Sequence[str]) -> str:
    """The page with these lines in the part's place."""
    start, stop = f"<!-- {part}: written by the command -->", f"<!-- {part}: end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(stop)
    assert found, f"the page has no {start} ... {stop}"
    return "\n".join([before + start, "", *lines, "", stop + after])
