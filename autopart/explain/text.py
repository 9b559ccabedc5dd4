"""An explanation in sentences with numbers, within 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_bytes, format_flops, format_seconds
from autopart.explain.bottleneck import Bottleneck, Fullness
from autopart.explain.changes import changed
from autopart.explain.explain import Explanation, WhatIf
from autopart.explain.ops import OpFacts
from autopart.explain.question import Other, same
from autopart.explain.remedies import LeftOut
from autopart.explain.sentences import ALIKE, change, counted, more, plan_text, stage_text, wrapped
from autopart.plans import Plan
from autopart.report.table import table
from autopart.report.text import device_names, ranges

FULL = 0.9  # of what a device has to use
SLOW = 1.05  # times the seconds of the fastest device


def format_explanation(found: Explanation, plan: Plan, cluster: Cluster) -> str:
    """The sections that there are."""
    sections: list[tuple[str, Iterable[str]]] = []
    own = Other("this plan", found.step_time_s, "", plan, plan.estimate.breakdown if plan.estimate else None)
    there = changed(cluster, found.what_if.changes) if found.what_if else cluster
    if found.bottleneck:
        sections += [
            ("What bounds the step", _bottleneck(found.bottleneck, plan, cluster)),
            ("The next-best plan", _found(found, own, cluster)),
            ("Instead", [_table(found.baselines, found.step_time_s)]),
            ("What would help", _remedies(found)),
        ]
        if found.left_out:
            sections.append(("Left out", (_left_out(each, own, cluster) for each in found.left_out)))
    if found.what_if:
        sections.append((f"What if {found.what_if.best.name}", _what_if(found.what_if, own, there)))
    sections += [(f"Why not {each.name}", _why_not(each, found.there or own, there)) for each in found.why_not]
    if found.ops:
        sections.append(("Layouts and costs", _ops(found.ops)))
    pins = "".join(f", {name}={value}" for name, value in found.pins.items())
    head = f"{plan.model.path or 'a model'} over {plan.cluster.path}: a step of {format_seconds(found.step_time_s)}{pins}"
    return "\n\n".join([head, *("\n".join([title, *map(wrapped, lines)]) for title, lines in sections)]) + "\n"


def _bottleneck(found: Bottleneck, plan: Plan, cluster: Cluster) -> Iterator[str]:
    step_s, stage = sum(found.breakdown.values()), plan.stages[found.stage]
    yield (
        f"Stage {found.stage} bounds it, {stage_text(plan, found.stage, cluster)}: rank {found.rank} computes "
        f"{format_seconds(found.busy_s)} of {format_seconds(step_s)}, {found.busy_s / step_s:.1%}, for "
        f"{counted(plan.schedule.microbatches, 'microbatch', 'microbatches')} of {counted(stage.share_of(found.rank), 'sample')}."
    )
    parts = [f"{cause} {format_seconds(seconds)}" for cause, seconds in found.breakdown.items() if seconds > 0]
    yield f"The rank that waits least: {', '.join(parts)}."
    gains = [each for each in found.faster if each.step_time_s < step_s * (1 - ALIKE)]
    if gains:
        told = "; ".join(f"{each.change}: {more(each.step_time_s, step_s)}" for each in gains)
        yield f"One thing faster, with the plan as it is: {told}."
    nothing = [each.change for each in found.faster if each not in gains]
    if nothing:
        yield f"Changes nothing, with the plan as it is: {'; '.join(nothing)}."
    full = any(each.peak_bytes >= FULL * each.capacity_bytes for each in found.memory)
    yield f"Memory {'is tight' if full else 'does not bind'}: " + "; ".join(map(_fullness, found.memory)) + "."


def _fullness(each: Fullness) -> str:
    part = each.peak_bytes / max(each.capacity_bytes, 1)
    of = f"{format_bytes(each.peak_bytes)} of the {format_bytes(each.capacity_bytes)} that it has to use, {part:.0%}"
    return f"{each.device}, fullest is rank {each.rank} with {of}"


def _found(found: Explanation, own: Other, cluster: Cluster) -> Iterator[str]:
    if found.next_best is None:
        yield "There is no other that fits."
        return
    seconds = found.next_best.step_time_s or 0.0
    if seconds < found.step_time_s * (1 - ALIKE):
        yield f"A better plan than this one was found: {_against(found.next_best, own, cluster)}"
    else:
        yield f"Of the others that the search found the best: {_against(found.next_best, own, cluster)}"


def _against(each: Other, own: Other, cluster: Cluster) -> str:
    """Another plan's step beside this one's, what it does on the cluster, and where the difference comes from."""
    assert each.plan is not None, "a plan that there is has a step"
    seconds = each.step_time_s or 0.0
    where = _difference(each.breakdown or {}, own.breakdown or {})
    return f"{more(seconds, own.step_time_s or 0.0)}. {plan_text(each.plan, cluster)}." + (f" {where}" if where else "")


def _difference(theirs: Mapping[str, float], ours: Mapping[str, float]) -> str:
    """Of the ranks that wait least."""
    if not ours:
        return ""
    changes = {cause: theirs.get(cause, 0.0) - ours.get(cause, 0.0) for cause in ours}
    least = 0.001 * sum(ours.values())
    told = sorted((cause for cause in changes if abs(changes[cause]) > least), key=lambda cause: -abs(changes[cause]))
    parts = [f"{format_seconds(abs(changes[c]))} {'more' if changes[c] > 0 else 'less'} {c}" for c in told]
    return f"On the rank that waits least: {', '.join(parts)}." if parts else ""


def _table(rows: Iterable[Other], step_s: float) -> str:
    cells = [("plan", "step", "x this plan")]
    for each in rows:
        if each.step_time_s is None:
            cells.append((each.name, "-", each.infeasible))
        else:
            cells.append((each.name, format_seconds(each.step_time_s), f"{each.step_time_s / step_s:.2f}"))
    return table([*cells])


def _remedies(found: Explanation) -> Iterator[str]:
    """Planned again for each; what helps most first, what does not at the end."""
    base = _base(found)
    if base < found.step_time_s:
        yield f"Beside the best plan for the cluster as it is, {format_seconds(base)}:"
    helps = [each for each in found.remedies if each.step_time_s is not None and each.step_time_s < base * (1 - ALIKE)]
    if helps:
        best = [(each.name, format_seconds(each.step_time_s or 0.0), change(each.step_time_s or 0.0, base)) for each in helps]
        yield table([("planned again for", "step", "change"), *best])
    nothing = [each.name for each in found.remedies if each not in helps]
    if nothing:
        yield f"No help: {'; '.join(nothing)}."


def _base(found: Explanation) -> float:
    """The best step for the cluster as it is."""
    known = [found.step_time_s, found.next_best.step_time_s if found.next_best else None]
    return min(seconds for seconds in known if seconds is not None)


def _left_out(each: LeftOut, own: Other, cluster: Cluster) -> str:
    devices = device_names(each.ranks, cluster)
    slow = f", {each.slowness:.2g} times as slow as the fastest" if each.slowness > SLOW else ""
    head = f"{devices} (rank {ranges(each.ranks)}{slow}):"
    if each.best.step_time_s is None:
        return f"{head} {each.best.infeasible}."
    return f"{head} the best plan that uses one of them takes {_against(each.best, own, cluster)}"


def _what_if(what: WhatIf, own: Other, cluster: Cluster) -> Iterator[str]:
    if what.kept is None:
        yield "The plan as it is needs a device that is then gone."
    elif what.overfull is not None:
        rank, peak, capacity = what.overfull
        needs = f"{format_bytes(peak)} on rank {rank}, which has {format_bytes(capacity)} to use"
        yield f"The plan as it is does not fit: it needs {needs}."
    else:
        yield f"The plan as it is fits and takes {more(what.kept.step_time_s or 0.0, own.step_time_s or 0.0)}."
    if what.best.step_time_s is None or what.best.plan is None:
        yield "No plan fits then."
    elif what.kept and what.kept.plan and same(what.best.plan, what.kept.plan):
        yield "No better plan was found for that."
    else:
        yield f"The best plan for that takes {_against(what.best, own, cluster)}"


def _why_not(each: Other, own: Other, cluster: Cluster) -> Iterator[str]:
    if each.step_time_s is None or each.plan is None:
        yield f"It can't be done: {each.infeasible}."
    elif own.plan and same(each.plan, own.plan):
        yield "That is this plan."
        if each.name.startswith("rank"):
            yield _rank(int(each.name.split()[1]), own.plan)
    else:
        yield f"The best of that kind takes {_against(each, own, cluster)}"


def _rank(rank: int, plan: Plan) -> str:
    stage = next(stage for stage in plan.stages if rank in stage.ranks)
    return f"Rank {rank} is in stage {stage.index}, with {counted(stage.share_of(rank), 'sample')} of every microbatch."


def _ops(facts: Iterable[OpFacts]) -> Iterator[str]:
    """A table of what ops cost; the layouts of each where its replica has columns."""
    every = list(facts)
    costed = [each for each in every if each.forward_s]
    if costed:
        rows = [("op", "stage", "forward, backward", "flops", "layout")]
        for each in costed:
            pairs = [
                f"{format_seconds(s)}, {format_seconds(each.backward_s[d])} ({_on(each, d)})" for d, s in each.forward_s.items()
            ]
            layout = each.ways[0].layout if each.ways else "-"
            flops = format_flops(each.flops).removesuffix("/s") if each.flops else "-"
            rows.append((each.name, str(each.stage), "; ".join(pairs), flops, layout))
        yield table([*rows]) + "\n"
    for each in every:
        if len(each.ways) > 1 or not each.forward_s:
            yield from _layouts(each)


def _on(each: OpFacts, device: str) -> str:
    """The device, and where the price comes from if not from its datasheet."""
    model = each.priced.get(device, "analytic")
    return device if model == "analytic" else f"{device}, {model}"


def _layouts(each: OpFacts) -> Iterator[str]:
    if not each.ways:
        yield f"{each.name} is whole in stage {each.stage}: a replica there is one device."
        return
    base = each.ways[0].seconds
    rows = [(way.layout, format_seconds(way.seconds), change(way.seconds, base)) for way in each.ways[1:]]
    chosen = (each.ways[0].layout, format_seconds(base), "chosen")
    what = "a microbatch of the whole model on its columns, where it lies so and all else is best"
    yield f"{each.name} in stage {each.stage}: {what}"
    yield table([("layout", "takes", ""), chosen, *rows])
