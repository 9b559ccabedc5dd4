"""The compiler: from a model and a cluster to a plan, from a plan to a package. Start reading here.

load        model.py, cluster.yaml         -> module, example inputs, Cluster
            (layers.json                   -> blocks at once: see ``layers``)
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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from autopart.blocks.blocks import Blocks
from autopart.blocks.group import group
from autopart.blocks.orders import in_order
from autopart.blocks.text import format_blocks
from autopart.cluster.cluster import Cluster
from autopart.cluster.load import load_cluster
from autopart.cluster.tariffs import format_draw, tariff
from autopart.cluster.units import format_seconds
from autopart.codegen.emit import Notes, emit
from autopart.debug import COSTS, after, made, note
from autopart.explain.explain import Explanation, explain
from autopart.frontend.custom_ops import custom_ops
from autopart.frontend.discover import discover
from autopart.frontend.gate import check_trace
from autopart.frontend.load import Loaded, load
from autopart.frontend.trace import Traced, trace
from autopart.ir.digest import digest
from autopart.layers.index import LayerFront, check_layers, layer_front, make_layer_index
from autopart.layers.profile import load_layers
from autopart.package import write_package
from autopart.planfile import dump_plan
from autopart.planner.best import Progress, best_plan
from autopart.planner.choose import follows
from autopart.planner.decode import cluster_ref
from autopart.planner.meshes import Index, make_index
from autopart.planner.score import Score, estimate, score
from autopart.planner.spend import Wish, cost_again
from autopart.planner.strategies import Pins
from autopart.plans import ModelRef, Plan, Search, Settings, problem_digest
from autopart.pricing.text import format_costs
from autopart.program.check import check_cluster, check_plan, check_ranks
from autopart.program.lower import lower
from autopart.program.program import Program
from autopart.program.text import format_actions
from autopart.refused import check_memory, check_model, check_named, no_model
from autopart.replan.devices import old_cluster
from autopart.replan.replan import make_before, replan
from autopart.say import Say, silent
from autopart.sharding.batch import shard_batch
from autopart.tensor.localize import Local

SEED = 0  # of the initial weights and of the example batches


@dataclass(frozen=True, slots=True)
class Limits:
    """What the user wants minimised, what is pinned, and when the solver may stop."""

    stages: int | None = None
    data: int | None = None
    microbatches: int | None = None
    schedule: str | None = None
    gap: float = 0.01
    time_limit_s: float = 60.0
    tensor: int | None = None
    zero: int | None = None
    layouts: Mapping[str, str] = field(default_factory=dict)
    objective: str = "step"  # one of plans.OBJECTIVES
    step_limit_s: float = math.inf  # where it is not the step that is minimised
    front: bool = False  # also the least step by number of devices

    @property
    def wish(self) -> Wish:
        return Wish(self.objective, self.step_limit_s)

    @property
    def pins(self) -> Pins:
        return Pins(self.stages, self.data, self.microbatches, self.tensor, self.zero, self.layouts)


@dataclass(frozen=True)
class Front:
    """A model, understood: the graph's blocks, in the order as traced or as a plan has them, and the tensors of its parameters,
    buffers and constants.
    """

    loaded: Loaded
    traced: Traced
    blocks: Blocks


Source = Front | LayerFront
"""What is planned: a model, or layers that somebody measured."""


@dataclass(frozen=True)
class Built:
    """A plan and all that follows from it; ``local`` is what the columns of its stages run."""

    plan: Plan
    source: Source
    cluster: Cluster
    local: Local
    program: Program

    @property
    def front(self) -> Front:
        """The model; PlanError where there is none."""
        if isinstance(self.source, Front):
            return self.source
        raise no_model(self.plan)


def is_profile(path: str) -> bool:
    """Whether a plan's model is a layer profile."""
    return path.endswith(".json")


def plan_files(model: str, devices: str, *, batch_size: int, settings: Settings, limits: Limits, say: Say) -> Plan:
    """``autopart plan``."""
    cluster = load_cluster(devices)
    return decide(source_of(model, settings, say), cluster, batch_size, settings, limits, say)


def source_of(spec: str, settings: Settings, say: Say = silent, *, empty: bool = True) -> Source:
    """What a file describes: ``layers.json``, or ``model.py:factory``."""
    path = spec.partition(":")[0]
    if is_profile(path):
        say("reading the profile")
        return layer_front(load_layers(path), settings)
    say("building the model")
    return front_end(load(spec, empty=empty, precision=settings.precision), settings, say)


