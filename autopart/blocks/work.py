"""What an op costs, whatever the device: flops, bytes moved, and what autograd keeps until the backward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autopart.blocks.call import Call, facts
from autopart.blocks.line import CHECKED, FITTED, Line, NotAffineError
from autopart.blocks.op_flops import factors
from autopart.blocks.op_table import Row, row_of
from autopart.ir.analysis import once
from autopart.ir.graph import Graph, Op, Value
from cost_models.compute import Products
from cost_models.tiles import Product

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Work:
    """One op at one number of samples, in the dtypes of the trace.

    ``category`` is matmul, conv, attention, recurrent, fourier (these compute), normalization, softmax, elementwise, random,
    reduction, pool, gather, loss, comm, factory (these move bytes), or view (free where no bytes move). Bytes are reads and
    writes; gradients of parameters are written once (summing them over microbatches is not in here), those of a value with
    several uses are added up here. ``saved`` names the values *that own the memory* which the backward needs (a view counts
    as its base; parameters and buffers never), so that a set of names counts memory once; ``saved_bytes`` comes on top:
    dropout masks, statistics of norms, copies; ``keeps``: whether there is anything at all, parameters too. ``wanted`` are
    the inputs that get a gradient; ``passed`` those of them whose gradient is the incoming one, or a view of it;
    ``working_bytes`` the backward needs while it runs, beside all gradients; ``spare_bytes`` results take more than their
    elements, ``making_bytes`` the forward needs while it runs.
    ``products``: the products of matrices of forward and backward, where kernels run it as such.
    """

    category: str
    dtype: str
    forward_flops: int
    forward_bytes: int
    backward_flops: int
    backward_bytes: int
    saved: tuple[str, ...]
    saved_bytes: int
    wanted: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    working_bytes: int = 0
    spare_bytes: int = 0
    making_bytes: int = 0
    products: Products = ((), ())
    keeps: bool = False

    def made_to_keep(self, op: Op) -> bool:
        """Whether it has to be computed for what it keeps: else that is its inputs, or a mask that is drawn before."""
        results = {value.name for value in op.outputs}
        return not results.isdisjoint(self.saved) or (self.saved_bytes > 0 and self.category != "random")


def op_work(op: Op, graph: Graph, batch: int, *, fused: bool = True, whole: int | None = None) -> Work:
    """``fused``: with the kernels of an accelerator (flash attention under dropout, dropout masks of a byte), else a CPU's.
    ``whole``: samples of what is gathered from all ranks.
    """
    return work(Call(op, facts(graph), batch, fused, whole))


def work(call: Call) -> Work:
    row = row_of(call)
    forward = row.flops(call)
    live = bool(call.wanted)
    extra = row.extra(call) if live else 0
    return Work(
        category=row.category,
        dtype=_dtype(call),
        forward_flops=forward,
        forward_bytes=row.forward_bytes(call),
        backward_flops=int(forward * row.backward(call)) if live else 0,
        backward_bytes=row.backward_bytes(call) + _summing(call) if live else 0,
        saved=saved(call),
        saved_bytes=extra,
        wanted=tuple(value.name for value in call.wanted),
        passed=tuple(value.name for value in row.passes(call) if value and value in call.wanted),
        working_bytes=row.working(call) if live else 0,
        spare_bytes=row.spare(call),
        making_bytes=row.making(call),
        products=_products(call, row),
        keeps=bool(_kept(call) or extra),
    )


def _products(call: Call, row: Row) -> Products:
    """The backward has one for the gradient of each factor; that of attention takes rows of keys as the forward takes queries."""
    forward = row.product(call)
    if forward is None:
        return (), ()
    if row.category == "attention":
        return (forward,), (Product(forward.count, forward.depth, forward.columns, forward.rows),) if call.wanted else ()
    made = zip(factors(call), forward.gradients(), strict=False)
    return (forward,), tuple(gradient for factor, gradient in made if factor in call.wanted)


def _dtype(call: Call) -> str:
    """What it computes in: the dtype of its first floating input, or else of its result."""
    floating = [value.dtype for value in call.tensors if value.floating]
    return (floating or [value.dtype for value in (*call.outputs, *call.tensors)] or ["float32"])[0]


def _summing(call: Call) -> int:
    """Every use of a value but one adds its gradient to that of the others: two reads, one write."""
    graph, last_use = call.facts.graph, call.facts.last_use
    return 3 * call.nbytes(*(v for v in call.wanted if last_use[v.name] != call.op.name and v.name not in graph.parameter_of))


def _kept(call: Call) -> list[Value]:
    """What the backward keeps, parameters too."""
    return [value for value in row_of(call).keeps(call) if value] if call.wanted else []


def saved(call: Call) -> tuple[str, ...]:
    """Owners of the memory of what the backward keeps, without parameters and buffers."""
    graph, layouts = call.facts.graph, call.facts.layouts
    owners = dict.fromkeys(layouts[value.name].storage for value in _kept(call))
    return tuple(name for name in owners if name not in graph.parameter_of and name not in graph.buffer_of)


@once
def kept_storages(graph: Graph) -> frozenset[str]:
    """Values that own memory which some op's backward needs."""
    return frozenset(name for op in graph.ops for name in saved(Call(op, facts(graph), FITTED[0], fused=False)))


