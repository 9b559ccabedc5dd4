"""Which values share a storage, found by following strides as torch does.

``may_alias`` of the graph's analysis is careful (a reshape may be a view); here a reshape of a transposed value is the copy that
it is, because bytes are counted. Strides are those at one batch size.
"""

# ruff: noqa: ARG001  the functions of a table have one signature

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from autopart.ir.analysis import INERT_WITHOUT_TRAINING, argument, is_random, once, packet
from autopart.ir.graph import Argument, GlobalSize, Graph, Op, Ref, Size, Value

BATCH = 11  # samples at which strides are compared; no size of a model divides or equals it by accident
Shape = tuple[int, ...]
Strides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a value's elements lie: ``storage`` is the value that owns them."""

    storage: str
    shape: Shape
    strides: Strides

    @property
    def contiguous(self) -> bool:
        return _same_order(self.shape, self.strides, dense(self.shape))

    def rows_in_order(self, inner: int) -> bool:
        """Whether all dims but the last ``inner`` can be seen as one dim without a copy: what a batched matmul needs."""
        outer, strides = self.shape[: len(self.shape) - inner], self.strides[: len(self.shape) - inner]
        return 0 in self.shape or reshaped(outer, strides, (prod(outer),)) is not None


@once
def layouts(graph: Graph) -> Mapping[str, Layout]:
    """Of every value."""
    made = {value.name for op in graph.ops for value in op.outputs}
    found = {name: _fresh(value) for name, value in graph.values.items() if name not in made}
    for op in graph.ops:
        for index, value in enumerate(op.outputs):
            found[value.name] = _layout(op, index, value, found)
    return found


def _fresh(value: Value) -> Layout:
    shape = value.shape_at(BATCH)
    return Layout(value.name, shape, dense(shape))


def _layout(op: Op, index: int, value: Value, known: Mapping[str, Layout]) -> Layout:
    source = op.args[0] if op.args else None
    if packet(op) == "broadcast_tensors" and isinstance(source, tuple):
        source = source[index]
    if not isinstance(source, Ref) or source.name not in known:
        return _fresh(value)
    old, shape, name = known[source.name], value.shape_at(BATCH), packet(op)
    same_memory = name.endswith("_") or name in SAME or (name in INERT_WITHOUT_TRAINING and not is_random(op))
    if same_memory:
        return Layout(old.storage, shape, old.strides) if shape == old.shape else _fresh(value)
    if name in CASTS:
        return _cast(op, old, value, shape)
    strides = VIEWED[name](op, old, shape) if name in VIEWED else None
    if strides is not None:
        return Layout(old.storage, shape, strides)
    keeps_order = shape == old.shape and name not in CONTIGUOUS
    return Layout(value.name, shape, in_order_of(shape, old.strides)) if keeps_order else _fresh(value)


# Results that are contiguous whatever the inputs; an elementwise op keeps the order of its first input.
CONTIGUOUS = frozenset(
    """reshape clone linear matmul mm bmm addmm einsum layer_norm rms_norm group_norm softmax log_softmax cumsum conv1d conv2d
    conv3d index_select embedding fft_rfft fft_irfft""".split()  # noqa: SIM905
)
SAME = frozenset(("detach", "alias", "lift_fresh", "positive", "resolve_conj", "resolve_neg", "conj"))
CASTS = frozenset(("to", "type_as", "_to_copy", "contiguous"))


def _cast(op: Op, old: Layout, value: Value, shape: Shape) -> Layout:
    """No copy where there is nothing to change. A cast that tracing kept changes the dtype."""
    if packet(op) == "contiguous":
        return Layout(old.storage, shape, old.strides) if old.contiguous else _fresh(value)
    return Layout(value.name, shape, in_order_of(shape, old.strides))


def _transposed(op: Op, old: Layout, shape: Shape) -> Strides:
    order, rank = list(range(len(shape))), len(shape)
    first, second = _dim(op, 1, "dim0", rank), _dim(op, 2, "dim1", rank)
    order[first], order[second] = second, first
    return tuple(old.strides[i] for i in order)


def _reversed(op: Op, old: Layout, shape: Shape) -> Strides:
    return tuple(reversed(old.strides))


def _matrices_transposed(op: Op, old: Layout, shape: Shape) -> Strides:
    return (*old.strides[:-2], old.strides[-1], old.strides[-2])


def _permuted(op: Op, old: Layout, shape: Shape) -> Strides:
    return tuple(old.strides[i % len(shape)] for i in _ints(argument(op, 1, "dims")))


def _moved(op: Op, old: Layout, shape: Shape) -> Strides:
    rank, source, target = len(shape), _ints(argument(op, 1, "source")), _ints(argument(op, 2, "destination"))
    place = {t % rank: s % rank for s, t in zip(source, target, strict=True)}
    rest = iter(i for i in range(rank) if i not in place.values())
    return tuple(old.strides[place[i] if i in place else next(rest)] for i in range(rank))


