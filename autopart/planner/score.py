"""A concrete plan, chosen or written by hand: simulated, and priced by the formula."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autopart.cluster.cluster import Cluster
from autopart.planner.memory import price_ties
from autopart.planner.meshes import Index
from autopart.planner.packing import closest
from autopart.planner.price import price_option, with_routes
from autopart.planner.problem import Choice, Part, Setting, Tie, step_s
from autopart.plans import Estimate, Plan, Proof, Stage
from autopart.pricing.costs import StageCosts
from autopart.pricing.stages import interval, stage_costs
from autopart.program.lower import outline
from autopart.program.program import Program
from autopart.simulate import Timeline, play

ACTIONS = 8192  # forwards beyond which a step is simulated with fewer microbatches


@dataclass(frozen=True, eq=False)
class Score:
    """A plan as it would run. ``program``, which has no lists, and ``timeline`` have fewer microbatches than the plan where it
    has very many; ``step_s`` and ``breakdown`` are of all of them.
    """

    plan: Plan
    program: Program
    costs: StageCosts
    timeline: Timeline
    step_s: float
    breakdown: Mapping[str, float]

    @property
    def overfull(self) -> Mapping[int, int]:
        """Peak bytes of the ranks that have less."""
        capacity = {rank: costs.capacity_bytes for (_, rank), costs in self.costs.of.items()}
        return {rank: peak for rank, peak in self.timeline.peak_bytes.items() if peak > capacity[rank]}

    @property
    def busy_s(self) -> Mapping[int, float]:
        """What each rank works in a step: its microbatches, what gradient sums add to them, and the update."""
        more = self.plan.schedule.microbatches / self.program.microbatches
        each = sorted(self.timeline.seconds.items())
        return {
            rank: (causes["forward"] + causes["backward"]) * more + causes["reduce"] + causes["update"] for rank, causes in each
        }

    @property
    def fullness(self) -> float:
        """The fullest device's peak, as a part of what it has."""
        peaks = self.timeline.peak_bytes
        return max(peaks[rank] / max(costs.capacity_bytes, 1) for (_, rank), costs in self.costs.of.items())


