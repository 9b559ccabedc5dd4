"""A concrete plan, chosen or written by hand: simulated, and priced by the formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autopart.plans import Estimate, Plan, Stage
from autopart.planner.price import Index, formula_s, price_option
from autopart.planner.problem import Choice, Part
from autopart.pricing.costs import StageCosts
from autopart.pricing.stages import interval, stage_costs
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.simulate import Timeline, simulate


@dataclass(frozen=True, eq=False)
class Score:
    """A plan as it would run. ``overfull`` is by rank: bytes at the peak, where they are more than the device has."""

    plan: Plan
    program: Program
    costs: StageCosts
    timeline: Timeline

    @property
    def step_s(self) -> float:
        return self.timeline.step_s

    @property
    def overfull(self) -> Mapping[int, int]:
        capacity = {rank: costs.capacity_bytes for (_, rank), costs in self.costs.of.items()}
        return {rank: peak for rank, peak in self.timeline.peak_bytes.items() if peak > capacity[rank]}

    @property
    def fullness(self) -> float:
        """The fullest device's peak, as a part of what it has."""
        peaks = self.timeline.peak_bytes
        return max(peaks[rank] / max(costs.capacity_bytes, 1) for (_, rank), costs in self.costs.of.items())


def score(plan: Plan, index: Index) -> Score:
    """Lower and simulate a plan that fits its model and cluster (``program.check``)."""
    program = lower(index.blocks, plan)
    costs = stage_costs(index.table, plan, index.cluster)
    return Score(plan, program, costs, simulate(program, costs, index.cluster))


def formula_step(plan: Plan, index: Index) -> float:
    """The planner's formula for a plan, whoever made it: by counts of devices in groups, as the planner prices options."""
    options = [price_option(index.table, index.cluster, parts_of(stage, index), stage.recompute) for stage in plan.stages]
    choices = [Choice(*interval(index.table, stage), option) for option, stage in enumerate(plan.stages)]
    return formula_s(options, choices, plan.schedule.microbatches)


def parts_of(stage: Stage, index: Index) -> tuple[Part, ...]:
    """The stage's ranks by group."""
    rows: dict[int, list[int]] = {}
    for rank, share in zip(stage.ranks, stage.shares, strict=True):
        rows.setdefault(index.cluster.ranks[rank].group, []).append(share)
    return tuple(Part(group, tuple(rows[group])) for group in sorted(rows))


def estimate(scored: Score, index: Index, lower_bound_s: float = 0.0) -> Estimate:
    """What to say of a plan; without a solver's bound the lower bound is 0 and the gap 1."""
    formula = formula_step(scored.plan, index)
    return Estimate(
        step_time_s=scored.step_s,
        formula_s=formula,
        lower_bound_s=lower_bound_s,
        gap=max(0.0, (formula - lower_bound_s) / formula) if formula else 0.0,
        schedule_bound_s=schedule_bound_s(scored.program, scored.costs),
        breakdown=dict(scored.timeline.breakdown),
        peak_bytes=dict(sorted(scored.timeline.peak_bytes.items())),
    )


def schedule_bound_s(program: Program, costs: StageCosts) -> float:
    """No execution of the schedule is faster: max over stages of (time of the stages before it + M x its own).

    Before a stage's first forward the stages whose values it reads must have run one, and after its last backward
    they run theirs; of several replicas the fastest counts. Messages and gradient sums are not counted.
    """
    before_s = {False: [0.0] * len(program.stages), True: [0.0] * len(program.stages)}
    for transfer in sorted(program.transfers, key=lambda transfer: transfer.target):
        for backward in (False, True) if transfer.differentiable else (False,):
            reached = before_s[backward]
            fastest = min(_rank_s(costs, transfer.source, rank, backward) for rank in program.stages[transfer.source].ranks)
            reached[transfer.target] = max(reached[transfer.target], reached[transfer.source] + fastest)
    return max(
        before_s[False][stage.index]
        + before_s[True][stage.index]
        + program.microbatches
        * max(sum(_rank_s(costs, stage.index, rank, back) for back in (False, True)) for rank in stage.ranks)
        for stage in program.stages
    )


def _rank_s(costs: StageCosts, stage: int, rank: int, backward: bool) -> float:
    own = costs.of[stage, rank]
    return own.backward_s if backward else own.forward_s
