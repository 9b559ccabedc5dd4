"""Ops that reduce dims, or work along one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autopart.sharding.ops.pointwise import elementwise
from autopart.sharding.rules import Call, Row, by_labels, numbered, rule


def reduced(call: Call, dims: Iterable[int], *, sums: bool = False, linear: bool = False) -> Iterator[Row]:
    """``dims`` vanish, or stay with size 1; only where the op ``sums`` may they be split."""
    gone = set(dims)
    labels = numbered(call.shapes[0], () if sums else gone)
    kept = len(call.outputs[0]) == len(call.shapes[0])
    out = [None if d in gone else label for d, label in enumerate(labels) if kept or d not in gone]
    return by_labels(call, [labels], [out] * len(call.outputs), sums=gone if sums else (), linear=[(0,)] if linear else [])


@rule("sum count_nonzero nansum")
def sum_(call: Call) -> Iterator[Row]:
    """``sum()``, ``sum(dims, keepdim)``."""
    rank = len(call.shapes[0])
    return reduced(call, call.dims(1, "dim", rank, range(rank)), sums=True, linear=call.base == "aten.sum")


@rule("mean")
def mean(call: Call) -> Iterator[Row]:
    """A mean over what is split is no row: the count is rewritten first."""
    rank = len(call.shapes[0])
    return reduced(call, call.dims(1, "dim", rank, range(rank)), linear=True)


@rule(
    "amax amin all any prod std var std_mean var_mean logsumexp argmax argmin max min median mode nanmean nanmedian"
    " aminmax kthvalue"
)
def along(call: Call) -> Iterator[Row]:
    """Reductions that need all of what they reduce; without a dim that is everything."""
    rank = len(call.shapes[0])
    if len(call.shapes) == 2:  # max.other
        return elementwise(call)
    position = 2 if call.base == "aten.kthvalue" else 1
    return reduced(call, call.dims(position, "dim", rank, range(rank)))


@rule("norm linalg_vector_norm")
def norm(call: Call) -> Iterator[Row]:
    """``(x, ord, dims, keepdim)``."""
    rank = len(call.shapes[0])
    return reduced(call, call.dims(2, "dim", rank, range(rank)))


@rule("softmax log_softmax _softmax _log_softmax cumsum cumprod cummax cummin logcumsumexp sort argsort glu")
def scanned(call: Call) -> Iterator[Row]:
    """Everything but the dim that the op works along."""
    rank = len(call.shapes[0])
    last = call.base in ("aten.sort", "aten.argsort", "aten.glu")
    labels = numbered(call.shapes[0], call.dims(1, "dim", rank, (rank - 1,) if last else range(rank)))
    return by_labels(call, [labels], [labels] * len(call.outputs), linear=[(0,)] if call.base == "aten.cumsum" else [])


@rule("diff")
def diff(call: Call) -> Iterator[Row]:
    """``(x, n, dim, prepend, append)``."""
    rank = len(call.shapes[0])
    labels = numbered(call.shapes[0], call.dims(2, "dim", rank, (rank - 1,)))
    return by_labels(call, [labels] * len(call.shapes), [labels], linear=[range(len(call.shapes))])


@rule("topk")
def topk(call: Call) -> Iterator[Row]:
    rank = len(call.shapes[0])
    labels = numbered(call.shapes[0], call.dims(2, "dim", rank, (rank - 1,)))
    return by_labels(call, [labels], [labels] * len(call.outputs))


@rule("cosine_similarity pairwise_distance")
def compared(call: Call) -> Iterator[Row]:
    """Two tensors of one shape, compared along a dim."""
    rank = len(call.shapes[0])
    if call.shapes[0] != call.shapes[1]:
        return iter(())
    gone = call.dims(2, "dim", rank, (1,)) if call.base == "aten.cosine_similarity" else (rank - 1,)
    labels = numbered(call.shapes[0], gone)
    kept = len(call.outputs[0]) == rank
    return by_labels(call, [labels, labels], [[label for d, label in enumerate(labels) if kept or d not in gone]])


FFT_LAST = ("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft")


@rule(" ".join(FFT_LAST))
def fft(call: Call) -> Iterator[Row]:
    """``(x, n, dim, norm)``; linear, but the real inverse takes the real part of a sum, which is linear all the same."""
    rank = len(call.shapes[0])
    return transformed(call, call.dims(2, "dim", rank, (rank - 1,)))


@rule("fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn")
def fft_several(call: Call) -> Iterator[Row]:
    """``(x, s, dim, norm)``: the last two dims, or all, or as many as ``s`` has."""
    rank = len(call.shapes[0])
    sizes = call.arg(1, "s", None)
    count = 2 if call.base.endswith("2") else len(sizes) if isinstance(sizes, tuple) and sizes else rank
    return transformed(call, call.dims(2, "dim", rank, range(rank - count, rank)))


def transformed(call: Call, dims: Iterable[int]) -> Iterator[Row]:
    labels = numbered(call.shapes[0], dims)
    return by_labels(call, [labels], [labels], linear=[(0,)])
