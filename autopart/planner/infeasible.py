"""The answer no, with its reason in numbers and the nearest changes that help.

A change is named only after the problem was solved again with it and a plan was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from autopart.cluster.cluster import Cluster, Group
from autopart.cluster.units import format_bytes
from autopart.errors import Infeasible
from autopart.planner.choose import Solve, best_candidates
from autopart.planner.meshes import Index
from autopart.planner.price import price, propose
from autopart.planner.strategies import Pins
from autopart.plans import Settings
from cost_models.memory import OPTIMIZER_STATES, usable_bytes

MEMORY_FACTORS = (1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0)
COUNT_FACTORS = (2, 3, 4, 8, 16)


def explain(index: Index, pins: Pins, schedule: str, solve: Solve) -> Infeasible:
    """Why nothing fits, and what would help."""
    remedies = [remedy for remedy in _remedies(index, pins, schedule, solve) if remedy]
    advice = "; or ".join(remedies)
    remedy = f"What would help: {advice}." if advice else "No single change of batch size, memory or numbers of devices helps."
    return Infeasible(f"no plan fits: {reason(index)}", remedy=remedy)


def reason(index: Index) -> str:
    """The smallest need that is more than there is, else both needs against what there is."""
    table, groups = index.table, index.cluster.groups
    static, total = _static_and_total(index)
    if is_hopeless(index):
        needed, present = format_bytes(static), format_bytes(total)
        return f"parameters, gradients and optimizer state take {needed}, all devices together have {present} to use"
    largest = max(groups, key=lambda group: usable_bytes(group.device)).device
    kept = table.kept(largest, 1, recompute=True)
    needs = table.static + kept.inflight + kept.transient + kept.output[1:]
    block, most = int(needs.argmax()), usable_bytes(largest)
    what = (
        f"block {index.blocks.blocks[block].name} alone needs {format_bytes(float(needs[block]))} on one device for one sample, "
        f"of which {format_bytes(float(table.static[block]))} are parameters and their state"
    )
    has = f"the largest device ({largest.name}) has {format_bytes(most)} to use"
    if needs[block] > most:
        return f"{what}; {has}"
    return (
        f"parameters and their state take {format_bytes(static)} of {format_bytes(total)} on all devices together, but no "
        f"division into stages leaves room for activations; {what}, {has}"
    )


def is_hopeless(index: Index) -> bool:
    """Whether all devices together have no room for what somebody has to hold, whatever the plan."""
    static, total = _static_and_total(index)
    return static > total


def is_feasible(index: Index, pins: Pins, schedule: str, solve: Solve) -> bool:
    """Whether the solver finds a plan, its blocks in the traced order, whose simulated memory fits."""
    if is_hopeless(index):
        return False
    sketches = propose(index, pins, schedule)
    if not sketches:
        return False
    problem = price(index, sketches, pins)
    return bool(best_candidates(problem, solve(problem), (index,), solve))


def _static_and_total(index: Index) -> tuple[float, int]:
    """Bytes of parameters, gradients and optimizer state, which somebody has to hold whatever the plan, and of all devices."""
    groups = index.cluster.groups
    total = sum(group.devices * usable_bytes(group.device) for group in groups)
    return index.table.static_bytes(0, index.table.count), total


def _remedies(index: Index, pins: Pins, schedule: str, solve: Solve) -> Iterator[str]:
    def helps(changed: Index, pins: Pins = pins, schedule: str = schedule) -> bool:
        return is_feasible(changed, pins, schedule, solve)

    yield _without_pins(index, pins, helps)
    if schedule == "gpipe" and helps(index, pins, "1f1b"):
        yield "the schedule 1f1b, which keeps fewer microbatches"
    yield _smaller_batch(index, pins, helps)
    yield _leaner_settings(index, helps)
    yield _more_memory(index, helps)
    yield _more_devices(index, helps)


Helps = Callable[..., bool]


def _without_pins(index: Index, pins: Pins, helps: Helps) -> str:
    """The first single pin whose release helps."""
    without = {
        "stages": replace(pins, stages=None),
        "data": replace(pins, data=None),
        "microbatches": replace(pins, microbatches=None),
        "tensor": replace(pins, tensor=None),
        "zero": replace(pins, zero=None),
    }
    for name, changed in without.items():
        if changed != pins and helps(index, changed):
            return f"leave out --{name} {getattr(pins, name)}"
    return ""


def _smaller_batch(index: Index, pins: Pins, helps: Helps) -> str:
    """The largest of B/2, B/4, ... that fits."""
    samples = index.batch_size // 2
    while samples:
        fewer = replace(pins, microbatches=pins.microbatches if pins.microbatches and samples % pins.microbatches == 0 else None)
        if helps(_with(index, batch_size=samples), fewer):
            dropped = "" if fewer == pins else f" without --microbatches {pins.microbatches}"
            return f"a batch size of {samples}{dropped}"
        samples //= 2
    return ""


def _leaner_settings(index: Index, helps: Helps) -> str:
    """An optimizer with less state."""
    state = OPTIMIZER_STATES[index.settings.optimizer]
    for optimizer in ("momentum", "sgd"):
        leaner = _with(index, settings=replace(index.settings, optimizer=optimizer))
        if OPTIMIZER_STATES[optimizer] < state and helps(leaner):
            kept = OPTIMIZER_STATES[optimizer]
            return f"the optimizer {optimizer}, which keeps {kept} tensor{'s' * (kept != 1)} a parameter in place of {state}"
    return ""


def _more_memory(index: Index, helps: Helps) -> str:
    """The smallest factor, for one group's devices, that fits."""
    for factor in MEMORY_FACTORS:
        for number, group in enumerate(index.cluster.groups):
            device = replace(group.device, memory_bytes=int(group.device.memory_bytes * factor))
            if helps(_with(index, cluster=_with_group(index.cluster, number, replace(group, device=device)))):
                now = format_bytes(group.device.memory_bytes)
                return f"{format_bytes(device.memory_bytes)} on each {group.device.name} of {group.name} (now {now})"
    return ""


def _more_devices(index: Index, helps: Helps) -> str:
    """The smallest number of nodes of one group that fits."""
    for factor in COUNT_FACTORS:
        for number, group in enumerate(index.cluster.groups):
            more = replace(group, count=group.count * factor)
            if helps(_with(index, cluster=_with_group(index.cluster, number, more))):
                return f"{more.count} nodes of {group.name} ({more.devices} {group.device.name}) in place of {group.count}"
    return ""


def _with(
    index: Index, *, batch_size: int | None = None, cluster: Cluster | None = None, settings: Settings | None = None
) -> Index:
    """The same model; what is remembered of its prices holds for other clusters too, not for other settings."""
    asked, samples, table = settings or index.settings, batch_size or index.batch_size, index.table
    if (asked, samples) != (index.settings, index.batch_size):
        table = replace(table, optimizer=asked.optimizer, precision=asked.precision, batch_size=samples, _memory={})
    return replace(index, table=table, cluster=cluster or index.cluster, settings=asked)


def _with_group(cluster: Cluster, number: int, group: Group) -> Cluster:
    groups = tuple(group if i == number else other for i, other in enumerate(cluster.groups))
    return replace(cluster, groups=groups)