def score(plan: Plan, index: Index) -> Score:
    """Simulate a plan that fits its model and cluster (``program.check``)."""
    index = index.under(plan)
    local, tables = index.tables_of(plan)
    costs = stage_costs(tables, local.plan, index.cluster, local.shards)
    fewer = _enough(plan)
    program = outline(local.blocks, _with_microbatches(local.plan, fewer), local.shards)
    timeline = play(program, costs, index.cluster)
    if fewer == plan.schedule.microbatches:
        return Score(plan, program, costs, timeline, timeline.step_s, timeline.breakdown)
    base = outline(local.blocks, _with_microbatches(local.plan, fewer - fewer // 4), local.shards)
    step_s, breakdown = _continued(timeline, play(base, costs, index.cluster), plan.schedule.microbatches, fewer)
    return Score(plan, program, costs, timeline, step_s, breakdown)


def _enough(plan: Plan) -> int:
    """All microbatches; or, of very many, so many that a quarter of them runs in the steady state, where each adds as much
    as the last one, and that memory has reached its peak (which GPipe only does with all of them).
    """
    if plan.schedule.name == "gpipe":
        return plan.schedule.microbatches
    ranks = sum(len(stage.ranks) for stage in plan.stages)
    return min(plan.schedule.microbatches, max(4 * len(plan.stages), ACTIONS // ranks, 8))


def _with_microbatches(plan: Plan, microbatches: int) -> Plan:
    schedule = replace(plan.schedule, microbatches=microbatches)
    return replace(plan, batch_size=plan.microbatch_size * microbatches, schedule=schedule)


def _continued(longer: Timeline, shorter: Timeline, microbatches: int, fewer: int) -> tuple[float, dict[str, float]]:
    """Step and breakdown at ``microbatches``, on the line through two simulations in the steady state."""
    ratio = (microbatches - fewer) / (fewer // 4)
    rank = min(longer.idle_s, key=lambda rank: (longer.idle_s[rank], rank))
    more, less = longer.seconds[rank], shorter.seconds[rank]
    step_s = longer.step_s + ratio * (longer.step_s - shorter.step_s)
    return step_s, {cause: more[cause] + ratio * (more[cause] - less[cause]) for cause in more}


def formula_step(plan: Plan, index: Index) -> float:
    """The planner's formula for a plan, whoever made it: by counts of devices in groups, as the planner prices options."""
    setting, choices, _ = _by_formula(plan, index)
    return step_s(setting, choices)


def formula_fullness(plan: Plan, index: Index) -> float:
    """The fullest device's bytes by the planner's formula, as a part of what it has. The formula counts rather too much: all
    gradients from the start, and what the largest block needs as if it ran while everything is kept.
    """
    setting, choices, index = _by_formula(plan, index)
    ties = price_ties(index.table)
    return max(_fullness(setting, choice, position, ties) for position, choice in enumerate(reversed(choices), start=1))


def _fullness(setting: Setting, choice: Choice, position: int, ties: Sequence[Tie]) -> float:
    """Of a stage at a position counted from the end, 1 for the last."""
    option, blocks = setting.options[choice.option], slice(choice.start, choice.stop)
    assert option.output_bytes is not None, "an option priced here says what a stage keeps of its results"
    in_flight = setting.microbatches if setting.schedule == "gpipe" else min(setting.microbatches, position)
    inside = (choice.start <= tie.first and tie.second < choice.stop for tie in ties)
    shared = sum(nbytes for nbytes, counts in zip(option.saved_bytes(ties), inside, strict=True) if counts)
    kept = option.inflight_bytes[:, blocks].sum(axis=1) + option.output_bytes[:, choice.stop]
    needed = (
        option.static_bytes[:, blocks].sum(axis=1) - shared + in_flight * kept + option.transient_bytes[:, blocks].max(axis=1)
    )
    return float((needed / np.maximum(option.capacity_bytes, 1)).max())


def _by_formula(plan: Plan, index: Index) -> tuple[Setting, list[Choice], Index]:
    """The plan as a pipeline of a setting that has its stages as options, and the order of blocks that it follows."""
    index = index.under(plan)
    options = [
        price_option(index.mesh_of(stage), index.cluster, parts_of(stage, index), stage.recompute, stage.zero)
        for stage in plan.stages
    ]
    choices = [Choice(*interval(index.table, stage), option) for option, stage in enumerate(plan.stages)]
    return with_routes(index, plan.schedule.name, plan.schedule.microbatches, options), choices, index


def parts_of(stage: Stage, index: Index) -> tuple[Part, ...]:
    """The stage's replicas by group; joined where all have their columns in several groups in one way. Of other stages a replica
    with columns in several groups counts in each: the slowest of them sets its pace.
    """
    teams = {tuple(index.cluster.ranks[rank].group for rank in stage.replica(n)) for n in range(stage.data)}
    team = min(teams)
    if len(teams) == 1 and len(set(team)) > 1:
        return _joined(stage, team, index.cluster)
    rows: dict[int, list[int]] = {}
    for replica, share in enumerate(stage.shares):
        for group in {index.cluster.ranks[rank].group for rank in stage.replica(replica)}:
            rows.setdefault(group, []).append(share)
    return tuple(_spread(Part(group, tuple(rows[group]), stage.tensor), stage, index.cluster) for group in sorted(rows))


def _joined(stage: Stage, team: tuple[int, ...], cluster: Cluster) -> tuple[Part, ...]:
    """Of replicas whose columns are in these groups."""
    weights = stage.tensor_shares or (1,) * stage.tensor
    of = {group: tuple(w for other, w in zip(team, weights, strict=True) if other == group) for group in sorted(set(team))}
    return tuple(_spread(Part(group, stage.shares, len(own), own), stage, cluster) for group, own in of.items())


def _spread(part: Part, stage: Stage, cluster: Cluster) -> Part:
    """The part, with its nodes where these are more than it takes. A replica that is over several nodes counts on the first."""
    own = [[rank for rank in stage.replica(n) if cluster.ranks[rank].group == part.group] for n in range(stage.data)]
    nodes = tuple(sorted(Counter(cluster.ranks[ranks[0]].node for ranks in own if ranks).values(), reverse=True))
    return part if nodes == closest(part, cluster.groups[part.group].devices_per_node) else replace(part, nodes=nodes)


def estimate(scored: Score, index: Index, lower_bound_s: float = math.nan, proof: Proof | None = None) -> Estimate:
    """What to say of a plan; without a solver's bound there is no gap (both are NaN)."""
    formula = formula_step(scored.plan, index)
    return Estimate(
        step_time_s=scored.step_s,
        formula_s=formula,
        lower_bound_s=lower_bound_s,
        gap=max((formula - lower_bound_s) / formula, 0.0),  # this order keeps a NaN
        schedule_bound_s=schedule_bound_s(scored.program, scored.costs, scored.plan.schedule.microbatches),
        breakdown=dict(scored.breakdown),
        peak_bytes=dict(sorted(scored.timeline.peak_bytes.items())),
        busy_s=dict(scored.busy_s),
        proof=proof,
    )


def schedule_bound_s(program: Program, costs: StageCosts, microbatches: int) -> float:
    """No execution of the schedule is faster: max over stages of (time of the stages before it + M x its own).

    Before a stage's first forward the stages whose values it reads must have run one, and after its last backward
    they run theirs; of several replicas the fastest counts. Messages and gradient sums are not counted, but for collectives
    between columns, for which everybody waits.
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
        + microbatches * max(sum(_rank_s(costs, stage.index, rank, back) for back in (False, True)) for rank in stage.ranks)
        for stage in program.stages
    )


def _rank_s(costs: StageCosts, stage: int, rank: int, backward: bool) -> float:
    own = costs.of[stage, rank]
    return (own.backward_s if backward else own.forward_s) - own.beside_s[backward]