def front_end(loaded: Loaded, settings: Settings, say: Say = silent) -> Front:
    """Trace, shard, group."""
    say("tracing")
    traced = trace(loaded)
    after("trace", traced.graph)
    check_trace(loaded, traced)
    say("following the samples through the graph")
    sharded = shard_batch(traced.graph, settings.batch_norm, discover(traced.graph))
    after("shard", sharded.graph, before=traced.graph)
    blocks = group(sharded, settings.granularity)
    made("blocks", f"{len(blocks.blocks)} of {len({b.kind for b in blocks.blocks})} kinds", lambda: format_blocks(blocks))
    return Front(loaded, traced, blocks)


def decide(source: Source, cluster: Cluster, batch_size: int, settings: Settings, limits: Limits, say: Say = silent) -> Plan:
    """Propose, price, solve, choose."""
    say("pricing the ways to run a stage")
    index = index_for(source, cluster, batch_size, settings, model_ref(source))
    devices = [group.device for group in cluster.groups]
    made("costs", f"{len(source.blocks.blocks)} blocks on {len(set(devices))} types", lambda: format_costs(index.table, devices))
    schedule = limits.schedule or "1f1b"
    plan = best_plan(
        index,
        limits.pins,
        schedule,
        wish=limits.wish,
        with_front=limits.front,
        gap=limits.gap,
        time_limit_s=limits.time_limit_s,
        progress=solving(say, limits.objective, cluster),
        say=say,
    )
    plan = replace(plan, notes=index.notes(plan))
    made("plan", f"{len(plan.stages)} stages, {plan.schedule.microbatches} microbatches", lambda: dump_plan(plan))
    say("")
    return plan


def solving(say: Say, objective: str, cluster: Cluster) -> Progress:
    """Says how far the solver is."""
    shown = _shown(objective, cluster)

    def progress(incumbent: float, bound: float, elapsed_s: float) -> None:
        if incumbent == float("inf"):
            say(f"solving: no plan yet, none below {shown(bound)}, {elapsed_s:.0f} s")
            return
        best, gap = f"best {objective} {shown(incumbent)}", (incumbent - bound) / incumbent
        say(f"solving: {best}, none below {shown(bound)}, gap {gap:.2%}, {elapsed_s:.0f} s; Ctrl-C takes the best")
        note(COSTS, f"{best}, no plan below {shown(bound)}")

    return progress


def replan_files(plan: Plan, devices: str, *, limits: Limits, stay: float, say: Say) -> Plan:
    """``autopart replan``: the plan for another cluster, near to what the old one has on its devices."""
    cluster = load_cluster(devices)
    check_named(plan)
    old = old_cluster(plan, cluster)
    check_ranks(plan, old)
    source = source_of(_spec(plan), plan.settings, say)
    check_model(plan, model_ref(source))
    check_plan(plan, source.blocks, old)
    say("pricing")
    index = index_for(source, cluster, plan.batch_size, plan.settings, model_ref(source))
    before, schedule = make_before(plan, old, index), limits.schedule or plan.schedule.name
    gap, time_limit_s, progress = limits.gap, limits.time_limit_s, solving(say, limits.objective, cluster)
    found = replan(before, index, limits.pins, schedule, stay=stay, gap=gap, time_limit_s=time_limit_s, progress=progress)
    say("")
    return replace(found, notes=index.notes(found))


def _spec(plan: Plan) -> str:
    return f"{plan.model.path}:{plan.model.factory}"


def _shown(objective: str, cluster: Cluster) -> Callable[[float], str]:
    """How to print what is minimised."""
    if objective == "step":
        return format_seconds
    drawn = tariff(cluster, objective)
    return lambda rate_times_s: format_draw(drawn.value(rate_times_s, 1.0), drawn.unit)


def build(plan: Plan, *, empty: bool = True, say: Say = silent) -> Built:
    """The plan of a file with its model traced again, checked against model and cluster, and lowered."""
    check_named(plan)
    torch.manual_seed(SEED)
    return build_on(plan, source_of(_spec(plan), plan.settings, say, empty=empty), say)


def build_from(plan: Plan, loaded: Loaded, say: Say = silent) -> Built:
    """As ``build``, for a model that is loaded already."""
    return build_on(plan, front_end(loaded, plan.settings, say), say)


def build_on(plan: Plan, source: Source, say: Say = silent) -> Built:
    """As ``build``, for a model that is understood already."""
    cluster = load_cluster(plan.cluster.path)
    check_model(plan, model_ref(source))
    check_cluster(plan, cluster)
    check_plan(plan, source.blocks, cluster)
    if isinstance(source, LayerFront):
        check_layers(plan, source.profile, cluster)
    source = replace(source, blocks=in_order(source.blocks, plan.blocks))
    local = localized(plan, source, cluster)
    program = lower(local.blocks, local.plan, local.shards)
    actions = sum(map(len, program.actions.values()))
    made("program", f"{actions} actions of {len(program.actions)} ranks", lambda: format_actions(program.actions))
    say("")
    return Built(plan, source, cluster, local, program)


