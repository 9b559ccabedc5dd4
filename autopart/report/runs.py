"""The graph as it is drawn: blocks of a stage, repeated ones as one box, and the bytes that flow between boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopart.blocks.blocks import Block, Blocks
from autopart.blocks.repeats import repeats
from autopart.plans import Plan, Stage
from autopart.report.text import block_names


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive blocks of one stage: ``times`` repeats of the first ``len(blocks) / times`` of them."""

    stage: int
    blocks: tuple[Block, ...]
    times: int = 1

    @property
    def unit(self) -> tuple[Block, ...]:
        return self.blocks[: len(self.blocks) // self.times]

    @property
    def label(self) -> str:
        """``transformer.h.0 .. 5 (attn, mlp), 6 times``"""
        if self.times == 1:
            return block_names(tuple(block.name for block in self.blocks))
        period = len(self.unit)
        if period == 1:
            return f"{_span(self.blocks[0].name, self.blocks[-1].name)}, {self.times} times"
        first, last = _shared([block.name for block in self.unit]), _shared([block.name for block in self.blocks[-period:]])
        inside = ", ".join(block.name[len(first) :].lstrip(".") or "." for block in self.unit)
        return f"{_span(first, last)} ({inside}), {self.times} times"


@dataclass(frozen=True, slots=True)
class Edge:
    """Bytes of a microbatch that run ``target`` reads of what run ``source`` made (indices of runs)."""

    source: int
    target: int
    nbytes: int


def runs(blocks: Blocks, plan: Plan) -> tuple[Run, ...]:
    """Of all stages, in order."""
    return tuple(run for stage in plan.stages for run in _stage_runs(blocks, stage))


def _stage_runs(blocks: Blocks, stage: Stage) -> Iterator[Run]:
    own = [blocks.blocks[blocks.index[name]] for name in stage.blocks]
    at = 0
    for repeat in repeats([block.kind for block in own], [float(len(block.ops)) for block in own]):
        yield from (Run(stage.index, (block,)) for block in own[at : repeat.start])
        times = repeat.units(0)
        at = repeat.start + times * repeat.period
        yield Run(stage.index, tuple(own[repeat.start : at]), times)
    yield from (Run(stage.index, (block,)) for block in own[at:])


def edges(blocks: Blocks, drawn: Sequence[Run], microbatch_size: int) -> tuple[Edge, ...]:
    """Between different runs, by source and target."""
    graph = blocks.sharded.graph
    run_of = {op: number for number, run in enumerate(drawn) for block in run.blocks for op in block.ops}
    maker = {value.name: run_of[op.name] for op in graph.ops if op.name in run_of for value in op.outputs}
    read: dict[tuple[int, int], set[str]] = {}
    for op in graph.ops:
        for name in op.inputs if op.name in run_of else ():
            source, target = maker.get(name), run_of[op.name]
            if source is not None and source != target:
                read.setdefault((source, target), set()).add(name)
    sizes = {pair: sum(graph.values[name].nbytes(microbatch_size) for name in sorted(names)) for pair, names in read.items()}
    return tuple(Edge(*pair, nbytes) for pair, nbytes in sorted(sizes.items()))


def _shared(names: Sequence[str]) -> str:
    """The modules that all of these names lie in."""
    parts = [name.split(".") for name in names]
    same = 0
    while all(len(part) > same and part[same] == parts[0][same] for part in parts):
        same += 1
    return ".".join(parts[0][:same])


def _span(first: str, last: str) -> str:
    """``transformer.h.0 .. 5``: what both share said once."""
    a, b = first.split("."), last.split(".")
    same = 0
    while same < min(len(a), len(b)) - 1 and a[same] == b[same]:
        same += 1
    return f"{first} .. {'.'.join(b[same:])}"
