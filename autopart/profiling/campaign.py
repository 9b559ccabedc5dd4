"""What there is to measure of a model, measured sample by sample: ops, blocks, the optimizer's step. What is known already is not
measured again; what has been measured is kept as it comes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from autopart.blocks.blocks import Blocks
from autopart.cluster.costs import digest
from autopart.cluster.units import format_seconds
from autopart.frontend.load import Loaded
from autopart.frontend.trace import Traced
from autopart.ir.analysis import packet
from autopart.ir.graph import Graph, Op
from autopart.plans import Settings
from autopart.pricing.ops import demand
from autopart.pricing.table import BlockTable, elements
from autopart.profiling.code import Stretch, stretch
from autopart.profiling.machine import free_bytes
from autopart.profiling.measure import (
    Bench,
    NotAloneError,
    engine_s,
    packing_seconds,
    stretch_bytes,
    time_stretch,
    update_seconds,
)
from autopart.profiling.tensors import known_tensors
from autopart.profiling.timing import Stopwatch
from autopart.runtime.heap import settle_heap
from autopart.sharding import comm
from cost_models.hardware import DeviceType
from cost_models.measured import BlockCurve, Measurements, OpCurve, Sample
from cost_models.price import analytic

MEMORY_SHARE = 0.5  # of what is free, that one sample may take
SAVE_EVERY_S = 2.0
UPDATED = (64, 16, 4, 1)  # an optimizer's step is over every so many-th of the parameters
MOST_UPDATED = 2**25  # elements
OVERHEAD_S = 5e-3  # of a sample, beside what it runs: for the estimate of the time that is left
DIGITS = 5  # of seconds in the file

Say = Callable[[str], None]
By = Literal["op", "block", "both"]


@dataclass(frozen=True)
class Wanted:
    """What to measure: at which numbers of rows, under which settings, ops or whole blocks; ``compiled``: under torch.compile;
    ``tensor``: also the ops of a column, where so many devices split the ops of the model.
    """

    rows: tuple[int, ...]
    settings: Settings = field(default_factory=Settings)
    by: By = "both"
    compiled: bool = False
    tensor: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    """One op or block at all rows. ``count_of``: of a block, its ops by key."""

    key: str
    name: str
    part: Stretch
    table: BlockTable
    count_of: tuple[tuple[str, int], ...] = ()

    @property
    def graph(self) -> Graph:
        return self.table.blocks.sharded.graph

    @property
    def is_block(self) -> bool:
        return bool(self.count_of)

    def guess_s(self, device: DeviceType, rows: int) -> float:
        """By the datasheet, to say how long it will take."""
        works = [demand(op, self.table.work(op, device.kind, rows), self.table.precision) for op in self.part.ops]
        return sum(sum(analytic(device, asked).seconds) for asked in works)


@dataclass(frozen=True)
class Outcome:
    """``skipped``: what could not be measured, and why. ``taken``: samples that this run added."""

    measured: Measurements
    skipped: tuple[tuple[str, str], ...]
    taken: int


def tasks(blocks: Blocks, wanted: Wanted, columns: Sequence[Blocks] = ()) -> tuple[Task, ...]:
    """Distinct ops, then distinct blocks, in the order of the model, then ops of ``columns`` that no op of the model is like."""
    found = {task.key: task for task in _tasks(blocks, wanted)}
    for each in columns:
        found = {task.key: task for task in _tasks(each, replace(wanted, by="op"))} | found
    return tuple(found.values())


def _tasks(blocks: Blocks, wanted: Wanted) -> tuple[Task, ...]:
    table = BlockTable(blocks, wanted.settings.precision, wanted.settings.optimizer, max(wanted.rows))
    graph = blocks.sharded.graph
    by_name = {op.name: op for op in graph.ops}
    found: dict[str, Task] = {}
    for op in graph.ops if wanted.by in ("op", "both") else ():
        if _runs_alone(op):
            found.setdefault(table.op_key(op), Task(table.op_key(op), packet(op), stretch([op], graph.users), table))
    for index in blocks.first_of_kind.values() if wanted.by in ("block", "both") else ():
        ops = [by_name[name] for name in blocks.blocks[index].ops]
        counts = Counter(table.op_key(op) for op in ops)
        key = table.block_key(index)
        part = stretch(ops, graph.users)
        found.setdefault(key, Task(key, blocks.blocks[index].name, part, table, tuple(sorted(counts.items()))))
    return tuple(found.values())


def _runs_alone(op: Op) -> bool:
    """Whether it does the same in a process alone as among others: what sends messages does not."""
    return op.kind == comm.BATCH_NORM or not op.kind.startswith(("comm.", "tensor.", "columns."))


@dataclass
class _Campaign:
    """Samples as they come in."""

    device: DeviceType
    wanted: Wanted
    watch: Stopwatch
    measured: Measurements
    save: Callable[[Measurements], None]
    say: Say
    skipped: dict[str, str] = field(default_factory=dict)
    taken: int = 0
    _saved_s: float = field(default_factory=time.monotonic)

    def add(self, task: Task, rows: int, seconds: tuple[float, float]) -> None:
        known = self.measured
        forward_s, backward_s = map(_rounded, seconds)
        if task.is_block:
            block = known.blocks.get(task.key) or BlockCurve(task.key, task.name, task.count_of, ())
            block = replace(block, samples=_with(block.samples, Sample(rows, forward_s, backward_s)))
            self.measured = replace(known, blocks={**known.blocks, task.key: block})
        else:
            (op,) = task.part.ops
            asked = demand(op, task.table.work(op, self.device.kind, rows), task.table.precision)
            flops, nbytes = (asked.forward_flops, asked.backward_flops), (asked.forward_bytes, asked.backward_bytes)
            curve = known.ops.get(task.key) or OpCurve(task.key, asked.op_class, asked.dtype, ())
            curve = replace(curve, samples=_with(curve.samples, Sample(rows, forward_s, backward_s, flops, nbytes)))
            self.measured = replace(known, ops={**known.ops, task.key: curve})
        self.note()

    def add_update(self, optimizer: str, count: int, seconds: float) -> None:
        samples = dict(self.measured.updates.get(optimizer, ()))
        samples[count] = _rounded(seconds)
        updates = {**self.measured.updates, optimizer: tuple(sorted(samples.items()))}
        self.measured = replace(self.measured, updates=updates)
        self.note()

    def add_packing(self, nbytes: int, seconds: float) -> None:
        samples = {**dict(self.measured.packing), nbytes: _rounded(seconds)}
        self.measured = replace(self.measured, packing=tuple(sorted(samples.items())))
        self.note()

    def note(self) -> None:
        self.taken += 1
        if time.monotonic() - self._saved_s > SAVE_EVERY_S:
            self.keep()

    def keep(self) -> None:
        """Writes what there is."""
        self.measured = replace(self.measured, digest=digest(self.measured))
        self.save(self.measured)
        self._saved_s = time.monotonic()

    def has(self, task: Task, rows: int) -> bool:
        curves = self.measured.blocks if task.is_block else self.measured.ops
        return task.key in curves and any(sample.rows == rows for sample in curves[task.key].samples)


def measure(
    loaded: Loaded,
    traced: Traced,
    blocks: Blocks,
    wanted: Wanted,
    *,
    columns: Sequence[Blocks],
    device: DeviceType,
    watch: Stopwatch,
    known: Measurements,
    save: Callable[[Measurements], None],
    say: Say,
) -> Outcome:
    """All that ``known`` has not yet; ``columns`` are what columns run, if they are wanted too. ``save`` is called now and then,
    and at the end whatever ends it.
    """
    run = _Campaign(device, wanted, watch, known, save, say)
    try:
        _run_all(run, loaded, traced, blocks, tasks(blocks, wanted, columns))
        _once_a_step(run, blocks)
    finally:
        if run.taken:
            run.keep()
    say("")
    return Outcome(run.measured, tuple(run.skipped.items()), run.taken)


def _run_all(run: _Campaign, loaded: Loaded, traced: Traced, blocks: Blocks, every: Sequence[Task]) -> None:
    left = [(task, rows) for rows in run.wanted.rows for task in every if not run.has(task, rows)]
    if not left:
        return
    clock = _Clock([_share(run, task, rows) for task, rows in left])
    bench = Bench(run.watch, run.wanted.settings.precision, run.wanted.compiled, engine_s(run.watch))
    tensors, at = dict[str, torch.Tensor](), 0
    for index, (task, rows) in enumerate(left):
        run.say(f"profiling {index + 1} of {len(left)}, {clock.left(index)} left: {task.name}, {rows} rows")
        if task.key in run.skipped:
            continue
        needed, room = stretch_bytes(task.part, task.graph, rows), MEMORY_SHARE * free_bytes(run.watch.device)
        if needed > room:
            run.skipped[task.key] = f"{task.name} at {rows} rows may need more memory than is free"
            continue
        if rows != at:
            tensors, at = known_tensors(loaded, traced, blocks, rows, run.watch.device), rows
        try:
            run.add(task, rows, time_stretch(task.part, task.graph, rows, tensors, bench))
        except NotAloneError as error:
            run.skipped[task.key] = f"{task.name} does not run alone: {error}"


def _share(run: _Campaign, task: Task, rows: int) -> float:
    """Of the time that all takes, roughly."""
    once = task.guess_s(run.device, rows)
    return OVERHEAD_S + (2 * run.watch.sustained_s or run.watch.repeats * once) + 2 * once


@dataclass
class _Clock:
    """Says how long the rest will take, from how long the part before took."""

    shares: Sequence[float]
    _start_s: float = field(default_factory=time.monotonic)

    def left(self, index: int) -> str:
        done = sum(self.shares[:index])
        pace = (time.monotonic() - self._start_s) / done if done else 1.0
        return format_seconds(float(f"{pace * sum(self.shares[index:]):.2g}"))


def _once_a_step(run: _Campaign, blocks: Blocks) -> None:
    """Optimizer's steps over some of the model's parameters, and their gradients packed: how large they are counts as much as how
    many elements they have together.
    """
    sizes = [count for count in map(elements, blocks.sharded.graph.parameters) if count]
    optimizer = run.wanted.settings.optimizer
    known = {count for count, _ in run.measured.updates.get(optimizer, ())}
    dtype = torch.float64 if run.wanted.settings.precision == "float64" else torch.float32
    every = [chosen for nth in UPDATED if (chosen := sizes[nth // 2 :: nth]) and sum(chosen) <= MOST_UPDATED]
    room = MEMORY_SHARE * free_bytes(run.watch.device)
    fitting = [chosen for chosen in every if 4 * sum(chosen) * dtype.itemsize < room]
    for chosen in fitting:
        if (count := sum(chosen)) not in known:
            run.say(f"profiling the update of {count:,} elements by {optimizer}")
            run.add_update(optimizer, count, update_seconds(optimizer, chosen, dtype, run.watch))
    if run.watch.device.type == "cpu":
        settle_heap()  # as in a step: what was measured before is as it was
    for chosen in fitting:
        if (nbytes := sum(chosen) * dtype.itemsize) not in dict(run.measured.packing):
            run.say(f"profiling {nbytes:,} bytes of gradients packed")
            run.add_packing(nbytes, packing_seconds(chosen, dtype, run.watch))


def _with(samples: tuple[Sample, ...], new: Sample) -> tuple[Sample, ...]:
    return tuple(sorted((*samples, new), key=lambda sample: sample.rows))


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.{DIGITS}g}")