def keeps_anything(ops: Iterable[Op], graph: Graph) -> bool:
    """Whether the backward of any of them needs more than incoming gradients, on some device."""
    return any(op_work(op, graph, FITTED[0], fused=fused).keeps for op in ops for fused in (False, True))


def begun_again(ops: Sequence[Op], works: Sequence[Work]) -> tuple[int, bool]:
    """How many of a block's ops a checkpoint begins once more, and whether it lets the last of them end: it stops as soon as it
    has all that the backward needs.
    """
    begun = max((index + 1 for index, work in enumerate(works) if work.keeps), default=0)
    return begun, begun > 0 and works[begun - 1].made_to_keep(ops[begun - 1])


QUANTITIES = (
    "forward_flops", "forward_bytes", "backward_flops", "backward_bytes", "saved_bytes", "working_bytes", "spare_bytes",
    "making_bytes",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class WorkTable:
    """The ``QUANTITIES`` of some ops at any number of samples, for the price of a multiplication.

    They are nearly always affine in the samples, and whole numbers; ops for which that was found wrong (``exact``) are counted
    again.
    """

    ops: tuple[Op, ...]
    works: tuple[Work, ...]  # at FITTED[0] samples; for what does not depend on the number
    constant: Array  # [ops, quantities]
    slope: Array
    exact: tuple[int, ...]
    graph: Graph
    fused: bool

    def at(self, batch: int) -> Array:
        """[ops, quantities]"""
        found = self.constant + self.slope * batch
        for index in self.exact:
            found[index] = _numbers(op_work(self.ops[index], self.graph, batch, fused=self.fused))
        return found

    def products_at(self, batch: int) -> Mapping[int, Products]:
        """By the index of ops that have any."""
        multiply = [index for index, work in enumerate(self.works) if work.products[0]]
        return {i: op_work(self.ops[i], self.graph, batch, fused=self.fused).products for i in multiply}

    def line(self, index: int, quantity: str) -> Line:
        """A quantity of one op; NotAffineError where it is none."""
        if index in self.exact:
            raise NotAffineError
        column = QUANTITIES.index(quantity)
        return Line(float(self.constant[index, column]), float(self.slope[index, column]))

    def work(self, index: int, batch: int) -> Work:
        """Of one op."""
        if index in self.exact or self.works[index].products[0]:
            return op_work(self.ops[index], self.graph, batch, fused=self.fused)
        numbers = (self.constant[index] + self.slope[index] * batch).astype(int).tolist()
        return replace(self.works[index], **dict(zip(QUANTITIES, numbers, strict=True)))


def work_table(ops: Sequence[Op], graph: Graph, *, fused: bool = True) -> WorkTable:
    """Fits straight lines and checks them."""

    def counted(batch: int) -> tuple[Work, ...]:
        return tuple(op_work(op, graph, batch, fused=fused) for op in ops)

    def measured(works: Sequence[Work]) -> Array:
        return np.array([_numbers(work) for work in works], dtype=np.float64).reshape(len(ops), len(QUANTITIES))

    works = counted(FITTED[0])
    low, high = measured(works), measured(counted(FITTED[1]))
    slope = (high - low) / (FITTED[1] - FITTED[0])
    constant = low - slope * FITTED[0]
    wrong = np.zeros(len(ops), dtype=bool)
    for batch in CHECKED:
        wrong |= (constant + slope * batch != measured(counted(batch))).any(axis=1)
    return WorkTable(tuple(ops), works, constant, slope, tuple(np.flatnonzero(wrong).tolist()), graph, fused)


def _numbers(work: Work) -> tuple[int, ...]:
    return tuple(getattr(work, quantity) for quantity in QUANTITIES)