def localized(plan: Plan, source: Source, cluster: Cluster) -> Local:
    """What the columns of the plan's stages run."""
    return index_for(source, cluster, plan.batch_size, plan.settings, plan.model).tables_of(plan).local


def price_plan(plan: Plan, say: Say) -> Plan:
    """``autopart price``: a plan that somebody wrote or changed, with its estimate."""
    return priced(plan, index_of(build(plan, say=say)))


def explain_plan(
    plan: Plan, front: Front | None = None, *, say: Say = silent, **questions: Any
) -> tuple[Plan, Explanation, Cluster]:
    """``autopart explain``: the plan priced, answers to ``explain.explain``'s questions, the cluster. Traces the plan's model
    where ``front`` does not have it already.
    """
    index = index_of(build_on(plan, front, say) if front else build(plan, say=say))
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
    sources: dict[object, Source] = {}
    found = []
    for plan in plans:
        key = (plan.model.path, plan.model.factory, plan.settings)
        built = build_on(plan, sources[key], say) if key in sources else build(plan, say=say)
        sources[key] = built.source
        index = index_of(built)
        found.append(Compared(score(priced(plan, index), index), index))
    say("")
    return found


def index_of(built: Built) -> Index:
    """What prices a plan, from its own parts."""
    plan, ref = built.plan, replace(model_ref(built.source), path=built.plan.model.path)
    return index_for(built.source, built.cluster, plan.batch_size, plan.settings, ref)


def index_for(source: Source, cluster: Cluster, batch_size: int, settings: Settings, model: ModelRef) -> Index:
    """What is to be planned, with a fresh table of prices."""
    if isinstance(source, LayerFront):
        return make_layer_index(source, cluster, batch_size, settings, model)
    return make_index(source.blocks, cluster, batch_size, settings, model)


def simulated(built: Built) -> Score:
    """The plan as it would run."""
    return score(built.plan, index_of(built))


def priced(plan: Plan, index: Index) -> Plan:
    """The plan with everything filled in that follows from it; raises Infeasible where a device is too small."""
    used = {rank for stage in plan.stages for rank in stage.ranks}
    unused = tuple(each.rank for each in index.cluster.ranks if each.rank not in used)
    stages = tuple(replace(stage, data=len(stage.shares)) for stage in plan.stages)
    filled = replace(plan, model=index.model, cluster=cluster_ref(index.cluster), stages=stages, unused_ranks=unused, moves=None)
    filled = replace(filled, notes=index.notes(filled))
    if plan.search and plan.search.problem != problem_digest(filled):
        filled = replace(filled, search=None, baselines=())  # they are of another problem
    scored = score(filled, index)
    check_memory(scored)
    bound = bound_of(filled, index)
    proof = plan.estimate.proof if plan.estimate and math.isfinite(bound) else None
    own = estimate(scored, index, bound, proof)
    return replace(filled, estimate=replace(own, cost=cost_again(plan, filled, own, index)))


def bound_of(plan: Plan, index: Index) -> float:
    """The bound that was proven when the plan was made, if it speaks of this plan too; else NaN.

    It does of every plan of the problem that keeps what was pinned, whoever wrote it.
    """
    if plan.search is None:
        return math.nan
    pins = pins_of(plan.search)
    wished = replace(index, layouts=pins.layouts).under(plan)
    kept = follows(plan, pins, index.cluster) and (not pins.layouts or all(map(wished.planned_mesh, plan.stages)))
    return plan.search.lower_bound_s if kept else math.nan


def pins_of(search: Search) -> Pins:
    """What was fixed, as a plan records it."""
    return Pins(**search.pins)


def compile_files(plan: Plan, folder: Path, say: Say = silent) -> Built:
    """``autopart compile``: the package, with initial weights and an example batch where the model has them."""
    built = build(plan, empty=False, say=say)
    front = built.front
    say("writing")
    write_package(folder, emit_package(built), front.loaded, front.traced, plan.batch_size)
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


def model_ref(source: Source) -> ModelRef:
    if isinstance(source, LayerFront):
        return source.model
    graph = source.traced.graph
    scalars = sum(parameter.value.numel(1) for parameter in graph.parameters)
    loaded = source.loaded
    return ModelRef(loaded.path, loaded.factory, digest(graph), len(source.blocks.blocks), scalars)
