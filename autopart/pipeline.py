"""The compiler: from a model and a cluster to a plan, from a plan to a package. Start reading here.

load        model.py, cluster.yaml         -> module, example inputs, Cluster
trace       module, example inputs, loss   -> Graph          batch symbolic
discover    Graph                          -> rows           how ops without a rule may be split, by trying
shard       Graph, rows                    -> ShardedGraph   loss and gradients are sums over ranks and microbatches
group       ShardedGraph                   -> Blocks         between cheap cuts, repeats recognised
propose     Blocks, Cluster                -> sketches       ways to run a stage
price       sketches, cost models          -> Problem        numbers only
solve       Problem                        -> Solution       candidates, lower bound
choose      Solution                       -> Plan           decoded, lowered, simulated, beside the baselines
localize    Blocks, Plan                   -> Local          ops with the layouts that columns of a stage run
lower       Local                          -> Program        one list of actions a rank
simulate    Program, costs                 -> Timeline
emit        Program                        -> Python source
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.blocks.text import format_blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.cluster.units import format_bytes, format_seconds
from autopart.codegen.emit import Notes, emit
from autopart.debug import COSTS, after, made, note
from autopart.errors import Infeasible, PlanError
from autopart.explain.explain import Explanation, explain
from autopart.frontend.custom_ops import custom_ops
from autopart.frontend.discover import discover
from autopart.frontend.gate import check_trace
from autopart.frontend.load import Loaded, load
from autopart.frontend.trace import Traced, trace
from autopart.ir.digest import digest
from autopart.package import write_package
from autopart.planfile import dump_plan
from autopart.planner.best import best_plan
from autopart.planner.choose import follows
from autopart.planner.meshes import Index, make_index
from autopart.planner.score import Score, estimate, score
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Plan, Search, Settings, problem_digest
from autopart.pricing.table import BlockTable
from autopart.pricing.text import format_costs
from autopart.program.check import check_cluster, check_plan
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.program.text import format_actions
from autopart.sharding.batch import shard_batch
from autopart.tensor.localize import Local
from autopart.tensor.plan import local_plan

SEED = 0  # of the initial weights and of the example batches
Say = Callable[[str], None]


def silent(_: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user pinned, and when the solver may stop."""

    stages: int | None = None
    data: int | None = None
    microbatches: int | None = None
    schedule: str | None = None
    gap: float = 0.01
    time_limit_s: float = 60.0
    tensor: int | None = None
    zero: int | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)

    @property
    def pins(self) -> Pins:
        return Pins(self.stages, self.data, self.microbatches, self.tensor, self.zero, self.layouts)


@dataclass(frozen=True)
class Front:
    """A model, understood: the graph's blocks, and the tensors of its parameters, buffers and constants."""

    loaded: Loaded
    traced: Traced
    blocks: Blocks


@dataclass(frozen=True)
class Built:
    """A plan and all that follows from it; ``local`` is what the columns of its stages run."""

    plan: Plan
    front: Front
    cluster: Cluster
    local: Local
    program: Program


def plan_files(model: str, devices: str, *, batch_size: int, settings: Settings, limits: Limits, say: Say) -> Plan:
    """``autopart plan``."""
    cluster = load_cluster(devices)
    say("building the model")
    loaded = load(model, empty=True, precision=settings.precision)
    return decide(front_end(loaded, settings, say), cluster, batch_size, settings, limits, say)


def front_end(loaded: Loaded, settings: Settings, say: Say = silent) -> Front:
    """Trace, shard, group."""
    say("tracing")
    traced = trace(loaded)
    after("trace", traced.graph)
    check_trace(loaded, traced)
    say("following the samples through the graph")
    sharded = shard_batch(traced.graph, settings.batch_norm, discover(traced.graph))
    after("shard", sharded.graph, before=traced.graph)
    blocks = group(sharded)
    made("blocks", f"{len(blocks.blocks)} of {len({b.kind for b in blocks.blocks})} kinds", lambda: format_blocks(blocks))
    return Front(loaded, traced, blocks)


