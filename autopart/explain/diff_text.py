"""A difference of two plans as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from textwrap import indent

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.explain.diff import Difference, Samples
from autopart.explain.sentences import change, plan_text, wrapped
from autopart.plans import Plan
from autopart.report.table import table
from autopart.report.text import block_names, device_names, ranges

COLLECTIVES = {
    "between columns": "columns",
    "between replicas, in ops": "mixing",
    "sums of gradients": "gradients",
    "parameters, for ZeRO": "gathered",
}
"""What a reader is told of ``sent.Sent``."""


def format_difference(found: Difference, plans: tuple[Plan, Plan], clusters: tuple[Cluster, Cluster]) -> str:
    """Both plans, then numbers side by side, then what moved."""
    sides = (found.before, found.after)
    heads = [
        wrapped(f"{side.name}: {plan_text(plan, cluster)}.", indent="")
        for side, plan, cluster in zip(sides, plans, clusters, strict=True)
    ]
    sections = ["\n".join(heads), table(list(_numbers(found)))]
    moved = [
        (block_names(each.blocks), _place(each.before, clusters[0]), "->", _place(each.after, clusters[1]))
        for each in found.moved
    ]
    sections.append(f"moved\n{indent(table(moved), '  ')}" if moved else "no block runs on other ranks")
    samples = [_samples(list(each)) for _, each in groupby(found.samples, key=lambda one: (one.before, one.after))]
    if samples:
        sections.append(f"samples of a step\n{indent(table(samples), '  ')}")
    return "\n\n".join(sections) + "\n"


def _numbers(found: Difference) -> Iterator[tuple[str, str, str, str]]:
    before, after = found.before, found.after
    yield ("", before.name, after.name, "change")
    yield _row("step", before.step_time_s, after.step_time_s, format_seconds)
    for cause in before.breakdown:
        yield _row(f"  {cause}", before.breakdown[cause], after.breakdown.get(cause, 0.0), format_seconds)
    yield _row("microbatches", before.microbatches, after.microbatches, "{:.0f}".format)
    yield _row("sent in a step", before.sent_bytes, after.sent_bytes, format_bytes)
    yield _row("  between stages", before.message_bytes, after.message_bytes, format_bytes)
    yield _row("    of it between nodes", before.network_bytes, after.network_bytes, format_bytes)
    for what, name in COLLECTIVES.items():
        was, now = (getattr(side.collectives, name) for side in (before, after))
        if was or now:
            yield _row(f"  {what}", was, now, format_bytes)
    for device in dict.fromkeys([*before.fullest, *after.fullest]):
        yield _row(f"fullest {device}", before.fullest.get(device, 0), after.fullest.get(device, 0), format_bytes)


def _row(name: str, before: float, after: float, text: Callable[[float], str]) -> tuple[str, str, str, str]:
    if before == after:
        changed = "="
    elif before and after:
        changed = change(after, before)
    else:
        changed = "new" if after else "gone"
    return name, text(before), text(after), changed


def _place(ranks: tuple[int, ...], cluster: Cluster) -> str:
    return f"rank {ranges(ranks)} ({device_names(ranks, cluster)})"


def _samples(alike: list[Samples]) -> tuple[str, str, str, str]:
    """Of ranks one after the other that change alike."""
    first = alike[0]
    return f"rank {ranges(tuple(each.rank for each in alike))}", str(first.before), "->", str(first.after)
