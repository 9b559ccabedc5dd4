"""docs/benchmarks.md from the raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

OURS = "autopart"
NAIVE = ("DDP even", "even pipeline")


def ratios(record: Mapping[str, Any], family: str) -> list[float]:
    """How many times as long as ours a contender takes, launch by launch of those in which it ran."""
    both = zip(record["steps_s"][family], record["steps_s"][OURS], strict=True)
    return [theirs / own for theirs, own in both if theirs is not None]


def ran(record: Mapping[str, Any]) -> Mapping[str, Sequence[float]]:
    """Seconds by contender, of those that ran in more than half of the launches."""
    seconds = {family: [each for each in steps_s if each is not None] for family, steps_s in record["steps_s"].items()}
    return {family: found for family, found in seconds.items() if 2 * len(found) > len(record["steps_s"][family])}


def best_family(record: Mapping[str, Any]) -> str:
    others = {family: steps_s for family, steps_s in ran(record).items() if family != OURS}
    return min(others, key=lambda family: median(others[family]))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def failures(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines: which settings could not run, by case and reason."""
    lines = []
    for record in records:
        reasons: dict[str, list[str]] = {}
        for name, found in record["tried"].items():
            if "error" in found:
                reasons.setdefault(found["error"], []).append(name)
        for family, steps_s in sorted(record["steps_s"].items()):
            if failed := steps_s.count(None):
                when = f"in {failed} of {len(steps_s)} launches"
                reasons.setdefault(when, []).append(f"{family}, {record['settings'][family]}")
        lines += [f"* {record['case']['name']}, {reason}: {'; '.join(names)}." for reason, names in reasons.items()]
    return lines


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def summary(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines: the two claims over all cases."""
    mixed = [record for record in records if not record["case"]["uniform"]]
    lines = []
    for family in NAIVE:
        found = [median(ratios(record, family)) for record in mixed if family in ran(record)]
        lines += [f"* {family}: {_claim(found)}, mixed cases."] if found else []
    for what, chosen in (("mixed", mixed), ("uniform", [record for record in records if record["case"]["uniform"]])):
        best = [median(ratios(record, best_family(record))) for record in chosen]
        lines += [f"* The best contender of each case: {_claim(best)}, {what} cases."] if best else []
    return lines


def _claim(found: Sequence[float]) -> str:
    return f"{geometric_mean(found):.2f} times the step of ours, geometric mean of {len(found)} (at least {min(found):.2f})"


def table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: a row a case."""
    heads = ("case", "ours, ms", "simulated, ms", "best other", "its ratio to ours", *NAIVE)
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for record in records:
        best = best_family(record)
        naive = [spread(ratios(record, family)) if family in ran(record) else "-" for family in NAIVE]
        own = f"{median(record['steps_s'][OURS]) * 1e3:.0f}"
        failed = record["steps_s"][best].count(None)
        named = f"{best}, failed in {failed} of {len(record['steps_s'][best])}" if failed else best
        cells = [record["case"]["name"], own, f"{record['simulated_s'] * 1e3:.0f}", named, spread(ratios(record, best)), *naive]
        rows.append(f"| {' | '.join(cells)} |")
    return rows
