"""`python -m benchmarks.versus [CASE ...]`, as root: measures what is not measured yet and prints the ratios."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.testbed.launch import missing
from benchmarks.versus.cases import CASES
from benchmarks.versus.report import failures, machine, summary, table
from benchmarks.versus.study import Study, record

RAW = Path("docs/benchmarks/versus.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("out/versus"), help="where parts are saved")
    parser.add_argument("--write", action="store_true", help=f"also into {RAW}")
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    chosen = [case for case in CASES if not arguments.cases or case.name in arguments.cases]
    records = []
    for case in chosen:
        print(f"{case.name}: {case.what}", file=sys.stderr, flush=True)
        records.append(record(Study(case, arguments.work), arguments.launches))
        print("\n".join(table(records[-1:])), flush=True)
    print("\n".join([*table(records), "", *summary(records), "", *failures(records)]))
    if arguments.write:
        RAW.parent.mkdir(parents=True, exist_ok=True)
        RAW.write_text(json.dumps({**machine(), "cases": records}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
