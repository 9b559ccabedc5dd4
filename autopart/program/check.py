"""Does a plan fit its model and its cluster? Asked of every plan, above all of those that a person wrote or edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import chain

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import block_reads, loss_block
from autopart.cluster.cluster import Cluster
from autopart.errors import PlanError
from autopart.plans import ZERO_LEVELS, Plan, Stage, divisors
from autopart.program.schedule import SCHEDULES

ONCE = "List every block once, after all blocks whose results it reads."


def check_plan(plan: Plan, blocks: Blocks, cluster: Cluster) -> None:
    """Raise PlanError with the first thing that does not fit."""
    for error in chain(
        _schedule(plan),
        _mixing(plan, blocks),
        _stages(plan),
        chain.from_iterable(_mesh(stage, plan) for stage in plan.stages),
        _ranks(plan, cluster),
        _blocks(plan, blocks),
    ):
        raise error


def check_cluster(plan: Plan, cluster: Cluster) -> None:
    """Raise PlanError where the cluster file is not what the plan was made for, or has not the plan's ranks."""
    if plan.cluster.digest not in ("", cluster.digest):
        raise PlanError(
            f"this plan was made for another cluster than {cluster.path} describes now",
            remedy="Plan again; or delete cluster.digest from the plan if its ranks are still right.",
        )
    check_ranks(plan, cluster)


def check_ranks(plan: Plan, cluster: Cluster) -> None:
    """Raise PlanError where a rank of the plan is not there, or is there twice."""
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
        if len(stage.shares) > 1:
            what = f"{len(stage.shares)} replicas, but no input has a batch dim to share out"
            yield PlanError(
                what, where=_where(stage), remedy="Give the stage one replica; more stages or columns use more ranks."
            )


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
    """A positive share of samples for each replica, a rank for each replica and column."""
    where = _where(stage)
    if stage.tensor < 1 or stage.zero not in ZERO_LEVELS:
        what = f"tensor={stage.tensor}, zero={stage.zero}"
        yield PlanError(what, where=where, remedy="tensor is 1 or more, zero is 0, 1, 2 or 3.")
    if not stage.shares or len(stage.shares) != stage.data or len(stage.ranks) != stage.data * stage.tensor:
        columns = f", tensor={stage.tensor}" if stage.tensor > 1 else ""
        what = f"data={stage.data}{columns} with {len(stage.ranks)} ranks and {len(stage.shares)} shares"
        each = f"{stage.tensor} ranks" if stage.tensor > 1 else "one rank"
        yield PlanError(what, where=where, remedy=f"List {each} and one share for each replica.")
    if any(share < 1 for share in stage.shares):
        what = f"a share of {min(stage.shares)} samples"
        yield PlanError(what, where=where, remedy="Give every replica one sample or more, or leave it out.")
    if sum(stage.shares) != plan.microbatch_size:
        yield PlanError(
            f"shares {list(stage.shares)} sum to {sum(stage.shares)}, a microbatch has {plan.microbatch_size} samples",
            where=where,
            remedy=f"Shares must sum to batch_size / microbatches = {plan.batch_size} / {plan.schedule.microbatches}.",
        )
    yield from _columns(stage)
    if stage.zero and stage.data == 1:
        what = f"zero={stage.zero}, but one replica: there is nobody to share its state with"
        yield PlanError(what, where=where, remedy="Set zero to 0, or give the stage more replicas.")


def _columns(stage: Stage) -> Iterator[PlanError]:
    """Weights and layouts are of the columns, where there are several."""
    shares = stage.tensor_shares
    if shares and len(shares) != stage.tensor:
        what = f"{len(shares)} tensor_shares for tensor={stage.tensor}"
        yield PlanError(what, where=_where(stage), remedy="List one for each column, or leave tensor_shares out: evenly.")
    if any(share < 1 for share in shares):
        what = f"a tensor share of {min(shares)}"
        yield PlanError(what, where=_where(stage), remedy="Give every column 1 or more.")
    if stage.layouts and stage.tensor == 1:
        what = f"layouts of {len(stage.layouts)} names, but tensor=1: nothing is split over columns"
        yield PlanError(what, where=_where(stage), remedy="Leave layouts out, or set tensor to 2 or more.")


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


def _blocks(plan: Plan, blocks: Blocks) -> Iterator[PlanError]:
    """Every block once, after those that it reads; the block of the loss is the last."""
    names = [block.name for block in blocks.blocks]
    reads = {name: [names[index] for index in read] for name, read in zip(names, block_reads(blocks), strict=True)}
    listed, seen = set(plan.blocks), set[str]()
    for stage in plan.stages:
        for name in stage.blocks:
            if name not in reads:
                yield PlanError(f"the model has no block {name!r}", where=_where(stage), remedy=_similar(name, names))
                continue
            if name in seen:
                yield PlanError(f"block {name!r} comes a second time", where=_where(stage), remedy=ONCE)
            for other in reads[name]:
                if other not in listed:
                    yield PlanError(f"block {other!r} is missing before {name!r}", where=_where(stage), remedy=ONCE)
                elif other not in seen:
                    yield PlanError(
                        f"block {name!r} comes before {other!r}, whose results it reads", where=_where(stage), remedy=ONCE
                    )
            seen.add(name)
    left = [name for name in names if name not in seen]
    if plan.stages and left:
        what = f"{len(left)} blocks are in no stage, the first is {left[0]!r}"
        yield PlanError(what, where=_where(plan.stages[-1]), remedy=ONCE)
    last = names[loss_block(blocks)]
    if plan.blocks and plan.blocks[-1] != last:
        yield PlanError(f"block {plan.blocks[-1]!r} comes after {last!r}, which makes the loss", remedy=f"List {last!r} last.")


def _similar(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, names, n=3)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else "`autopart show --format json` lists the blocks."


def _where(stage: Stage) -> str:
    return f"stage {stage.index}"
