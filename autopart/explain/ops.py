"""One op, module or parameter of a plan: where it runs, how it lies over columns, what it costs, what else it could be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from autopart.cluster.cluster import topology
from autopart.errors import InputError
from autopart.explain.question import Question
from autopart.ir.graph import Op
from autopart.plans import Stage
from autopart.tensor.assign import fix, texts_of
from autopart.tensor.eliminate import Table, minimize
from autopart.tensor.network import INFINITE, Network, OpKey, network
from autopart.tensor.plan import pace_device, prices_of

SHOWN = 4  # runners-up


@dataclass(frozen=True, slots=True)
class Way:
    """A layout, and the seconds of a microbatch of the whole model on one replica where this has it and all else is the best."""

    layout: str
    seconds: float


@dataclass(frozen=True, slots=True)
class OpFacts:
    """``kind`` is an op's, "parameter" or "buffer". Seconds of one microbatch on one device of each type of its stage,
    undivided, or of a layer profile as measured on its columns; ``priced`` says where they come from. ``flops`` is 0 where nobody
    knows. ``ways``: what was chosen, then the runners-up; empty where its replica is one device.
    """

    name: str
    kind: str
    stage: int
    block: str
    forward_s: dict[str, float]
    backward_s: dict[str, float]
    flops: int
    ways: tuple[Way, ...]
    priced: dict[str, str] = field(default_factory=dict)


def op_facts(question: Question, name: str) -> tuple[OpFacts, ...]:
    """Of an op, of the ops of a module or block, or of a parameter; InputError with the nearest names where there is none."""
    blocks = question.index.blocks
    parameters = {each.name for each in blocks.sharded.graph.parameters}
    columns = {
        stage.index: _columns(question, stage) for stage in question.plan.stages if stage.tensor > 1 and question.index.lays_out
    }
    if name in parameters:
        holders = [stage.index for stage in question.plan.stages if name in _members(question, stage)]
        every = [(stage, tuple(_ways(columns.get(stage), name, SHOWN))) for stage in holders]
        return tuple(OpFacts(name, "parameter", stage, "", {}, {}, 0, ways) for stage, ways in every)
    inside = [op for op in blocks.sharded.graph.ops if op.name in blocks.block_of and _belongs(question, op, name)]
    if not inside:
        raise _unknown(question, name, parameters)
    return tuple(_op(question, op, columns, SHOWN if len(inside) == 1 else 0) for op in inside)


def _belongs(question: Question, op: Op, name: str) -> bool:
    module = op.name.partition(":")[0]
    block = question.index.blocks.blocks[question.index.blocks.block_of[op.name]].name
    return op.name == name or module == name or module.startswith(f"{name}.") or block == name


def _unknown(question: Question, name: str, parameters: set[str]) -> InputError:
    blocks = question.index.blocks
    ops = [op.name for op in blocks.sharded.graph.ops if op.name in blocks.block_of]
    known = dict.fromkeys([*ops, *(op.partition(":")[0] for op in ops), *(block.name for block in blocks.blocks), *parameters])
    near = get_close_matches(name, list(known), n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`autopart show plan.json --format json` lists the blocks."
    return InputError(f"the model has no op, module, block or parameter {name!r}", remedy=hint)


def _op(question: Question, op: Op, columns: Mapping[int, _Columns], runners_up: int) -> OpFacts:
    blocks = question.index.blocks
    block = blocks.blocks[blocks.block_of[op.name]].name
    stage = next(stage for stage in question.plan.stages if block in stage.blocks)
    table, rows, prices, flops = question.index.undivided(stage.tensor), max(stage.shares), {}, 0
    for device in dict.fromkeys(map(question.index.cluster.device, stage.ranks)):
        prices[device.name] = table.price(op, device, rows)
        asked = table.demand(op, device.kind, rows)
        flops = int(asked.forward_flops + asked.backward_flops) if asked else 0
    return OpFacts(
        name=op.name,
        kind=op.kind,
        stage=stage.index,
        block=block,
        forward_s={device: price.forward_s for device, price in prices.items()},
        backward_s={device: price.backward_s for device, price in prices.items()},
        flops=flops,
        ways=tuple(_ways(columns.get(stage.index), op.name, runners_up)),
        priced={device: price.source for device, price in prices.items()},
    )


def _members(question: Question, stage: Stage) -> set[str]:
    start = question.index.blocks.index[stage.blocks[0]]
    return {each.name for each in question.index.table.parameters(start, start + len(stage.blocks))}


@dataclass(frozen=True, eq=False)
class _Columns:
    """The per-op problem of a stage's columns, and the values that the plan's layouts give its variables."""

    net: Network
    tables: tuple[Table, ...]
    chosen: tuple[int, ...]


def _columns(question: Question, stage: Stage) -> _Columns:
    table, cluster = question.index.table, question.index.cluster
    ranks, weights, rows = stage.replica(0), stage.tensor_shares or (1,) * stage.tensor, max(stage.shares)
    device = pace_device(table, [cluster.device(rank) for rank in ranks], weights, rows)
    net = network(table.blocks, prices_of(table, weights, device, rows, topology(cluster, ranks)))
    free = tuple(net.tables)
    fix(net, stage.layouts, frozenset(stage.blocks))
    return _Columns(net, free, minimize(net.sizes, net.tables)[1])


def _ways(columns: _Columns | None, name: str, most: int) -> Iterator[Way]:
    """The layout of an op or parameter, then what else it could be: the problem is solved again for each, all else free."""
    if columns is None:
        return
    net = columns.net
    key = next((key for key, names in net.members.items() if name in names), None)
    if key is None:
        return
    texts = texts_of(net, key)
    now = columns.chosen[net.variables[key]]
    yield Way(texts[now], _least(columns, key, now))
    others = [Way(text, _least(columns, key, n)) for n, text in enumerate(texts) if n != now and most]
    yield from sorted((way for way in others if np.isfinite(way.seconds)), key=lambda way: way.seconds)[:most]


def _least(columns: _Columns, key: OpKey | str, option: int) -> float:
    """Seconds of the best layout that has this option there."""
    variable = columns.net.variables[key]
    cost = np.full(columns.net.sizes[variable], INFINITE)
    cost[option] = 0.0
    return minimize(columns.net.sizes, [*columns.tables, Table((variable,), cost)])[0]