def decide(front: Front, cluster: Cluster, batch_size: int, settings: Settings, limits: Limits, say: Say = silent) -> Plan:
    """Propose, price, solve, choose."""

    def progress(incumbent_s: float, bound_s: float, elapsed_s: float) -> None:
        step, bound = format_seconds(incumbent_s), format_seconds(bound_s)
        say(f"solving: best step {step}, no plan below {bound}, {elapsed_s:.0f} s")
        note(COSTS, f"best step {step}, no plan below {bound}")

    say("pricing the ways to run a stage")
    index = make_index(front.blocks, cluster, batch_size, settings, model_ref(front))
    devices = [group.device for group in cluster.groups]
    made("costs", f"{len(front.blocks.blocks)} blocks on {len(set(devices))} types", lambda: format_costs(index.table, devices))
    schedule = limits.schedule or "1f1b"
    plan = best_plan(index, limits.pins, schedule, gap=limits.gap, time_limit_s=limits.time_limit_s, progress=progress, say=say)
    made("plan", f"{len(plan.stages)} stages, {plan.schedule.microbatches} microbatches", lambda: dump_plan(plan))
    say("")
    return plan


def build(plan: Plan, *, empty: bool = True, say: Say = silent) -> Built:
    """The plan of a file with its model traced again, checked against model and cluster, and lowered."""
    if not plan.model.path:
        raise PlanError(
            "this plan was made from a model in Python; no file is named",
            remedy="Use autopart.compile(plan, model) there, or write the model's path into the plan under model.path.",
        )
    say("building the model")
    torch.manual_seed(SEED)
    spec = f"{plan.model.path}:{plan.model.factory}"
    return build_from(plan, load(spec, empty=empty, precision=plan.settings.precision), say)


def build_from(plan: Plan, loaded: Loaded, say: Say = silent) -> Built:
    """As ``build``, for a model that is loaded already."""
    return build_on(plan, front_end(loaded, plan.settings, say), say)


def build_on(plan: Plan, front: Front, say: Say = silent) -> Built:
    """As ``build``, for a model that is understood already."""
    cluster = load_cluster(plan.cluster.path)
    check_model(plan, model_ref(front))
    check_cluster(plan, cluster)
    check_plan(plan, front.blocks, cluster)
    local = localized(plan, front, cluster)
    program = lower(local.blocks, local.plan, local.shards)
    actions = sum(map(len, program.actions.values()))
    made("program", f"{actions} actions of {len(program.actions)} ranks", lambda: format_actions(program.actions))
    say("")
    return Built(plan, front, cluster, local, program)


def localized(plan: Plan, front: Front, cluster: Cluster) -> Local:
    """What the columns of the plan's stages run."""
    settings = plan.settings
    table = BlockTable(front.blocks, settings.precision, settings.optimizer, plan.batch_size)
    return local_plan(table, plan, cluster)


def price_plan(plan: Plan, say: Say) -> Plan:
    """``autopart price``: a plan that somebody wrote or changed, with its estimate."""
    return priced(plan, index_of(build(plan, say=say)))


def explain_plan(plan: Plan, *, say: Say, **questions: Any) -> tuple[Plan, Explanation, Cluster]:
    """``autopart explain``: the plan priced, answers to ``explain.explain``'s questions, the cluster."""
    index = index_of(build(plan, say=say))
    plan = priced(plan, index)
    pins = pins_of(plan.search) if plan.search else Pins()
    pins = pins if follows(plan, pins, index.cluster) else Pins()
    found = explain(score(plan, index), index, pins, say=say, **questions)
    say("")
    return plan, found, index.cluster


@dataclass(frozen=True, eq=False)
class Compared:
    """A plan as it would run, and what priced it."""

    score: Score
    index: Index


def score_plans(plans: Sequence[Plan], say: Say) -> list[Compared]:
    """``autopart diff``: plans simulated; a model that they share is traced once."""
    fronts: dict[object, Front] = {}
    found = []
    for plan in plans:
        key = (plan.model.path, plan.model.factory, plan.settings)
        built = build_on(plan, fronts[key], say) if key in fronts else build(plan, say=say)
        fronts[key] = built.front
        index = index_of(built)
        found.append(Compared(score(priced(plan, index), index), index))
    say("")
    return found


