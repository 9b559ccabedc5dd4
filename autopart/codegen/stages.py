"""A stage as a class: who runs it, what it gives, what it counts once a step, its forward."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from autopart.blocks.blocks import Blocks
from autopart.blocks.flow import needed_prologue, stage_statistics
from autopart.codegen import layout
from autopart.codegen.body import Body, op_word, rows_of
from autopart.codegen.forward import Source, forward
from autopart.codegen.functions import Unit, qualified
from autopart.codegen.names import Namer
from autopart.ir.graph import Op
from autopart.plans import Stage
from autopart.program.program import StageSpec


def stage_class(source: Source, stage: Stage, units: Sequence[Unit]) -> list[str]:
    """The lines of one stage's class."""
    given = _given(source, stage.index)
    lines = [f"class Stage{stage.index}(Stage):", *_head(source, stage, units, given)]
    prologue = needed_prologue(source.blocks, *interval(source.blocks, stage))
    if prologue:
        lines += ["", *_prologue(source, stage, [op for op in source.blocks.sharded.prologue if op.name in prologue])]
    return [*lines, "", *forward(source, stage, units, given)]


def interval(blocks: Blocks, stage: Stage) -> tuple[int, int]:
    """First block of a stage, and the one after its last."""
    start = blocks.index[stage.blocks[0]]
    return start, start + len(stage.blocks)


def _given(source: Source, index: int) -> list[str]:
    """Values that a stage sends, in the order of transfers; the last also gives the loss."""
    sent = [transfer.value for transfer in source.program.transfers if transfer.source == index]
    loss = [source.context.graph.loss] if index == len(source.program.stages) - 1 else []
    return list(dict.fromkeys([*sent, *loss]))


def _head(source: Source, stage: Stage, units: Sequence[Unit], given: Sequence[str]) -> list[str]:
    """Docstring and what the runtime reads."""
    spec = source.program.stages[stage.index]
    names = [unit.block.name for unit in units]
    runs = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
    ranks = f"rank {spec.ranks[0]}" if len(spec.ranks) == 1 else f"ranks {', '.join(map(str, spec.ranks))}"
    lines = [f'    """{runs}, on {ranks}."""'] if len(runs) + len(ranks) < 100 else [f'    """{runs[:90]}."""']
    lines += ["", *layout.constant("ranks", [str(rank) for rank in spec.ranks], 1)]
    by = "rank" if spec.tensor == 1 else "replica"
    lines += [*layout.constant("shares", [str(share) for share in spec.shares], 1, f"samples of each microbatch, by {by}")]
    lines += _mesh(spec)
    readers = sorted({transfer.target for transfer in source.program.transfers if transfer.source == stage.index})
    comment = f"for stage {', '.join(map(str, readers))}" if readers else ""
    lines += layout.constant("gives", [f'"{source.context.names[name]}"' for name in given], 1, comment)
    lines += ["    random = True  # a seed of its own for every forward"] if spec.random else []
    lines += ["    recompute = True  # forwards run once more in the backward"] if spec.recompute else []
    return lines


def _mesh(spec: StageSpec) -> list[str]:
    """What differs from ranks that only share samples."""
    lines = [f"    columns = {spec.tensor}  # ranks of a replica, which split its tensors"] if spec.tensor > 1 else []
    if len(set(spec.weights)) > 1:
        lines += layout.constant(
            "weights", [str(weight) for weight in spec.weights], 1, "by which columns share out what is split"
        )
    lines += [f"    zero = {spec.zero}  # ranks share out {ZERO[spec.zero]}"] if spec.zero else []
    return lines


ZERO = ("", "optimizer state", "optimizer state and gradients", "optimizer state, gradients and parameters")


def _prologue(source: Source, stage: Stage, ops: Sequence[Op]) -> list[str]:
    """The method that counts once a step."""
    context = source.context
    made = {value.name for op in ops for value in op.outputs}
    read = dict.fromkeys(name for op in ops for name in op.inputs if name not in made)
    inputs = [name for name in read if qualified(context.graph, name) is None]
    statistics = stage_statistics(source.blocks, *interval(source.blocks, stage))
    body = Body(_users(ops), frozenset(statistics), Namer(source.taken), source.leaf, depth=2, replicas="self.replicas")
    for name in inputs:
        body.expressions[name] = ast.Name(context.names[name])
    parameters = [(context.names[name], context.values[name]) for name in inputs]
    body.device = f"{parameters[0][0]}.device" if parameters else "self.device"
    body.ops(ops, None, lambda op, _: op_word(op))
    lines = layout.define("prologue", ["self", "m: Tree", *(f"{name}: Tensor" for name, _ in parameters)], "None", 1)
    lines.append('        """Once a step, over the samples that this rank is given: what the loss is divided by."""')
    lines += [f"        b = {rows_of(parameters) or 'self.replicas.rows[self.replicas.index]'}"] if body.counted else []
    return [*lines, *body.keep({name: f"self.{context.names[name]}" for name in statistics})]


def _users(ops: Sequence[Op]) -> dict[str, list[Op]]:
    found: dict[str, list[Op]] = {}
    for op in ops:
        for name in op.inputs:
            found.setdefault(name, []).append(op)
    return found
