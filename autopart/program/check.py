"""Does a plan fit its model and its cluster? Asked of every plan, above all of those that a person wrote or edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain

from autopart.blocks.blocks import Blocks
from autopart.cluster.cluster import Cluster
from autopart.errors import PlanError
from autopart.plans import Plan, Stage, divisors
from autopart.program.schedule import SCHEDULES


def check_plan(plan: Plan, blocks: Blocks, cluster: Cluster) -> None:
    """Raise PlanError with the first thing that does not fit."""
    for error in chain(
        _schedule(plan),
        _mixing(plan, blocks),
        _stages(plan),
        chain.from_iterable(_mesh(stage, plan) for stage in plan.stages),
        _ranks(plan, cluster),
        _blocks(plan, [block.name for block in blocks.blocks]),
    ):
        raise error


def check_cluster(plan: Plan, cluster: Cluster) -> None:
    """Raise PlanError where the cluster file is not what the plan was made for, or has not the plan's ranks."""
    if plan.cluster.digest not in ("", cluster.digest):
        raise PlanError(
            f"this plan was made for another cluster than {cluster.path} describes now",
            remedy="Plan again; or delete cluster.digest from the plan if its ranks are still right.",
        )
    for error in _ranks(plan, cluster):
        raise error


def _schedule(plan: Plan) -> Iterator[PlanError]:
    schedule = plan.schedule
    if schedule.name not in SCHEDULES:
        yield PlanError(f"unknown schedule {schedule.name!r}", where="schedule", remedy=f"Take one of {', '.join(SCHEDULES)}.")
    if plan.batch_size < 1 or schedule.microbatches < 1:
        what = f"a batch of {plan.batch_size} in {schedule.microbatches} microbatches"
        yield PlanError(what, where="schedule", remedy="Both must be 1 or more.")
    elif plan.batch_size % schedule.microbatches:
        yield PlanError(
            f"a batch of {plan.batch_size} can't be cut into {schedule.microbatches} equal microbatches",
            where="schedule",
            remedy=f"Take {_nearest_divisors(plan.batch_size, schedule.microbatches)} microbatches.",
        )


def _nearest_divisors(number: int, wish: int) -> str:
    possible = divisors(number)
    below = max(n for n in possible if n <= max(wish, 1))
    above = min((n for n in possible if n >= wish), default=below)
    return " or ".join(str(n) for n in sorted({below, above}))


def _mixing(plan: Plan, blocks: Blocks) -> Iterator[PlanError]:
    sharded = blocks.sharded
    if sharded.mixing and plan.schedule.microbatches > 1:
        first = sharded.mixing[0]
        yield PlanError(
            f"{plan.schedule.microbatches} microbatches, but the model mixes samples: {first.reason}",
            where=first.source or first.module or first.op,
            remedy="Set schedule.microbatches to 1.",
        )
    if any(source.batch_dim is not None for source in sharded.graph.inputs):
        return
    if plan.schedule.microbatches > 1:
        what = f"{plan.schedule.microbatches} microbatches, but no input has a batch dim"
        yield PlanError(what, where="schedule", remedy="Set schedule.microbatches to 1.")
    for stage in plan.stages:
        if len(stage.ranks) > 1:
            what = f"{len(stage.ranks)} replicas, but no input has a batch dim to share out"
            yield PlanError(what, where=_where(stage), remedy="Give the stage one rank; more stages use more ranks.")


def _stages(plan: Plan) -> Iterator[PlanError]:
    if not plan.stages:
        yield PlanError("no stage", where="stages", remedy="One stage with all blocks on rank 0 is a plan.")
    for position, stage in enumerate(plan.stages):
        if stage.index != position:
            what = f"index {stage.index} at position {position}"
            yield PlanError(what, where=_where(stage), remedy="Number the stages 0, 1, ... in order.")
        if not stage.blocks:
            yield PlanError("has no blocks", where=_where(stage), remedy="Leave the stage out, and its ranks unused.")


def _mesh(stage: Stage, plan: Plan) -> Iterator[PlanError]:
    """One rank and one positive share a replica; what this version does not do is refused."""
    if stage.tensor != 1 or stage.zero != 0 or stage.layouts:
        what = f"tensor={stage.tensor}, zero={stage.zero}, layouts={dict(stage.layouts)}"
        yield PlanError(what, where=_where(stage), remedy="Only tensor=1, zero=0 without layouts can be run so far.")
    if not stage.ranks or stage.data != len(stage.ranks) or len(stage.shares) != stage.data:
        what = f"data={stage.data} with {len(stage.ranks)} ranks and {len(stage.shares)} shares"
        yield PlanError(what, where=_where(stage), remedy="List one rank and one share for each replica.")
    if any(share < 1 for share in stage.shares):
        what = f"a share of {min(stage.shares)} samples"
        yield PlanError(what, where=_where(stage), remedy="Give every rank one sample or more, or leave the rank out.")
    if sum(stage.shares) != plan.microbatch_size:
        yield PlanError(
            f"shares {list(stage.shares)} sum to {sum(stage.shares)}, a microbatch has {plan.microbatch_size} samples",
            where=_where(stage),
            remedy=f"Shares must sum to batch_size / microbatches = {plan.batch_size} / {plan.schedule.microbatches}.",
        )


def _ranks(plan: Plan, cluster: Cluster) -> Iterator[PlanError]:
    known = range(len(cluster.ranks))
    places = [(rank, _where(stage)) for stage in plan.stages for rank in stage.ranks]
    places += [(rank, "unused_ranks") for rank in plan.unused_ranks]
    for rank, where in places:
        if rank not in known:
            what = f"there is no rank {rank} in {cluster.path or 'the cluster'}"
            yield PlanError(what, where=where, remedy=f"It has {len(known)} devices: ranks 0 to {len(known) - 1}.")
    for rank, count in Counter(rank for rank, _ in places).items():
        if count > 1:
            where = ", ".join(dict.fromkeys(where for other, where in places if other == rank))
            yield PlanError(f"rank {rank} is named {count} times", where=where, remedy="A rank belongs to one stage, once.")


def _blocks(plan: Plan, names: Sequence[str]) -> Iterator[PlanError]:
    """Every block once and in the model's order."""
    position = {name: index for index, name in enumerate(names)}
    due = 0
    for stage in plan.stages:
        for name in stage.blocks:
            if name not in position:
                yield PlanError(f"the model has no block {name!r}", where=_where(stage), remedy=_similar(name, names))
            elif position[name] < due:
                what = f"block {name!r} comes a second time, or after {names[due - 1]!r}"
                yield PlanError(what, where=_where(stage), remedy="List every block once, in the model's order.")
            elif position[name] > due:
                what = f"block {names[due]!r} is missing before {name!r}"
                yield PlanError(what, where=_where(stage), remedy="List every block once, in the model's order.")
            due += 1
    if plan.stages and due < len(names):
        what = f"{len(names) - due} blocks are in no stage, the first is {names[due]!r}"
        yield PlanError(what, where=_where(plan.stages[-1]), remedy="List every block once, in the model's order.")


def _similar(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, names, n=3)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else "`autopart show --format json` lists the blocks."


def _where(stage: Stage) -> str:
    return f"stage {stage.index}"
