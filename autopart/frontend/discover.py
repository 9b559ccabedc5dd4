"""Ops without a rule: how they may be split, found by running them on parts of small inputs.

An op of somebody's own (``torch.library``) is tried under every way to lie its inputs over ranks: sharded along a dim that counts
samples, replicated, partial. What every rank computes must combine to what the whole op computes, and so must gradients, by
the convention of ``sharding/placement.py``, for several splits and several draws of the inputs. An op that fails all trials
is run on all samples: slower, and right. It is evidence, not proof: an op that behaves otherwise on inputs unlike these
(random numbers of several magnitudes, small non-negative integers) needs a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from math import prod

import torch
from torch import Tensor

from autopart.frontend.interpret import evaluate, overload
from autopart.ir.analysis import is_random
from autopart.ir.graph import Argument, GlobalSize, Graph, Op, Size, Value
from autopart.sharding.placement import Partial, Placement, Replicate, Shard
from autopart.sharding.propagate import with_uses
from autopart.sharding.rules import REGISTRY, Row, base_name, uses

SPLITS = ((2, 3), (4, 1), (1, 2, 2))  # samples of each rank; all of one batch
MAGNITUDES = (1.0, 0.1, 4.0)
SAMPLES = 5
LARGEST = 2**24  # elements of an op's inputs beyond which it is not tried
COMBINATIONS = 256
TOLERANCE = 1e-9

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class _Trial:
    """One draw of the inputs and of the outputs' gradients, and what the whole op makes of them.

    A gradient is None where the op has none.
    """

    split: tuple[int, ...]
    inputs: Tensors
    outputs: Tensors
    cotangents: Tensors
    gradients: tuple[Tensor | None, ...]


def discover(graph: Graph) -> dict[str, tuple[Row, ...]]:
    """Legal rows of every op that has no rule, by the op's name; equal ops are tried once."""
    known: dict[object, tuple[Row, ...]] = {}
    found = {}
    for op in graph.ops:
        if base_name(op.kind) in REGISTRY or not _can_be_tried(op):
            continue
        values = [graph.values[name] for name in uses(op)]
        if sum(value.numel(SAMPLES) for value in values) > LARGEST or any(v.dtype.startswith("complex") for v in values):
            continue  # too large to try; of complex numbers gradients are not compared
        key = (op.kind, with_uses(op, [""] * len(values)).args, op.kwargs, tuple((v.shape, v.dtype) for v in values))
        if key not in known:
            known[key] = _legal(op, values)
        found[op.name] = known[key]
    return found


def _can_be_tried(op: Op) -> bool:
    """Pure, with tensors in and out, and no number of samples among its other arguments."""
    sized = any(_has_size(argument) for argument in (*op.args, *(value for _, value in op.kwargs)))
    return bool(op.outputs and uses(op)) and not (op.mutates or sized or is_random(op))


def _has_size(argument: Argument) -> bool:
    return isinstance(argument, Size | GlobalSize) or (isinstance(argument, tuple) and any(map(_has_size, argument)))


def _legal(op: Op, values: Sequence[Value]) -> tuple[Row, ...]:
    try:
        trials = [_trial(op, values, *case, seed) for seed, case in enumerate(zip(SPLITS, MAGNITUDES, strict=True))]
    except _UnfitError:
        return ()
    rows = (_row(op, values, places, trials) for places in _candidates(values))
    return tuple(row for row in rows if row is not None)


def _candidates(values: Sequence[Value]) -> Iterator[tuple[Placement, ...]]:
    """Ways for the inputs to lie, other than all of them replicated."""
    sharded: list[list[Placement]] = [[Replicate(), *(Shard(dim) for dim in _sample_dims(value))] for value in values]
    if prod(len(places) for places in sharded) <= COMBINATIONS:
        yield from (places for places in product(*sharded) if any(isinstance(place, Shard) for place in places))
    floating = [use for use, value in enumerate(values) if value.floating]
    for group in dict.fromkeys((*((use,) for use in floating), tuple(floating))):
        if group:
            yield tuple(Partial() if use in group else Replicate() for use in range(len(values)))


def _sample_dims(value: Value) -> tuple[int, ...]:
    return tuple(dim for dim, size in enumerate(value.shape) if isinstance(size, Size) and size.per_sample)


def _row(op: Op, values: Sequence[Value], places: tuple[Placement, ...], trials: Sequence[_Trial]) -> Row | None:
    """The row with these inputs, if every trial confirms one and the same."""
    outputs: list[list[Placement]] = [_possible(value) for value in op.outputs]
    for trial in trials:
        try:
            parts = [_part(op, places, trial, rank) for rank in range(len(trial.split))]
        except _UnfitError:
            return None
        made = list(zip(*(results for _, results in parts), strict=True))
        outputs = [
            [place for place in possible if _combines(place, ranks, whole)]
            for possible, ranks, whole in zip(outputs, made, trial.outputs, strict=True)
        ]
    if not all(outputs):
        return None
    row = Row(places, tuple(possible[0] for possible in outputs))
    return row if all(_gradients_combine(op, values, row, trial) for trial in trials) else None


def _possible(value: Value) -> list[Placement]:
    """How a result may lie, the cheapest first. Shards have the place of samples; what counts none has none."""
    return [*(Shard(dim) for dim in _sample_dims(value)), Replicate(), *([Partial()] if value.floating else [])]


def _combines(place: Placement, ranks: Sequence[Tensor], whole: Tensor) -> bool:
    """Whether what the ranks hold is the whole under a placement."""
    match place:
        case Shard(dim):
            fits = all(part.dim() == whole.dim() for part in ranks) and len({_without(part.shape, dim) for part in ranks}) == 1
            return fits and _same(torch.cat(list(ranks), dim), whole)
        case Replicate():
            return all(_same(part, whole) for part in ranks)
        case Partial():
            return all(part.shape == whole.shape for part in ranks) and _same(sum(ranks[1:], ranks[0]), whole)


