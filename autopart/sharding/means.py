"""Means over what is split -> sums divided by a count: of the global batch, or of what the inputs say is counted.

A mean is no sum of the ranks' means where the ranks differ in size. The count of plain elements is a ``GlobalSize``, that of
elements that ``ignore_index`` or class weights pick is a sum over the targets, which propagation turns into a step statistic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autopart.ir.graph import Argument, Dim, GlobalSize, Op, Ref, Size, Symbol, Value
from autopart.sharding.ops import losses
from autopart.sharding.placement import Shard
from autopart.sharding.rules import Place, argument, uses

Sizes = Sequence[Dim]
Keywords = tuple[tuple[str, Argument], ...]


@dataclass
class Steps:
    """The ops that take an op's place; all bear its module and source, and names that derive from its own."""

    op: Op
    made: list[Op] = field(default_factory=list)

    def add(self, kind: str, args: tuple[Argument, ...], shape: Sizes, dtype: str, kwargs: Keywords = ()) -> Ref:
        """Appends an op and returns its result."""
        base = kind.split(".")[1]
        taken = sum(step.kind.split(".")[1] == base for step in self.made)
        name = f"{self.op.name}.{base}{taken or ''}"
        outputs = (Value(name, tuple(shape), dtype),)
        self.made.append(replace(self.op, name=name, kind=kind, args=args, kwargs=kwargs, outputs=outputs, mutates=()))
        return Ref(name)

    def finish(self, kind: str, args: tuple[Argument, ...], kwargs: Keywords = ()) -> tuple[Op, ...]:
        """The last op, which makes what the original made."""
        return (*self.made, replace(self.op, kind=kind, args=args, kwargs=kwargs))


def rewrite(op: Op, values: Mapping[str, Value], places: Mapping[str, Place]) -> tuple[Op, ...]:
    """The op itself, or what a mean over split dims becomes."""
    base = op.kind.split(".")[1]
    if base == "mean":
        return mean(op, values, places)
    split = any(isinstance(places[name], Shard) for name in uses(op))
    if base in losses.REDUCTION and split and losses.reduction(op) == losses.MEAN:
        return mean_loss(op, values)
    return (op,)


def mean(op: Op, values: Mapping[str, Value], places: Mapping[str, Place]) -> tuple[Op, ...]:
    """``mean(x, dims, keepdim)`` -> ``sum(x, dims, keepdim) / count``."""
    x = values[uses(op)[0]]
    place, rank = places[x.name], len(x.shape)
    dims = argument(op, 1, "dim", None)
    chosen = [int(dim) % rank for dim in dims if isinstance(dim, int)] if isinstance(dims, tuple) and dims else list(range(rank))
    if not isinstance(place, Shard) or place.dim not in chosen:
        return (op,)
    steps = Steps(op)
    out = op.outputs[0]
    kind = "aten.sum.default" if op.kind == "aten.mean.default" else "aten.sum.dim_IntList"
    total = steps.add(kind, op.args, out.shape, out.dtype, op.kwargs)
    return steps.finish("aten.div.Tensor", (total, count([x.shape[dim] for dim in chosen])))


def count(sizes: Sizes) -> int | GlobalSize:
    """The product of sizes, over the global batch."""
    number = 1
    symbols = [
        f"({size})" if not str(size.expression).isalnum() else size.expression
        for size in sizes
        if isinstance(size, Size | GlobalSize)
    ]
    for size in sizes:
        number *= size if isinstance(size, int) else 1
    if not symbols:
        return number
    return GlobalSize("*".join([str(number)] * (number != 1) + symbols))


def mean_loss(op: Op, values: Mapping[str, Value]) -> tuple[Op, ...]:
    """``loss(…, reduction=mean)`` -> ``loss(…, reduction=sum) / count``."""
    steps = Steps(op)
    denominator = loss_count(steps, values)
    out = op.outputs[0]
    position = losses.REDUCTION[losses.name(op)]
    args, kwargs = op.args, dict(op.kwargs)
    if position < len(args):
        args = (*args[:position], losses.SUM, *args[position + 1 :])
    else:
        kwargs["reduction"] = losses.SUM
    total = steps.add(op.kind, args, out.shape, out.dtype, tuple(kwargs.items()))
    return steps.finish("aten.div.Tensor", (total, denominator))


def loss_count(steps: Steps, values: Mapping[str, Value]) -> Argument:
    """What the mean of a loss divides by."""
    name = losses.name(steps.op)
    tensors = [values[use] for use in uses(steps.op)]
    x, target = tensors[0], tensors[1]
    if name in losses.CLASSES and len(target.shape) < len(x.shape):
        return class_count(steps, target, values)
    if name in losses.CLASSES:  # probabilities: by sample and position, whatever the weights
        return count([x.shape[0], *x.shape[2:]])
    if name in losses.SAMPLEWISE:
        return count(x.shape[:1])
    return count(common_sizes([tensor.shape for tensor in tensors]))


def common_sizes(shapes: Sequence[Sizes]) -> Sizes:
    """The sizes that all shapes broadcast to."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return [next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True)]


def class_count(steps: Steps, target: Value, values: Mapping[str, Value]) -> Ref:
    """Targets that are not ignored, each as often as its class weighs."""
    op = steps.op
    weight = argument(op, 2, "weight", None)
    counted = steps.add("aten.ne.Scalar", (Ref(target.name), argument(op, 4, "ignore_index", -100)), target.shape, "bool")
    if not isinstance(weight, Ref):
        return steps.add("aten.sum.default", (counted,), (), "int64")
    dtype = values[weight.name].dtype
    safe = steps.add("aten.mul.Tensor", (Ref(target.name), counted), target.shape, target.dtype)
    fixed = steps.add("aten.detach.default", (weight,), values[weight.name].shape, dtype)
    each = steps.add("aten.index.Tensor", (fixed, (safe,)), target.shape, dtype)
    kept = steps.add("aten.mul.Tensor", (each, counted), target.shape, dtype)
    return steps.add("aten.sum.default", (kept,), (), dtype)


def partial_offset(op: Op, values: Mapping[str, Value]) -> tuple[Op, ...]:
    """``x + number`` where x is a partial sum: the number becomes a tensor, so that it can be counted once."""
    name = uses(op)[0]
    first = op.args[0] == Ref(name)
    number = op.args[1] if first else op.args[0]
    out = op.outputs[0]
    steps = Steps(op)
    dtype: Keywords = (("dtype", Symbol(f"torch.{out.dtype}")),)
    offset = steps.add("aten.full_like.default", (Ref(name), number), values[name].shape, out.dtype, dtype)
    base = op.kind.split(".")[1]
    args = (Ref(name), offset) if first else (offset, Ref(name))
    alpha = argument(op, 2, "alpha", 1)
    return steps.finish(f"aten.{base}.Tensor", args, (("alpha", alpha),) if alpha != 1 else ())