def index_of(built: Built) -> Index:
    """What prices a plan, from its own parts."""
    plan, ref = built.plan, replace(model_ref(built.front), path=built.plan.model.path)
    return make_index(built.front.blocks, built.cluster, plan.batch_size, plan.settings, ref)


def simulated(built: Built) -> Score:
    """The plan as it would run."""
    return score(built.plan, index_of(built))


def priced(plan: Plan, index: Index) -> Plan:
    """The plan with everything filled in that follows from it; raises Infeasible where a device is too small."""
    used = {rank for stage in plan.stages for rank in stage.ranks}
    unused = tuple(each.rank for each in index.cluster.ranks if each.rank not in used)
    cluster = replace(plan.cluster, digest=index.cluster.digest)
    stages = tuple(replace(stage, data=len(stage.shares)) for stage in plan.stages)
    filled = replace(plan, model=index.model, cluster=cluster, stages=stages, unused_ranks=unused)
    if plan.search and plan.search.problem != problem_digest(filled):
        filled = replace(filled, search=None, baselines=())  # they are of another problem
    scored = score(filled, index)
    check_memory(scored)
    return replace(filled, estimate=estimate(scored, index, bound_of(filled, index)))


def bound_of(plan: Plan, index: Index) -> float:
    """The bound that was proven when the plan was made, if it speaks of this plan too; else NaN.

    It does of every plan of the problem that keeps what was pinned, whoever wrote it.
    """
    if plan.search is None:
        return float("nan")
    pins = pins_of(plan.search)
    wished = replace(index, layouts=pins.layouts)
    kept = follows(plan, pins, index.cluster) and (not pins.layouts or all(map(wished.planned_mesh, plan.stages)))
    return plan.search.lower_bound_s if kept else float("nan")


def pins_of(search: Search) -> Pins:
    """What was fixed, as a plan records it."""
    return Pins(**search.pins)


def compile_files(plan: Plan, folder: Path, say: Say = silent) -> Built:
    """``autopart compile``: the package, with initial weights and an example batch where the model has them."""
    built = build(plan, empty=False, say=say)
    say("writing")
    write_package(folder, emit_package(built), built.front.loaded, built.front.traced, plan.batch_size)
    say("")
    return built


def emit_package(built: Built) -> Mapping[str, str]:
    """Source files by name."""
    ranks = [rank for stage in built.plan.stages for rank in stage.ranks]
    notes = Notes(
        devices={rank: built.cluster.device(rank).name for rank in ranks},
        memory_bytes={rank: built.cluster.device(rank).memory_bytes for rank in ranks},
    )
    custom = custom_ops(built.front.traced.graph)
    local, whole = built.local, built.front.blocks.sharded.graph
    source = emit(built.program, local.blocks, local.plan, whole=whole, notes=notes, custom_ops=custom.places)
    return {**source, **custom.files}


def model_ref(front: Front) -> ModelRef:
    graph = front.traced.graph
    scalars = sum(parameter.value.numel(1) for parameter in graph.parameters)
    loaded = front.loaded
    return ModelRef(loaded.path, loaded.factory, digest(graph), len(front.blocks.blocks), scalars)


def check_model(plan: Plan, model: ModelRef) -> None:
    """A plan belongs to one graph; a plan written by hand names no digest."""
    if plan.model.digest not in ("", model.digest):
        raise PlanError(
            f"this plan was made for another model than {model.path or 'this one'} is now",
            remedy="Plan again; or delete model.digest from the plan if its blocks are still right.",
        )


def check_memory(scored: Score) -> None:
    """Raises Infeasible where the simulated peak of a rank is more than its device has to use."""
    for rank, peak in sorted(scored.overfull.items()):
        capacity = next(costs.capacity_bytes for (_, owner), costs in scored.costs.of.items() if owner == rank)
        raise Infeasible(
            f"rank {rank} needs {format_bytes(peak)} and has {format_bytes(capacity)} to use",
            remedy="Move blocks to another stage, give the rank fewer samples, take more microbatches, or recompute.",
        )
