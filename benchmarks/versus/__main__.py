"""`python -m benchmarks.versus [CASE ...]`, as root: measures what is not measured yet and prints the ratios."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.pages import FOLDER, PAGE, publish
from benchmarks.testbed.launch import missing
from benchmarks.versus.cases import CASES
from benchmarks.versus.report import failures, summary, table
from benchmarks.versus.study import Study, record


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(case.name for case in CASES)}")
    parser.add_argument("--launches", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("out/versus"), help="where parts are saved")
    parser.add_argument("--write", action="store_true", help=f"also into {FOLDER} and {PAGE}")
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
    lines = [*table(records), "", *summary(records), "", *failures(records)]
    print("\n".join(lines))
    if arguments.write:
        command = " ".join(["python -m benchmarks.versus", *arguments.cases, "--write"])
        publish("versus", command, {"cases": records}, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
