"""Prices corrected by what was executed: on each type of device, how much longer forwards, backwards and updates took."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from autopart.cluster.cluster import Cluster
from autopart.cluster.costs import digest
from autopart.feedback.executed import Executed
from autopart.planner.meshes import Index, make_index
from autopart.planner.score import Score, score
from autopart.program.program import Kind
from autopart.report.table import table
from autopart.simulate import Timeline
from cost_models.hardware import DeviceType
from cost_models.measured import Measurements, Origin, Stretch

Seconds = dict[tuple[str, Kind], float]
KINDS = (Kind.FORWARD, Kind.BACKWARD, Kind.UPDATE)
ROUNDS, CLOSE = 12, 1e-3  # of correcting and simulating again, at most; the error of a ratio that is good enough


@dataclass(frozen=True)
class Refit:
    """Of one type: ``ratio`` is executed by simulated seconds of a computation, ``costs`` what prices it from now on."""

    ratio: Stretch
    costs: Measurements


def refit(scored: Score, ran: Executed, index: Index) -> dict[str, Refit]:
    """By type of the plan's devices. What a type did not run keeps its price.

    A backward may hold a forward that is run again, and messages, which are not stretched: so it takes several rounds.
    """
    first = ratios = _ratios(scored.timeline, ran.timeline, index.cluster)
    for _ in range(ROUNDS):
        groups = tuple(replace(group, device=_corrected(group.device, ratios)) for group in index.cluster.groups)
        cluster = replace(index.cluster, groups=groups)
        index = make_index(index.blocks, cluster, index.batch_size, index.settings, index.model)
        ratios = _ratios(score(scored.plan, index).timeline, ran.timeline, cluster)
        if all(abs(value - 1) < CLOSE for ratio in ratios.values() for value in astuple(ratio)):
            break
    costs = {group.device.name: group.device.measured for group in index.cluster.groups}
    return {name: Refit(ratio, known) for name, ratio in first.items() if (known := costs[name])}


def _ratios(simulated: Timeline, executed: Timeline, cluster: Cluster) -> dict[str, Stretch]:
    """By type, of forwards, backwards and updates."""
    expected_s, taken_s = _by_type(simulated, cluster), _by_type(executed, cluster)
    names = sorted({cluster.device(rank).name for rank in executed.seconds})
    return {name: Stretch(*(_quotient(taken_s[name, kind], expected_s[name, kind]) for kind in KINDS)) for name in names}


def _corrected(device: DeviceType, ratios: Mapping[str, Stretch]) -> DeviceType:
    if device.name not in ratios:
        return device
    known = device.measured or _nothing(device)
    stretched = replace(known, stretch=known.stretch.times(*astuple(ratios[device.name])))
    return replace(device, measured=replace(stretched, digest=digest(stretched)))


def _by_type(timeline: Timeline, cluster: Cluster) -> Seconds:
    """Of one computation, in the mean: a simulation may have fewer microbatches than were run."""
    found: Seconds = defaultdict(float)
    counts: dict[tuple[str, Kind], int] = defaultdict(int)
    for event in timeline.events:
        key = cluster.device(event.rank).name, event.action.kind
        found[key] += event.end_s - event.start_s
        counts[key] += 1
    return defaultdict(float, {key: seconds / counts[key] for key, seconds in found.items()})


def _quotient(executed_s: float, simulated_s: float) -> float:
    return executed_s / simulated_s if executed_s and simulated_s else 1.0


def _nothing(device: DeviceType) -> Measurements:
    """A type that is priced by its datasheet."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Measurements("", device, Origin(platform.processor() or platform.machine(), version("torch"), 1, when, "mean"))


def format_refits(refits: Mapping[str, Refit]) -> str:
    """A line a type."""
    rows = [("executed by simulated", "forward", "backward", "update")]
    for name, found in refits.items():
        ratio = found.ratio
        rows.append((name, f"{ratio.forward:.2f}", f"{ratio.backward:.2f}", f"{ratio.update:.2f}"))
    return table(rows) + "\n"
