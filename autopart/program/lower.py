"""Lowering: blocks and a plan -> the program that its ranks execute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from autopart.blocks.blocks import Blocks
from autopart.ir.graph import Graph, Op
from autopart.plan import Plan, Stage
from autopart.program.match import match
from autopart.program.pieces import messages
from autopart.program.program import Program, StageSpec, Transfer
from autopart.program.schedule import actions
from autopart.sharding.batch import ShardedGraph

RANDOM = ("dropout", "rand", "bernoulli", "normal_", "aten.normal", "multinomial", "poisson", "exponential", "uniform", "rrelu")
RANDOM_IF_ASKED = ("scaled_dot_product_attention", "lstm", "gru", "rnn")  # they take a dropout probability


def lower(blocks: Blocks, plan: Plan) -> Program:
    """The program of a plan that ``check_plan`` accepts, matched."""
    stage_of = {op: index for index, stage in enumerate(plan.stages) for op in _ops_of(stage, blocks)}
    graph = blocks.sharded.graph
    loss = graph.producer.get(graph.loss)
    assert loss is not None, f"the loss {graph.loss} is made by no op"
    assert stage_of[loss.name] == len(plan.stages) - 1, f"the loss {graph.loss} is not made in the last stage"
    bare = Program(
        batch_size=plan.batch_size,
        microbatches=plan.schedule.microbatches,
        schedule=plan.schedule.name,
        stages=_with_unused(tuple(_spec(stage, blocks) for stage in plan.stages), graph),
        transfers=_transfers(blocks.sharded, stage_of),
        actions={},
    )
    program = with_actions(bare)
    match(program)
    return program


def with_actions(program: Program) -> Program:
    """The program with the lists that its schedule, stages and transfers ask for."""
    forward, backward = messages(program), messages(program, backward=True)
    return replace(program, actions=actions(program.schedule, program.microbatches, program.stages, forward, backward))


def _ops_of(stage: Stage, blocks: Blocks) -> list[str]:
    return [op for name in stage.blocks for op in blocks.blocks[blocks.index[name]].ops]


def _spec(stage: Stage, blocks: Blocks) -> StageSpec:
    graph = blocks.sharded.graph
    names = set(_ops_of(stage, blocks))
    own = [op for op in graph.ops if op.name in names]
    read = _reads(own, _run_everywhere(blocks))
    return StageSpec(
        index=stage.index,
        ranks=stage.ranks,
        shares=stage.shares,
        inputs=tuple(source.value.name for source in graph.inputs if source.value.name in read),
        parameters=tuple(parameter.name for parameter in graph.parameters if parameter.value.name in read),
        buffers=tuple(buffer.name for buffer in graph.buffers if buffer.value.name in read),
        recompute=stage.recompute,
        random=any(_random(op) for op in own),
    )


def _run_everywhere(blocks: Blocks) -> tuple[Op, ...]:
    """Ops that every stage runs itself where it needs them: those of inputs alone, and the prologue."""
    names = set(blocks.inputs_only)
    return (*(op for op in blocks.sharded.graph.ops if op.name in names), *blocks.sharded.prologue)


def _reads(ops: Iterable[Op], rerun: Iterable[Op]) -> set[str]:
    """Values that ops read, and that those of ``rerun`` read which make or change one of these."""
    makers: dict[str, list[Op]] = {}
    for op in rerun:
        for name in (*(value.name for value in op.outputs), *op.mutates):
            makers.setdefault(name, []).append(op)
    pending = [name for op in ops for name in op.inputs]
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += [source for op in makers.get(name, ()) for source in op.inputs]
    return found


def _random(op: Op) -> bool:
    if any(word in op.kind for word in RANDOM):
        return True
    return any(word in op.kind for word in RANDOM_IF_ASKED) and not _no_dropout(op)


def _no_dropout(op: Op) -> bool:
    """Every float that the op is given, among them its dropout probability, is zero."""
    return all(value == 0 for value in (*op.args, *(value for _, value in op.kwargs)) if isinstance(value, float))


def _with_unused(stages: tuple[StageSpec, ...], graph: Graph) -> tuple[StageSpec, ...]:
    """What no stage reads is held by the first: a checkpoint has every parameter and buffer."""
    parameters = _first_or_unheld((p.name for p in graph.parameters), [stage.parameters for stage in stages])
    buffers = _first_or_unheld((b.name for b in graph.buffers), [stage.buffers for stage in stages])
    return (replace(stages[0], parameters=parameters, buffers=buffers), *stages[1:])


def _first_or_unheld(names: Iterable[str], held: list[tuple[str, ...]]) -> tuple[str, ...]:
    later = {name for names in held[1:] for name in names}
    return tuple(name for name in names if name in held[0] or name not in later)


def _transfers(sharded: ShardedGraph, stage_of: Mapping[str, int]) -> tuple[Transfer, ...]:
    """Values read in a later stage than the one that makes them, by source, target, order of the graph."""
    graph = sharded.graph
    trained = values_with_gradient(graph)
    found: list[Transfer] = []
    for op in graph.ops:
        source = stage_of.get(op.name)
        if source is None:
            continue
        _check_mutations(op, source, graph, stage_of)
        for value in op.outputs:
            for target in sorted({stage_of[user.name] for user in graph.users[value.name]} - {source}):
                placement = sharded.placements[value.name]
                found.append(Transfer(value.name, source, target, value.shape, value.dtype, placement, value.name in trained))
    return tuple(sorted(found, key=lambda transfer: (transfer.source, transfer.target)))


def _check_mutations(op: Op, stage: int, graph: Graph, stage_of: Mapping[str, int]) -> None:
    """A value that came from another stage is a copy: writing into it would be lost."""
    for name in op.mutates:
        maker = graph.producer.get(name)
        assert maker is None or stage_of.get(maker.name) == stage, f"{op.name} writes into {name}, which another stage made"


def values_with_gradient(graph: Graph) -> frozenset[str]:
    """Values whose gradient the loss may need: they follow from a trainable parameter by differentiable ops."""
    found = {parameter.value.name for parameter in graph.parameters if parameter.trainable}
    for op in graph.ops:
        if found.isdisjoint(op.inputs) or op.kind.startswith("aten.detach"):
            continue
        found.update(value.name for value in op.outputs if value.floating)
        found.update(name for name in op.mutates if graph.values[name].floating)
    return frozenset(found)
