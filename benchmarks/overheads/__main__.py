"""`python -m benchmarks.overheads [PART ...]`: measures what is not measured yet and prints the tables."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.overheads.cases import CASES
from benchmarks.overheads.report import tables
from benchmarks.overheads.startup import imports, starts
from benchmarks.overheads.study import record
from benchmarks.pages import FOLDER, PAGE, publish

PARTS = ("modules", "compiled", "pipelines", "startup", "imports")
COMMAND = "python -m benchmarks.overheads --fresh --write"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overheads", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without any")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--models", nargs="*", metavar="MODEL", help="of the parts that have cases, those of these models alone")
    parser.add_argument("--work", type=Path, default=Path("out/overheads"), help="where parts are saved")
    parser.add_argument("--fresh", action="store_true", help="measure again what is saved")
    parser.add_argument("--write", action="store_true", help=f"also into {FOLDER} and {PAGE}")
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
        publish("overheads", COMMAND, {"parts": records}, tables(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
