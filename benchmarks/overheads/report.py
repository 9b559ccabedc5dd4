"""The tables of docs/benchmarks.md from the raw data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.overheads.cases import OURS
from benchmarks.versus.report import spread

Record = Mapping[str, Any]


def ratios(record: Record, other: str, clock: str) -> list[float]:
    """How many times as long as another's a step of ours takes, launch by launch: the median of its turns, each beside the
    other's of the same turn. None of a launch that failed.
    """
    good = [launch for launch in record["launches"] if not failures(launch)]
    return [
        median(own / theirs for own, theirs in zip(launch[OURS][clock], launch[other][clock], strict=True)) for launch in good
    ]


def failures(launch: Record) -> dict[str, str]:
    """Why what failed did, by contender; "" is the launch itself."""
    if "error" in launch:
        return {"": launch["error"]}
    return {name: found["error"] for name, found in launch.items() if "error" in found}


def tables(parts: Sequence[Record]) -> list[str]:
    """Markdown of all parts that there are, each under a line that says what it is."""
    kinds = [
        ("modules", "One process, a package beside the original model: ours / theirs, median and range over launches.", steps),
        ("compiled", "The same, both under `torch.compile`.", steps),
        ("pipelines", "Pipelines, 1F1B with the same cuts: ours / theirs.", steps),
        ("startup", "From the command to the first step, two processes.", commands),
        ("imports", "Imports, until the process ends.", commands),
    ]
    lines: list[str] = []
    for name, what, draw in kinds:
        chosen = [record for record in parts if record["part"] == name]
        lines += [what, "", *draw(chosen), ""] if chosen else []
    return lines


def steps(records: Sequence[Record]) -> list[str]:
    """A row for every case and other contender."""
    heads = ("case", "beside", "its processor time, ms", "processor time", "wall clock")
    return [*_head(heads), *(row for record in records for row in _rows(record))]


def _rows(record: Record) -> Iterator[str]:
    stages = f", {record['stages']} stages" if record["stages"] > 1 else ""
    case = f"{record['model']}, {record['batch_size']} samples{stages}"
    for failed in ([(name, why) for launch in record["launches"] for name, why in failures(launch).items()])[:1]:
        yield f"| {case} | {failed[0] or 'all'} | failed: {failed[1].strip().splitlines()[0]} | | |"
    good = [launch for launch in record["launches"] if not failures(launch)]
    for other in [name for launch in good[:1] for name in launch if name != OURS]:
        busy = median(value for launch in good for value in launch[other]["cpu_s"]) * 1e3
        found = [spread(ratios(record, other, clock)) for clock in ("cpu_s", "wall_s")]
        yield f"| {case} | {other} | {busy:.1f} | {' | '.join(found)} |"


def commands(records: Sequence[Record]) -> list[str]:
    """A row a command."""
    rows = _head(("command", "seconds", "processor seconds"))
    for record in records:
        for name in sorted(record["launches"][0], key=list(record["launches"][0]).index):
            found = [spread([value for launch in record["launches"] for value in launch[name][clock]]) for clock in CLOCKS]
            rows.append(f"| `{name}` | {' | '.join(found)} |")
        if "help_imports_torch" in record:
            rows += ["", f"`autopart --help` imports torch: {'yes' if record['help_imports_torch'] else 'no'}."]
    return rows


CLOCKS = ("wall_s", "cpu_s")


def _head(heads: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
