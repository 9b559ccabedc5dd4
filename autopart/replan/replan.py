"""A plan for a cluster that has changed: as fast as can be, and of plans about as fast the one that moves the fewest bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from autopart.cluster.cluster import Cluster
from autopart.planner.best import Progress, best_plan
from autopart.planner.meshes import Index
from autopart.planner.score import Score, score
from autopart.planner.strategies import Pins
from autopart.plans import Plan
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.program.state import State, state_of
from autopart.replan.arrange import arranged
from autopart.replan.devices import same_devices
from autopart.replan.inherit import inherited
from autopart.replan.moves import moves_of
from autopart.replan.overlap import moved_bytes, shares
from autopart.tensor.plan import local_plan

STAY = 0.02


@dataclass(frozen=True, eq=False)
class Before:
    """A plan on its cluster, the state that its ranks have, and which of them (values) are ranks of the new cluster (keys)."""

    plan: Plan
    cluster: Cluster
    state: State
    same: Mapping[int, int]


def make_before(plan: Plan, cluster: Cluster, index: Index) -> Before:
    """Of a plan that fits the model and the cluster that it was made for; ``index`` is of the new cluster."""
    local = local_plan(index.under(plan).table, plan, cluster)
    program = lower(local.blocks, local.plan, local.shards)
    return Before(plan, cluster, _state(program, index), same_devices(cluster, index.cluster))


def replan(
    before: Before,
    index: Index,
    pins: Pins,
    schedule: str,
    *,
    stay: float = STAY,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    progress: Progress | None = None,
) -> Plan:
    """The plan for the cluster of ``index``, at most ``1 + stay`` times as slow as the fastest that was found, and what moves."""
    known = inherited(before.plan, before.cluster, before.same, index.under(before.plan))
    plan = best_plan(
        index,
        pins,
        schedule,
        gap=gap,
        time_limit_s=time_limit_s,
        progress=progress,
        known=known,
        pick=lambda scores: stillest(scores, before, index, stay),
    )
    after = _state(score(plan, index).program, index)
    clusters = before.cluster, index.cluster
    return replace(plan, moves=moves_of(plan, before.plan, (before.state, after), clusters, before.same, index.blocks))


def stillest(scores: Sequence[Score], before: Before, index: Index, stay: float) -> Score:
    """Of plans about as fast as the fastest, each on the ranks that suit it best, the one that moves least; then the fastest."""
    limit_s = (1 + stay) * min(scored.step_s for scored in scores)
    near = [scored for scored in scores if scored.step_s <= limit_s]
    options = [option for scored in near for option in _ways(scored, before, index) if option.step_s <= limit_s]
    return min(options, key=lambda option: (moved_bytes(before.state, _state(option.program, index), before.same), option.step_s))


def _ways(scored: Score, before: Before, index: Index) -> Iterator[Score]:
    """On the ranks that it has, and on those of an exchange among equal ones."""
    yield scored
    held = shares(before.state, _state(scored.program, index))
    other = arranged(scored.plan, held, before.same, index.cluster)
    if other != scored.plan:
        exchanged = score(other, index)
        if not exchanged.overfull:
            yield exchanged


def _state(program: Program, index: Index) -> State:
    return state_of(program, index.blocks.sharded.graph, index.settings.optimizer)
