"""Lowering: blocks and a plan -> the program that its ranks execute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import loss_block, stage_buffers, stage_inputs, stage_parameters
from autopart.ir.analysis import differentiable, is_random
from autopart.ir.graph import Graph, Op
from autopart.plans import Plan, Stage
from autopart.program.match import match
from autopart.program.pieces import messages
from autopart.program.program import Program, StageSpec, Transfer
from autopart.program.schedule import actions
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Shard


def lower(blocks: Blocks, plan: Plan, shards: Mapping[str, Shard] | None = None) -> Program:
    """The program of a plan that ``check_plan`` accepts, matched. Of a plan with several columns blocks, plan and shards are
    those of ``tensor.localize``.
    """
    return completed(outline(blocks, plan, shards))


def outline(blocks: Blocks, plan: Plan, shards: Mapping[str, Shard] | None = None) -> Program:
    """The program without its lists: what its stages are and what goes between them."""
    assert loss_block(blocks) == len(blocks.blocks) - 1, f"the loss is made in block {loss_block(blocks)}, not in the last"
    graph = blocks.sharded.graph
    ops = {op.name: op for op in graph.ops}
    own = [[ops[op] for name in stage.blocks for op in blocks.blocks[blocks.index[name]].ops] for stage in plan.stages]
    specs = tuple(_spec(stage, blocks, any(map(is_random, own[stage.index]))) for stage in plan.stages)
    return Program(
        batch_size=plan.batch_size,
        microbatches=plan.schedule.microbatches,
        schedule=plan.schedule.name,
        stages=_with_unused(specs, graph),
        transfers=_transfers(blocks.sharded, own),
        actions={},
        shards=shards or {},
    )


def completed(program: Program) -> Program:
    """With the lists that its schedule, stages and transfers ask for, matched."""
    found = with_actions(program)
    match(found)
    return found


def with_actions(program: Program) -> Program:
    """The program with its lists."""
    forward, backward = messages(program), messages(program, backward=True)
    return replace(program, actions=actions(program.schedule, program.microbatches, program.stages, forward, backward))


def _spec(stage: Stage, blocks: Blocks, random: bool) -> StageSpec:
    start = blocks.index[stage.blocks[0]]
    interval = (start, start + len(stage.blocks))
    return StageSpec(
        index=stage.index,
        ranks=stage.ranks,
        shares=stage.shares,
        inputs=stage_inputs(blocks, *interval),
        parameters=stage_parameters(blocks, *interval),
        buffers=stage_buffers(blocks, *interval),
        recompute=stage.recompute,
        random=random,
        tensor=stage.tensor,
        weights=stage.tensor_shares,
        zero=stage.zero,
    )


def _with_unused(stages: tuple[StageSpec, ...], graph: Graph) -> tuple[StageSpec, ...]:
    """What no stage reads is held by the first: a checkpoint has every parameter and buffer."""
    parameters = _first_or_unheld((p.name for p in graph.parameters), [stage.parameters for stage in stages])
    buffers = _first_or_unheld((b.name for b in graph.buffers), [stage.buffers for stage in stages])
    return (replace(stages[0], parameters=parameters, buffers=buffers), *stages[1:])


def _first_or_unheld(names: Iterable[str], held: Sequence[Sequence[str]]) -> tuple[str, ...]:
    first = set(held[0])
    later = {name for names in held[1:] for name in names}
    return tuple(name for name in names if name in first or name not in later)


def _transfers(sharded: ShardedGraph, own: Sequence[Sequence[Op]]) -> tuple[Transfer, ...]:
    """Values read in a later stage than the one that makes them, by source and target, then in the order of the graph."""
    graph, trained = sharded.graph, differentiable(sharded.graph)
    stage_of = {op.name: stage for stage, ops in enumerate(own) for op in ops}
    found: list[Transfer] = []
    for source, ops in enumerate(own):
        for op in ops:
            _check_writes(op, source, graph, stage_of)
            for value in op.outputs:
                placement, has_gradient = sharded.placements[value.name], value.name in trained
                targets = {stage_of[user.name] for user in graph.users[value.name]} - {source}
                found += [
                    Transfer(value.name, source, target, value.shape, value.dtype, placement, has_gradient) for target in targets
                ]
    return tuple(sorted(found, key=lambda transfer: (transfer.source, transfer.target)))


def _check_writes(op: Op, stage: int, graph: Graph, stage_of: Mapping[str, int]) -> None:
    """What came from another stage is a copy: a write into it would be lost."""
    for name in op.mutates:
        maker = graph.producer.get(name)
        assert maker is None or stage_of.get(maker.name) == stage, f"{op.name} writes into {name}, which another stage made"
