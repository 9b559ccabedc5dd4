"""The plan of a profiled graph for a terminal: what every rank carries, how good that is."""

from __future__ import annotations

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.profiled.plan import ProfilePlan, RankLoad
from autopart.report.table import bar, table
from autopart.report.text import ranges
from cost_models.memory import usable_bytes

ENDED = {
    "optimal": "optimal",
    "gap": "proven as close as was asked for",
    "time": "the time was over",
    "exhausted": "no method is left that would come closer",
    "interrupted": "interrupted",
}
MEANING = {
    "throughput": "largest load",
    "latency": "one sample through all devices",
    "step": "step",
}


def format_profile_plan(plan: ProfilePlan, cluster: Cluster) -> str:
    """The whole report, at most 100 columns wide."""
    parts = "contiguous parts" if plan.contiguous else "any parts"
    count = f", {plan.microbatches} microbatch{'es' * (plan.microbatches != 1)}" if plan.objective == "step" else ""
    title = f"{plan.profile.path} over {plan.cluster.path}: {plan.profile.ops} ops\n{plan.objective}{count}; {parts}"
    rows = [
        ("rank", "device", "ops", "load", "compute", "sent", "received", "memory"),
        *(_row(load, cluster) for load in plan.loads),
    ]
    unused = f"unused: ranks {ranges(plan.unused_ranks)}" if plan.unused_ranks else ""
    return "\n\n".join(section for section in (title, table(rows), unused, _answer(plan)) if section) + "\n"


def _row(load: RankLoad, cluster: Cluster) -> tuple[str, ...]:
    device = cluster.device(load.rank)
    has = usable_bytes(device)
    seconds = (load.compute_s + load.sent_s + load.received_s, load.compute_s, load.sent_s, load.received_s)
    memory = f"{bar(load.memory_bytes / has if has else 0.0)} {format_bytes(int(load.memory_bytes))} of {format_bytes(has)}"
    return (str(load.rank), device.name, str(load.ops), *map(format_seconds, seconds), memory)


def _answer(plan: ProfilePlan) -> str:
    bound = f"no plan is below {format_seconds(plan.lower_bound_s)}: gap {plan.gap:.1%}"
    return f"{MEANING[plan.objective]} {format_seconds(plan.value_s)}; {bound}, {ENDED[plan.ended]}"
