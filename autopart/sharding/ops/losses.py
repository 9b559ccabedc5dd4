"""Losses with a ``reduction``: rows for ``none`` and ``sum``. What ``mean`` means is said in ``autopart.sharding.means``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from autopart.ir.graph import Op
from autopart.sharding.rules import Call, Labels, Row, argument, broadcast, by_labels, rule

NONE, MEAN, SUM = 0, 1, 2  # aten's codes

REDUCTION: Mapping[str, int] = {
    "l1_loss": 2, "mse_loss": 2, "smooth_l1_loss": 2, "huber_loss": 2, "soft_margin_loss": 2, "kl_div": 2,
    "binary_cross_entropy": 3, "binary_cross_entropy_with_logits": 4, "poisson_nll_loss": 5, "hinge_embedding_loss": 3,
    "margin_ranking_loss": 4, "cosine_embedding_loss": 4, "triplet_margin_loss": 7, "multi_margin_loss": 5,
    "multilabel_margin_loss": 2, "cross_entropy_loss": 3, "nll_loss": 3, "nll_loss_nd": 3, "nll_loss2d": 3,
}  # fmt: skip
"""Position of the argument ``reduction``."""

SAMPLEWISE = ("cosine_embedding_loss", "triplet_margin_loss", "multi_margin_loss", "multilabel_margin_loss")
CLASSES = ("cross_entropy_loss", "nll_loss", "nll_loss_nd", "nll_loss2d")


def name(op: Op) -> str:
    return op.kind.split(".")[1]


def reduction(op: Op) -> int:
    """The code of ``reduction``; None means the default, the mean."""
    value = argument(op, REDUCTION[name(op)], "reduction", MEAN)
    assert isinstance(value, int), f"reduction of {op.name} is {value}"
    return value


def summed(call: Call, ins: list[Labels], out: Labels) -> Iterator[Row]:
    """Rows of a loss whose unreduced result has labels ``out``."""
    code = reduction(call.op)
    if code == NONE:
        return by_labels(call, ins, [out])
    if code == SUM:
        return by_labels(call, ins, [[]], sums=[label for label in out if label is not None])
    return iter(())


@rule("""
    l1_loss mse_loss smooth_l1_loss huber_loss soft_margin_loss kl_div binary_cross_entropy binary_cross_entropy_with_logits
    poisson_nll_loss hinge_embedding_loss margin_ranking_loss
    """)
def elementwise_loss(call: Call) -> Iterator[Row]:
    full = common(call)
    return summed(call, [broadcast(shape, full) for shape in call.shapes], broadcast(full, full))


def common(call: Call) -> tuple[int, ...]:
    """The shape that all tensors broadcast to."""
    rank = max(len(shape) for shape in call.shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in call.shapes]
    return tuple(max(sizes) for sizes in zip(*padded, strict=True))


@rule("cosine_embedding_loss triplet_margin_loss multi_margin_loss multilabel_margin_loss")
def samplewise_loss(call: Call) -> Iterator[Row]:
    """One number a sample, the rest of its dims in one."""
    if len(call.shapes[0]) != 2:
        return iter(())
    weight = call.base == "aten.multi_margin_loss" and len(call.shapes) == 3
    ins: list[Labels] = [["n", *[None] * (len(shape) - 1)] for shape in call.shapes]
    return summed(call, [*ins[:2], [None]] if weight else ins, ["n"])


@rule("cross_entropy_loss nll_loss nll_loss_nd nll_loss2d")
def classes_loss(call: Call) -> Iterator[Row]:
    """``(x, target, weight, reduction, ignore_index, label_smoothing)``: x is [n, classes, …] or [classes]."""
    rank = len(call.shapes[0])
    if rank == 1:
        return iter(())
    out = ["n", *(f"d{d}" for d in range(rank - 2))]
    x: Labels = ["n", None, *out[1:]]
    soft = len(call.shapes[1]) == rank
    weight: list[Labels] = [[None]] * (len(call.shapes) - 2)
    return summed(call, [x, x if soft else out, *weight], out)