def _without(shape: torch.Size, dim: int) -> tuple[int, ...]:
    return (*shape[:dim], *shape[dim + 1 :])


def _same(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return False
    if not found.is_floating_point() and not found.is_complex():
        return torch.equal(found, wanted)
    return torch.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


def _gradients_combine(op: Op, values: Sequence[Value], row: Row, trial: _Trial) -> bool:
    """Whether the inputs' gradients combine as the inputs do: a shard's to a shard, a replicated one's by a sum."""
    found: list[list[Tensor]] = [[] for _ in values]
    for rank in range(len(trial.split)):
        leaves, results = _part(op, tuple(_placed(row.inputs)), trial, rank)
        cotangents = [
            _share(place, cotangent, trial.split, rank, gradient=True)
            for place, cotangent in zip(_placed(row.outputs), trial.cotangents, strict=True)
        ]
        gradients = _backward(leaves, results, cotangents)
        for gathered, gradient in zip(found, gradients, strict=True):
            if gradient is not None:
                gathered.append(gradient)
    back: Mapping[type, Placement] = {Replicate: Partial(), Partial: Replicate()}
    return all(
        not ranks if whole is None else len(ranks) == len(trial.split) and _combines(back.get(type(place), place), ranks, whole)
        for place, ranks, whole in zip(_placed(row.inputs), found, trial.gradients, strict=True)
    )


def _placed(places: Sequence[object]) -> list[Placement]:
    return [place for place in places if isinstance(place, Shard | Replicate | Partial)]


# Running an op


class _UnfitError(Exception):
    """The op does not run on such inputs."""


def _trial(op: Op, values: Sequence[Value], split: tuple[int, ...], magnitude: float, seed: int) -> _Trial:
    generator = torch.Generator().manual_seed(seed)
    inputs = tuple(_drawn(value, values, magnitude, generator) for value in values)
    leaves = _leaves(inputs)
    outputs, again = _run(op, leaves), _run(op, _leaves(inputs))
    if not all(_same(a.detach(), b.detach()) for a, b in zip(outputs, again, strict=True)):
        raise _UnfitError
    cotangents = tuple(
        torch.randn(out.shape, dtype=out.dtype, generator=generator) if out.is_floating_point() else out for out in outputs
    )
    gradients = _backward(leaves, outputs, cotangents)
    return _Trial(split, inputs, tuple(out.detach() for out in outputs), cotangents, gradients)


def _drawn(value: Value, values: Sequence[Value], magnitude: float, generator: torch.Generator) -> Tensor:
    """Numbers for an input. Integers are small: they may be indices into any dim of another input."""
    shape, dtype = value.shape_at(SAMPLES), getattr(torch, value.dtype)
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if not value.floating:
        sizes = [size for other in values if other.floating for size in other.shape_at(SAMPLES) if size > 1]
        return torch.randint(min((*sizes, 7)), shape, dtype=dtype, generator=generator)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return magnitude * torch.randn(shape, dtype=wide, generator=generator)


def _part(op: Op, places: tuple[Placement, ...], trial: _Trial, rank: int) -> tuple[Tensors, Tensors]:
    """One rank's inputs, as leaves, and what the op makes of them."""
    leaves = _leaves([_share(place, whole, trial.split, rank) for place, whole in zip(places, trial.inputs, strict=True)])
    return leaves, _run(op, leaves)


def _share(place: Placement, whole: Tensor, split: tuple[int, ...], rank: int, *, gradient: bool = False) -> Tensor:
    """What a rank holds of a tensor; with ``gradient``, of the gradient of a tensor that lies so."""
    match place:
        case Shard(dim):
            per_sample = whole.shape[dim] // sum(split)
            start = [0, *accumulate(split)][rank]
            return whole.narrow(dim, start * per_sample, split[rank] * per_sample)
        case Replicate():
            return _term(whole, rank, len(split)) if gradient else whole
        case Partial():
            return whole if gradient else _term(whole, rank, len(split))


def _term(whole: Tensor, rank: int, ranks: int) -> Tensor:
    """A rank's term of a sum that is the whole; the terms are unlike."""
    weights = [float(n) - ranks / 2 for n in range(1, ranks)]
    return whole * (weights[rank] if rank < ranks - 1 else 1.0 - sum(weights))


def _leaves(tensors: Sequence[Tensor]) -> Tensors:
    return tuple(t.detach().clone(memory_format=torch.contiguous_format).requires_grad_(t.is_floating_point()) for t in tensors)


def _run(op: Op, inputs: Tensors) -> Tensors:
    """What the op makes of these inputs, in place of those that it names."""
    names = [f"use{position}" for position in range(len(inputs))]
    renamed = with_uses(op, names)
    tensors = dict(zip(names, inputs, strict=True))
    try:
        args = [evaluate(arg, tensors, SAMPLES, SAMPLES) for arg in renamed.args]
        result = overload(op.kind)(*args, **{key: evaluate(arg, tensors, SAMPLES, SAMPLES) for key, arg in renamed.kwargs})
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        raise _UnfitError from error
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def _backward(leaves: Tensors, outputs: Tensors, cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of the leaves; None where the op has none."""
    pairs = [(out, cotangent) for out, cotangent in zip(outputs, cotangents, strict=True) if out.requires_grad]
    if pairs:
        torch.autograd.backward([out for out, _ in pairs], [cotangent for _, cotangent in pairs])
    return tuple(leaf.grad for leaf in leaves)
