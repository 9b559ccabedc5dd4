"""Seconds and bytes of every block, on any type of device, at any number of rows: what planner and simulator agree on.

Blocks of one kind are evaluated once, at the first of them. Bytes are those of one device with so many rows of a microbatch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from autopart.blocks import flow
from autopart.blocks.alike import first_alike
from autopart.blocks.blocks import Blocks
from autopart.blocks.line import Line, through
from autopart.blocks.work import QUANTITIES, Work, WorkTable, begun_again, op_work, work_table
from autopart.ir.analysis import differentiable
from autopart.ir.graph import DTYPE_BYTES, Graph, Op, Parameter, Value
from autopart.pricing.company import in_block
from autopart.pricing.exchange import columns_s, mixing_s
from autopart.pricing.held import BlockBytes, block_bytes
from autopart.pricing.keys import block_key, op_key
from autopart.pricing.ops import activation_factor, casts, demand, table_seconds
from cost_models.collective import Topology
from cost_models.compute import Demand
from cost_models.hardware import DeviceType, Kind
from cost_models.memory import PRECISIONS, frozen_bytes, state_bytes, update_traffic_bytes, update_transient_bytes
from cost_models.price import Price, memory_byte_s, op_price, part_price, update_s

Array = NDArray[np.float64]
T = TypeVar("T")
LATELY = 32
OpsSeconds = tuple[list[float], list[float]]


@dataclass(frozen=True, eq=False)
class Seconds:
    """[n] of one microbatch, without recomputation and messages."""

    forward: Array
    backward: Array

    @property
    def total(self) -> Array:
        return self.forward + self.backward


@dataclass(frozen=True, eq=False)
class Kept:
    """Bytes by block, for the planner: held from forward to backward, and while the block runs; ``output[j]``: what a stage
    ending at j sends. Sums and maxima of them are meant to be no less than what ``held.stage_running`` finds of a stage: that
    lets go of what later blocks held, and counts once what one block makes and another keeps.
    """

    inflight: Array
    transient: Array
    output: Array


@dataclass(frozen=True, eq=False)
class Cut:
    """[n + 1] bytes that cross each boundary: values forward, gradients backward. 0 at both ends."""

    values: Array
    gradients: Array


@dataclass(frozen=True, eq=False)
class BlockTable:
    """Prices of ``blocks`` under a precision and an optimizer. Answers are remembered: ask freely. Where blocks are a column's,
    ``whole`` has the prices of their ops before they were split.
    """

    blocks: Blocks
    precision: str
    optimizer: str
    batch_size: int
    whole: BlockTable | None = None
    _memory: dict[Hashable, object] = field(default_factory=dict, repr=False)

    def seconds(self, device: DeviceType, rows: int) -> Seconds:
        """Of every block; without what stages re-run from inputs alone, see ``shared_s``."""
        return self.remembered(("seconds", device, rows), lambda: self._seconds(device, rows))

    def again_s(self, device: DeviceType, rows: int) -> Array:
        """[n] seconds of every block's forward, run once more: a checkpoint stops as soon as it has what the backward needs."""
        return self.remembered(("again", device, rows), lambda: self._again_s(device, rows))

    @cached_property
    def recomputable(self) -> Array:
        """[n] 1 for blocks that a stage may run once more, else 0."""
        return np.array([block.recomputable for block in self.blocks.blocks], dtype=np.float64)

    def shared_s(self, device: DeviceType, rows: int, start: int = 0, stop: int | None = None) -> float:
        """Seconds for the inputs-only ops that blocks [start, stop) need: once a microbatch, forward only."""
        names = self._rerun(start, self.count if stop is None else stop)

        def found() -> float:
            (places, _), (forward, _) = self._works(device.kind), self._ops_s(device, rows)
            return sum(forward[places[name]] for name in names)

        return self.remembered(("shared", device, rows, names), found)

    def _rerun(self, start: int, stop: int) -> tuple[str, ...]:
        return self.remembered(("rerun", start, stop), lambda: flow.needed_inputs_only(self.blocks, start, stop))

    def kept(self, device: DeviceType, rows: int, recompute: bool) -> Kept:
        return self.remembered(("kept", device.kind, rows, recompute), lambda: self._kept(device.kind, rows, recompute))

    def block_bytes(self, index: int, kind: Kind, rows: int, recompute: bool, *, given: bool) -> BlockBytes:
        """What a block keeps and needs, op by op; ``given``: gradients that come in are held, and counted, by somebody else."""
        first = first_alike(self.blocks)[index]
        key = ("bytes", first, kind, rows, recompute, given)
        return self.remembered(key, lambda: block_bytes(self, first, kind, rows, recompute, given=given))

    def shared_bytes(self, rows: int, start: int = 0, stop: int | None = None) -> float:
        """Results of the inputs-only ops of blocks [start, stop) that their backward needs: kept once a stage and microbatch."""
        return self.remembered(("shared bytes", rows, start, stop), lambda: self._shared_bytes(rows, start, stop))

    def cut(self, rows: int) -> Cut:
        return self.remembered(("cut", rows), lambda: self._cut(rows))

    def collectives_s(self, rows: int, topology: Topology) -> Array:
        """[n] seconds, both directions, of collectives inside the blocks: those of ops that mix samples."""
        if not self.blocks.sharded.mixing:
            return np.zeros(self.count)
        return self._spread(lambda index: mixing_s(self, index, rows, topology))

    def tensor_seconds(self, rows: int, topology: Topology) -> Seconds:
        """Of collectives between columns inside the blocks, and of their gradients; ``topology`` is that of one replica."""
        return self.remembered(
            ("tensor", rows, topology), lambda: Seconds(*self._spread(lambda i: columns_s(self, i, rows, topology)))
        )

    @property
    def count(self) -> int:
        return len(self.blocks.blocks)

    @cached_property
    def static(self) -> Array:
        """[n] bytes of parameters, gradients, optimizer state and buffers; what no block reads is in the first."""
        return np.array([self.static_bytes(i, i + 1) for i in range(self.count)])

    def static_bytes(self, start: int, stop: int) -> float:
        """Of a stage: what its blocks share counts once."""
        return self.remembered(("static", start, stop), lambda: self._static_bytes(start, stop))

    def _static_bytes(self, start: int, stop: int) -> float:
        buffers = set(flow.stage_buffers(self.blocks, start, stop))
        held = sum(buffer.value.nbytes(1) for buffer in self._graph.buffers if buffer.name in buffers)
        return held + sum(self.state_bytes(parameter) for parameter in self.parameters(start, stop))

    def parameters(self, start: int, stop: int) -> tuple[Parameter, ...]:
        """That a stage of blocks [start, stop) holds."""
        return self.remembered(("parameters", start, stop), lambda: self._parameters(start, stop))

    def _parameters(self, start: int, stop: int) -> tuple[Parameter, ...]:
        names = set(flow.stage_parameters(self.blocks, start, stop)) | (self._unread if start == 0 else frozenset())
        return tuple(parameter for parameter in self._graph.parameters if parameter.name in names)

    def trained_elements(self, start: int, stop: int) -> int:
        """That the optimizer updates in blocks [start, stop)."""
        return self.remembered(("trained", start, stop), lambda: sum(map(elements, self.parameters(start, stop))))

    @cached_property
    def _unread(self) -> frozenset[str]:
        read = set(flow.stage_parameters(self.blocks, 0, self.count))
        return frozenset(parameter.name for parameter in self._graph.parameters if parameter.name not in read)

    def state_bytes(self, parameter: Parameter) -> int:
        """All step long: itself, and where it is trained its gradient and the optimizer's state."""
        each = state_bytes(self.optimizer, self.precision) if parameter.trainable else frozen_bytes(self.precision)
        return each * parameter.value.numel(1)

    @cached_property
    def trained(self) -> Array:
        """[n] numbers of trainable elements."""
        return np.array([self.trained_elements(i, i + 1) for i in range(self.count)], dtype=np.float64)

    @property
    def gradient_bytes(self) -> Array:
        """[n] what a sum over replicas moves."""
        return self.trained * PRECISIONS[self.precision].gradient_bytes

    def update_transient(self, device: DeviceType, total: float = 0.0, sizes: Sequence[float] = ()) -> float:
        """Bytes that the optimizer needs on top while it updates: of all elements together, or of each parameter's in turn."""
        return update_transient_bytes(self.optimizer, self.precision, device.kind, total, sizes)

    def update_s(self, device: DeviceType, trained: float, start: int = 0, stop: int | None = None) -> float:  # noqa: ARG002
        """Seconds to update so many elements of blocks [start, stop): measured, or to read and write them and their state."""
        return update_s(device, self.optimizer, trained, trained * update_traffic_bytes(self.optimizer, self.precision))

    def adding_s(self, device: DeviceType, added: float, microbatches: int) -> float:
        """Mean seconds of a microbatch to add so many gradients to those before (the first has none): two reads, a write."""
        nbytes = added * PRECISIONS[self.precision].gradient_bytes
        return 3 * nbytes * memory_byte_s(device) * (1 - 1 / microbatches) if microbatches > 1 else 0.0

    def update_parts(self, device: DeviceType, trained: Array) -> Array:  # noqa: ARG002
        """[n] each block's part of an update of so many of their elements."""
        found: Array = trained / max(float(trained.sum()), 1.0)
        return found

    @cached_property
    def ties(self) -> tuple[tuple[int, int, float], ...]:
        """(first, second, static bytes) of blocks next to each other among the readers of one parameter."""
        size = {parameter.name: float(self.state_bytes(parameter)) for parameter in self._graph.parameters}
        found = [(a, b, size[name]) for name, readers in flow.ties(self.blocks) for a, b in pairwise(readers)]
        return tuple(sorted(found))

    # How the answers are found

    def remembered(self, key: Hashable, find: Callable[[], T]) -> T:
        """The answer to a question that was asked before, or that ``find`` finds."""
        if key not in self._memory:
            self._memory[key] = find()
        return self._memory[key]  # type: ignore[return-value]

    def lately(self, key: Hashable, find: Callable[[], T]) -> T:
        """As ``remembered``, of the last ``LATELY`` keys: for answers as large as the model."""
        recent: dict[Hashable, T] = self.remembered("lately", dict)
        recent[key] = recent.pop(key) if key in recent else find()
        if len(recent) > LATELY:
            del recent[next(iter(recent))]
        return recent[key]

    @property
    def _graph(self) -> Graph:
        return self.blocks.sharded.graph

    @cached_property
    def _ops(self) -> dict[str, Op]:
        return {op.name: op for op in self._graph.ops}

    def op(self, name: str) -> Op:
        return self._ops[name]

    def work(self, op: Op, kind: Kind, rows: int) -> Work:
        """Of one op of the graph."""
        return self.remembered((op.name, kind, rows), lambda: self._work(op, kind, rows))

    def _work(self, op: Op, kind: Kind, rows: int) -> Work:
        places, table = self._works(kind)
        if op.name in places and not self.blocks.sharded.mixing:  # what is gathered has the rows of the whole batch
            return table.work(places[op.name], rows)
        return op_work(op, self._graph, rows, fused=kind == "accelerator", whole=self.batch_size)

    def work_line(self, op: Op, kind: Kind, quantity: str) -> Line:
        """A quantity of an op over the samples; NotAffineError where it is none."""
        places, table = self._works(kind)
        if op.name in places and not self.blocks.sharded.mixing:
            return table.line(places[op.name], quantity)
        return through(lambda rows: float(getattr(self.work(op, kind, rows), quantity)))

    def value_line(self, name: str) -> Line:
        """Bytes of a value over the samples; NotAffineError where they are none."""
        value = self._graph.values[name]
        return self.remembered(("line", value.shape, value.dtype), lambda: through(lambda rows: self.value_bytes({name}, rows)))

    def op_s(self, op: Op, device: DeviceType, rows: int) -> tuple[float, float]:
        """Forward and backward of one op of the graph; those of a block add up to what the block takes."""
        return self.price(op, device, rows).seconds

    def price(self, op: Op, device: DeviceType, rows: int) -> Price:
        """Of one op of the graph, as ``op_s``, and where it comes from."""
        alone = self.price_alone(op, device, rows)
        block = self.blocks.block_of.get(op.name)
        return alone if device.measured is None or block is None else in_block(self, alone, block, device, rows)

    def price_alone(self, op: Op, device: DeviceType, rows: int) -> Price:
        """Of one op of the graph, wherever it is."""
        asked = demand(op, self.work(op, device.kind, rows), self.precision)
        price = op_price(device, asked, self.op_key(op) if device.measured else "", rows)
        if device.measured is None or self.whole is None or price.model not in ("fitted", "analytic"):
            return price
        return self.whole.part_alone(op.name, asked, device, rows) or price

    def part_alone(self, name: str, asked: Demand, device: DeviceType, rows: int) -> Price | None:
        """Of a part of an op of the graph, wherever it is; None where it is no op of it."""
        op = self._ops.get(name)
        if op is None:
            return None
        whole = demand(op, self.work(op, device.kind, rows), self.precision)
        return part_price(device, asked, whole, self.op_key(op) if device.measured else "", rows)

    def op_key(self, op: Op) -> str:
        """Its key among measurements."""
        return self.remembered(("key", op.name), lambda: op_key(op, self._graph, self.runs_in(op)))

    def block_key(self, index: int) -> str:
        """The key of a block among measurements: one for all of its kind."""
        first = self.blocks.first_of_kind[self.blocks.blocks[index].kind]
        ops = [self._ops[name] for name in self.blocks.blocks[first].ops]
        return self.remembered(("block key", first), lambda: block_key(((op, self.runs_in(op)) for op in ops), self._graph))

    def runs_in(self, op: Op) -> str:
        """The dtype under autocast, where that is not the trace's."""
        cast = casts(op, self.work(op, "cpu", 1), self.precision)
        return PRECISIONS[self.precision].compute_dtype if cast else ""

    def demand(self, op: Op, kind: Kind, rows: int) -> Demand | None:
        """What the op asks of a device; None where its seconds are not made of that."""
        return demand(op, self.work(op, kind, rows), self.precision)

    def _spread(self, evaluate: Callable[[int], float | tuple[float, ...]]) -> Array:
        """Evaluates the first block of each kind; [..., n]."""
        kinds = [block.kind for block in self.blocks.blocks]
        first = {kind: evaluate(kinds.index(kind)) for kind in dict.fromkeys(kinds)}
        return np.array([first[kind] for kind in kinds], dtype=np.float64).T

    def _works(self, kind: Kind) -> tuple[dict[str, int], WorkTable]:
        """The work of the ops of the first of blocks that are alike, and of those that stages re-run; and their places in it."""

        def found() -> tuple[dict[str, int], WorkTable]:
            first = [self.blocks.blocks[index] for index in dict.fromkeys(first_alike(self.blocks))]
            names = (*(name for block in first for name in block.ops), *self.blocks.inputs_only)
            table = work_table([self._ops[name] for name in names], self._graph, fused=kind == "accelerator")
            return {name: place for place, name in enumerate(names)}, table

        return self.remembered(("works", kind), found)

    def _ops_s(self, device: DeviceType, rows: int) -> OpsSeconds:
        """Forward and backward of the ops of ``_works``."""
        return self.remembered(("op seconds", device, rows), lambda: self._find_ops_s(device, rows))

    def _find_ops_s(self, device: DeviceType, rows: int) -> OpsSeconds:
        """All together by the roofline, or one by one as somebody measured them."""
        table = self._works(device.kind)[1]
        if device.measured is None:
            forward, backward = table_seconds(table, rows, device, self.precision).tolist()
            return forward, backward
        each = [self.op_s(op, device, rows) for op in table.ops]
        return [forward for forward, _ in each], [backward for _, backward in each]

    def _seconds(self, device: DeviceType, rows: int) -> Seconds:
        places, _ = self._works(device.kind)
        each = self._ops_s(device, rows)

        def evaluate(index: int) -> tuple[float, ...]:
            own = [places[name] for name in self.blocks.blocks[index].ops]
            return tuple(sum(seconds[place] for place in own) for seconds in each)

        forward, backward = self._spread(evaluate)
        return Seconds(forward, backward)

    def _again_s(self, device: DeviceType, rows: int) -> Array:
        (places, table), (forward, _) = self._works(device.kind), self._ops_s(device, rows)

        def evaluate(index: int) -> float:
            ops = [self._ops[name] for name in self.blocks.blocks[index].ops]
            own = [places[op.name] for op in ops]
            begun, ended = begun_again(ops, [table.works[place] for place in own])
            return sum(forward[place] for place in own[: begun if ended else max(0, begun - 1)])

        found: Array = self._spread(evaluate) * self.recomputable
        return found

    def _kept(self, kind: Kind, rows: int, recompute: bool) -> Kept:
        def evaluate(index: int) -> tuple[float, float]:
            kept, inputs = self.remembered(("block", index, kind, rows), lambda: self._block(index, kind, rows))
            needs = self.block_bytes(index, kind, rows, recompute, given=False)
            working = max(needs.forward, needs.backward.first, needs.backward.later, 0.0)
            again = recompute and self.blocks.blocks[index].recomputable
            return (inputs if again else kept), working

        inflight, working = self._spread(evaluate)
        return Kept(inflight, working, self.cut(rows).values)

    def _block(self, index: int, kind: Kind, rows: int) -> tuple[float, float]:
        """What one block keeps, and its inputs alone: kernels of an accelerator and of a CPU keep different things."""
        ops = [self._ops[name] for name in self.blocks.blocks[index].ops]
        places, table = self._works(kind)
        works = [table.works[places[op.name]] for op in ops]
        beside_bytes = self.remembered(("saved", kind, rows), lambda: table.at(rows)[:, QUANTITIES.index("saved_bytes")])
        inputs = set(flow.block_inputs(self.blocks, index))
        made = {value.name for op in ops for value in op.outputs}
        saved = {name for work in works for name in work.saved if name in made} | inputs
        copies = sum(self.weight_copies(op, work) for op, work in zip(ops, works, strict=True))
        beside = sum(float(beside_bytes[places[op.name]]) for op in ops) * activation_factor(self.precision)
        return self.value_bytes(saved, rows) + beside + copies, self.value_bytes(inputs, rows)

    def value_bytes(self, names: set[str], rows: int) -> float:
        """Together, in this precision."""
        values = [self._graph.values[name] for name in sorted(names)]
        factor = activation_factor(self.precision)
        return sum(self.nbytes(value, rows) * (factor if value.dtype == "float32" else 1.0) for value in values)

    def weight_copies(self, op: Op, work: Work) -> int:
        """Autocast keeps the weights of matrix ops in the compute dtype, for every microbatch in flight."""
        if not casts(op, work, self.precision):
            return 0
        weights = {self._graph.parameter_of[name].value for name in op.inputs if name in self._graph.parameter_of}
        return sum(value.numel(1) for value in weights) * PRECISIONS[self.precision].weight_copy_bytes

    def _shared_bytes(self, rows: int, start: int, stop: int | None) -> float:
        last = self.count if stop is None else stop
        return self.value_bytes(self.remembered(("shared names", start, last), lambda: self._shared_names(start, last)), rows)

    def _shared_names(self, start: int, stop: int) -> set[str]:
        """Results of re-run ops that the backward of blocks [start, stop) keeps: the same at any number of rows."""
        made = {value.name for name in self._rerun(start, stop) for value in self._ops[name].outputs}
        ops = [self._ops[name] for block in self.blocks.blocks[start:stop] for name in block.ops]
        return {name for op in ops if not made.isdisjoint(op.inputs) for name in self.work(op, "accelerator", 1).saved} & made

    def _cut(self, rows: int) -> Cut:
        values, gradients = np.zeros(self.count + 1), np.zeros(self.count + 1)
        for boundary, names in enumerate(self.crossing, start=1):
            sizes = {name: self.nbytes(self._graph.values[name], rows) for name in names}
            values[boundary] = sum(sizes.values())
            gradients[boundary] = sum(nbytes for name, nbytes in sizes.items() if name in self.trained_values)
        return Cut(values, gradients)

    @cached_property
    def crossing(self) -> tuple[tuple[str, ...], ...]:
        """Values that cross each inner boundary."""
        return tuple(flow.cut_values(self.blocks, boundary) for boundary in range(1, self.count))

    @cached_property
    def trained_values(self) -> frozenset[str]:
        return differentiable(self._graph)

    def nbytes(self, value: Value, rows: int) -> int:
        """Of a value, in the dtype of the trace."""
        return prod(value.shape_at(rows, self.batch_size)) * DTYPE_BYTES[value.dtype]


def elements(parameter: Parameter) -> int:
    """That an optimizer updates of it."""
    return parameter.value.numel(1) if parameter.trainable else 0
