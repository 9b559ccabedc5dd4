"""A step as it was executed beside its simulation: where the error comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from autopart.cluster.cluster import Cluster
from autopart.cluster.units import format_seconds
from autopart.feedback.executed import OTHER, Executed
from autopart.planner.score import Score
from autopart.report.table import table

GROUPS: Mapping[str, tuple[str, ...]] = {
    "compute": ("forward", "backward", "update"),
    "transfer": ("transfer",),
    "wait": ("bubble",),
    "sum gradients": ("reduce",),
    OTHER: (OTHER,),
}
"""Causes as they are reported; ``OTHER`` is in no simulation: reading the batch, what the loop does between steps."""

SHOWN_RANKS = 16


@dataclass(frozen=True)
class Comparison:
    """``simulated`` and ``executed`` are seconds by rank and group of causes; every rank's executed ones sum to its step."""

    simulated_s: float
    executed_s: float
    steps_s: tuple[float, ...]
    simulated: Mapping[int, Mapping[str, float]]
    executed: Mapping[int, Mapping[str, float]]

    @property
    def error(self) -> float:
        """Of the simulated step, as a part of the executed one; positive: it ran faster than simulated."""
        return self.simulated_s / self.executed_s - 1

    def off_s(self, cause: str) -> float:
        """Mean over ranks of simulated less executed seconds."""
        return fmean(self.simulated[rank][cause] - self.executed[rank][cause] for rank in self.executed)


def compare(scored: Score, ran: Executed) -> Comparison:
    """Of one plan. The simulation has all of its microbatches where the plan is small enough to be run here."""
    timeline = scored.timeline
    return Comparison(
        scored.step_s,
        ran.timeline.step_s,
        ran.steps_s,
        {rank: _grouped({**timeline.seconds[rank], OTHER: 0.0}) for rank in ran.timeline.seconds},
        {rank: _grouped(seconds) for rank, seconds in ran.timeline.seconds.items()},
    )


def _grouped(seconds: Mapping[str, float]) -> dict[str, float]:
    return {group: sum(seconds[cause] for cause in causes) for group, causes in GROUPS.items()}


def format_comparison(found: Comparison, cluster: Cluster) -> str:
    """For a terminal: the step, then each cause on each rank as simulated > executed."""
    steps = f"median of {len(found.steps_s)} steps, {format_seconds(min(found.steps_s))} to {format_seconds(max(found.steps_s))}"
    lines = [
        f"step      {format_seconds(found.simulated_s)} simulated, {format_seconds(found.executed_s)} executed ({steps})",
        f"error     {found.error:+.1%} of the executed step",
    ]
    worst = max(GROUPS, key=lambda cause: abs(found.off_s(cause)))
    off_s = found.off_s(worst)
    sign = "less" if off_s < 0 else "more"
    lines.append(f"cause     mostly {worst}: {format_seconds(abs(off_s))} {sign} simulated than executed, mean of ranks")
    rows = [("rank", "device", *GROUPS)]
    for rank in sorted(found.executed)[:SHOWN_RANKS]:
        pairs = [f"{_ms(found.simulated[rank][cause])} > {_ms(found.executed[rank][cause])}" for cause in GROUPS]
        rows.append((str(rank), cluster.device(rank).name, *pairs))
    left = len(found.executed) - SHOWN_RANKS
    more = f"\nand {left} ranks more\n" if left > 0 else "\n"
    return "\n".join(lines) + "\n\nsimulated > executed, ms\n" + table(rows) + more


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def comparison_data(found: Comparison) -> dict[str, object]:
    """As JSON."""
    return {
        "step_simulated_s": found.simulated_s,
        "step_executed_s": found.executed_s,
        "steps_s": list(found.steps_s),
        "error": found.error,
        "simulated_s": {str(rank): dict(seconds) for rank, seconds in found.simulated.items()},
        "executed_s": {str(rank): dict(seconds) for rank, seconds in found.executed.items()},
    }