def _unsqueezed(op: Op, old: Layout, shape: Shape) -> Strides:
    dim = _dim(op, 1, "dim", len(shape))
    inner = old.shape[dim] * old.strides[dim] if dim < len(old.shape) else 1
    return (*old.strides[:dim], inner, *old.strides[dim:])


def _squeezed(op: Op, old: Layout, shape: Shape) -> Strides:
    if len(shape) == len(old.shape):
        return old.strides
    dims = _ints(argument(op, 1, "dim")) or range(len(old.shape))
    dropped = {dim % len(old.shape) for dim in dims if old.shape[dim] == 1}
    return tuple(stride for i, stride in enumerate(old.strides) if i not in dropped)


def _expanded(op: Op, old: Layout, shape: Shape) -> Strides:
    new = len(shape) - len(old.shape)
    kept = (s if a == b else 0 for s, a, b in zip(old.strides, old.shape, shape[new:], strict=True))
    return (*(0 for _ in range(new)), *kept)


def _sliced(op: Op, old: Layout, shape: Shape) -> Strides:
    dim, step = _dim(op, 1, "dim", len(shape)), argument(op, 4, "step", 1)
    assert isinstance(step, int), f"{op.name} slices by a step of {step}"
    return tuple(stride * step if i == dim else stride for i, stride in enumerate(old.strides))


def _as_before(op: Op, old: Layout, shape: Shape) -> Strides:
    return old.strides


def _selected(op: Op, old: Layout, shape: Shape) -> Strides:
    dim = _dim(op, 1, "dim", len(old.shape))
    return (*old.strides[:dim], *old.strides[dim + 1 :])


def _reshaped(op: Op, old: Layout, shape: Shape) -> Strides | None:
    return reshaped(old.shape, old.strides, shape)


def _whatever(op: Op, old: Layout, shape: Shape) -> Strides:
    """Shares the storage; its order matters to nobody."""
    return dense(shape)


# Strides of a view of ``old``; None where the op has to copy. Ops that are not here make a new tensor.
VIEWED: Mapping[str, Callable[[Op, Layout, Shape], Strides | None]] = {
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transposed),
    **dict.fromkeys(("t", "T", "numpy_T"), _reversed),
    **dict.fromkeys(("mT", "adjoint"), _matrices_transposed),
    "permute": _permuted,
    "movedim": _moved,
    "unsqueeze": _unsqueezed,
    "squeeze": _squeezed,
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "broadcast_tensors"), _expanded),
    "slice": _sliced,
    **dict.fromkeys(("narrow", "split", "split_with_sizes", "chunk", "tensor_split"), _as_before),
    **dict.fromkeys(("select", "unbind"), _selected),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "ravel"), _reshaped),
    **dict.fromkeys(("diagonal", "unfold", "as_strided", "real", "imag", "view_as_real", "view_as_complex"), _whatever),
}


def _dim(op: Op, position: int, name: str, rank: int) -> int:
    dim = argument(op, position, name, 0)
    return dim % rank if isinstance(dim, int) and rank else 0


def _ints(arg: Argument) -> tuple[int, ...]:
    items = arg if isinstance(arg, tuple) else (arg,)
    return tuple(item if isinstance(item, int) else item.at(BATCH) for item in items if isinstance(item, int | Size | GlobalSize))


def dense(shape: Shape) -> Strides:
    """Strides of a contiguous tensor."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def _same_order(shape: Shape, a: Strides, b: Strides) -> bool:
    return 0 in shape or all(x == y for size, x, y in zip(shape, a, b, strict=True) if size != 1)


def in_order_of(shape: Shape, strides: Strides) -> Strides:
    """Strides without gaps that lie in memory in the order of others, as a result of an elementwise op does."""
    if any(stride == 0 for size, stride in zip(shape, strides, strict=True) if size != 1):
        return dense(shape)
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    packed = dense(tuple(shape[i] for i in order))
    return tuple(packed[order.index(i)] for i in range(len(shape)))


def reshaped(shape: Shape, strides: Strides, new: Shape) -> Strides | None:
    """Strides under which the same elements have the shape ``new``; None where that takes a copy.

    Runs of dims that lie one inside the other in memory are one dim; every such run must be a run of new dims.
    """
    if 0 in shape:
        return dense(new)
    result: list[int] = []
    sizes = list(reversed(new))
    for size, stride in _merged(shape, strides):
        taken = 1
        while taken < size and sizes:
            result.append(stride * taken)
            taken *= sizes.pop(0)
        if taken != size:
            return None
    if any(size != 1 for size in sizes):
        return None
    result += [prod(new)] * len(sizes)
    return tuple(reversed(result))


def _merged(shape: Shape, strides: Strides) -> list[tuple[int, int]]:
    """(size, stride) of the dims after merging what can be, innermost first; dims of size one are dropped."""
    found: list[tuple[int, int]] = []
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size == 1:
            continue
        if found and stride == found[-1][0] * found[-1][1]:
            found[-1] = (found[-1][0] * size, found[-1][1])
        else:
            found.append((size, stride))
    return found
