"""`python -m benchmarks.overheads [PART ...]`: measures what is not measured yet and prints the tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.overheads.cases import CASES
from benchmarks.overheads.report import page, tables
from benchmarks.overheads.startup import imports, starts
from benchmarks.overheads.study import record

PARTS = ("modules", "compiled", "pipelines", "startup", "imports")
RAW, PAGE = Path("docs/benchmarks/overheads.json"), Path("docs/benchmarks.md")
COMMAND = "python -m benchmarks.overheads --fresh --write"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overheads", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without any")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--models", nargs="*", metavar="MODEL", help="of the parts that have cases, those of these models alone")
    parser.add_argument("--work", type=Path, default=Path("out/overheads"), help="where parts are saved")
    parser.add_argument("--fresh", action="store_true", help="measure again what is saved")
    parser.add_argument("--write", action="store_true", help=f"also into {RAW} and {PAGE}")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    if arguments.fresh:
        shutil.rmtree(arguments.work, ignore_errors=True)
    chosen = arguments.parts or PARTS
    work, launches, records = arguments.work.absolute(), arguments.launches, []
    for case in CASES:
        if case.part in chosen and (not arguments.models or case.model in arguments.models):
            print(case.name, file=sys.stderr, flush=True)
            records.append(record(case, work, launches))
    for part, measure in (("startup", starts), ("imports", imports)):
        if part in chosen:
            print(part, file=sys.stderr, flush=True)
            records.append(measure(work, launches))
    print("\n".join(tables(records)))
    if arguments.write:
        raw = {**_machine(), "command": COMMAND, "parts": records}
        RAW.parent.mkdir(parents=True, exist_ok=True)
        RAW.write_text(json.dumps(raw, indent=1) + "\n")
        PAGE.write_text(page(PAGE.read_text(), raw))
    return 0


def _machine() -> dict[str, object]:
    return {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
