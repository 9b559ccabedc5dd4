"""What a microbatch costs on the slowest rank of a stage, op by op: the terms that its forward and backward are the sum of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autopart.blocks.blocks import Block
from autopart.cluster.cluster import topology
from autopart.ir.graph import Op
from autopart.planner.meshes import Index, Rewritten
from autopart.plans import Stage
from autopart.pricing.costs import StageCosts
from autopart.pricing.exchange import exchange_s
from autopart.pricing.stages import again_s, between_s, interval
from autopart.pricing.table import Array, BlockTable
from cost_models.compute import Demand


@dataclass(frozen=True, slots=True)
class OpCost:
    """One op, or one of its repeats. ``demand`` is None for what sends instead of computing; ``source``: where the price comes
    from.
    """

    name: str
    module: str
    kind: str
    forward_s: float
    backward_s: float
    demand: Demand | None
    source: str


@dataclass(frozen=True, slots=True)
class BlockCost:
    """The blocks of one kind in a stage: what each of them costs."""

    names: tuple[str, ...]
    ops: tuple[OpCost, ...]
    mixing_s: float  # each way: sums over replicas inside ops that mix samples

    @property
    def forward_s(self) -> float:
        return sum(op.forward_s for op in self.ops) + self.mixing_s

    @property
    def backward_s(self) -> float:
        return sum(op.backward_s for op in self.ops) + self.mixing_s


@dataclass(frozen=True, slots=True)
class StageCost:
    """The stage's slowest rank. ``order``: the index in ``blocks`` of every block, in the model's order; ``extra``: (what,
    forward seconds, backward seconds) beside the blocks.
    """

    stage: int
    rank: int
    rows: int
    blocks: tuple[BlockCost, ...]
    order: tuple[int, ...]
    extra: tuple[tuple[str, float, float], ...]

    @property
    def forward_s(self) -> float:
        return sum(len(b.names) * b.forward_s for b in self.blocks) + sum(forward for _, forward, _ in self.extra)

    @property
    def backward_s(self) -> float:
        return sum(len(b.names) * b.backward_s for b in self.blocks) + sum(backward for _, _, backward in self.extra)


def stage_cost(stage: Stage, rewritten: Rewritten, index: Index, costs: StageCosts) -> StageCost:
    """``stage`` is one of the plan that columns run (``rewritten.local.plan``)."""
    rank = max(stage.ranks, key=lambda r: (costs.of[stage.index, r].forward_s + costs.of[stage.index, r].backward_s, -r))
    replica, column = stage.place(rank)
    table, device, rows = rewritten.tables(stage, column), index.cluster.device(rank), stage.shares[replica]
    start, stop = interval(table, stage)
    own = table.blocks.blocks[start:stop]
    replicas, across = topology(index.cluster, stage.column(column)), topology(index.cluster, stage.replica(replica))
    mixing = table.collectives_s(max(stage.shares), replicas)[start:stop] / 2
    between = between_s(table, max(stage.shares), replicas, rows, across if stage.tensor > 1 else None)
    again = again_s(table, device, rows, between)[start:stop]
    ops = {op.name: op for op in table.blocks.sharded.graph.ops}

    def price(op: Op) -> OpCost:
        own = table.price(op, device, rows)
        sent = exchange_s(table, op, rows, across) if stage.tensor > 1 else (0.0, 0.0)
        asked = None if any(sent) else table.demand(op, device.kind, rows)
        return OpCost(op.name, op.module, op.kind, own.forward_s + sent[0], own.backward_s + sent[1], asked, own.source)

    kinds: dict[int, list[Block]] = {}
    for block in own:
        kinds.setdefault(block.kind, []).append(block)
    found = tuple(
        BlockCost(tuple(b.name for b in alike), tuple(map(price, _ops(alike[0], ops))), float(mixing[own.index(alike[0])]))
        for alike in kinds.values()
    )
    order = tuple(list(kinds).index(block.kind) for block in own)
    return StageCost(stage.index, rank, rows, found, order, tuple(_extra(stage, table, rank, rows, index, costs, again)))


def _ops(block: Block, ops: dict[str, Op]) -> list[Op]:
    return [ops[name] for name in block.ops]


def _extra(
    stage: Stage, table: BlockTable, rank: int, rows: int, index: Index, costs: StageCosts, again: Array
) -> Iterator[tuple[str, float, float]]:
    """What the stage does beside its blocks; ``again`` by block, where it is recomputed."""
    shared_s = table.shared_s(index.cluster.device(rank), rows, *interval(table, stage))
    if shared_s:
        yield "made from the inputs again (masks, positions)", shared_s, 0.0
    if stage.recompute:
        yield "forward of the blocks once more (recomputation)", 0.0, float(again.sum())
    mine = costs.of[stage.index, rank]
    if mine.adding_s:
        yield "gradients added to those of other microbatches", 0.0, mine.adding_s
    beside = mine.beside_s
    if any(beside):
        yield f"messages of ZeRO {stage.zero} between replicas", *beside
