"""Products: linear in each operand, einsum-like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_letters

from autopart.sharding.placement import Partial, Shard
from autopart.sharding.rules import Call, Labels, Place, Row, broadcast, by_labels, rule

PRODUCTS = {
    "aten.mm": "ij,jk->ik", "aten.bmm": "bij,bjk->bik", "aten.mv": "ij,j->i", "aten.dot": "i,i->", "aten.vdot": "i,i->",
    "aten.ger": "i,j->ij", "aten.outer": "i,j->ij",
}  # fmt: skip
ADDED_PRODUCTS = {"aten.addmm": "ij,jk->ik", "aten.baddbmm": "bij,bjk->bik", "aten.addmv": "ij,j->i", "aten.addr": "i,j->ij"}


def contraction(call: Call, operands: list[Labels], out: Labels) -> Iterator[Row]:
    """An einsum: labels that the result lacks are summed over; linear in each operand alone."""
    sums = {label for dims in operands for label in dims if label not in out}
    return by_labels(call, operands, [out], sums=sums, linear=[(use,) for use in range(len(operands))])


def biased(call: Call, operands: list[Labels], bias: Labels, out: Labels) -> Iterator[Row]:
    """``operand @ operand + bias``: a partial result takes a partial bias, else it would be counted once per rank."""
    yield from by_labels(call, [*operands, bias], [out])
    yield from summed(call, operands, out, len(operands))


def summed(call: Call, operands: Sequence[Labels], out: Labels, added: int) -> Iterator[Row]:
    """Rows of a contraction split along a label that it sums over, beside a term ``added`` (its tensor use) to the result."""
    label = next((label for label in operands[0] if label is not None and label not in out and label in operands[1]), None)
    others = [use for use in range(len(operands) + 1) if use != added]
    size = call.shapes[others[0]][list(operands[0]).index(label)] if label is not None else 0
    for outer in call.splits(size):
        places: list[Place] = [Partial()] * (len(operands) + 1)
        for use, dims in zip(others, operands, strict=True):
            places[use] = Shard(list(dims).index(label), outer)
        yield Row(tuple(places), (Partial(),))


@rule("linear")
def linear(call: Call) -> Iterator[Row]:
    batch = [f"b{d}" for d in range(len(call.shapes[0]) - 1)]
    x, w = [*batch, "i"], ["o", "i"] if len(call.shapes[1]) == 2 else ["i"]
    out = [*batch, "o"] if len(call.shapes[1]) == 2 else batch
    if len(call.shapes) == 3:
        return biased(call, [x, w], ["o"], out)
    return contraction(call, [x, w], out)


@rule("mm bmm mv dot vdot ger outer")
def fixed(call: Call) -> Iterator[Row]:
    equation = PRODUCTS[call.base]
    operands, out = equation.split("->")
    return contraction(call, [list(dims) for dims in operands.split(",")], list(out))


@rule("matmul")
def matmul(call: Call) -> Iterator[Row]:
    left, right = call.shapes
    out = call.outputs[0]
    rows = [] if len(left) == 1 else ["m"]
    columns = [] if len(right) == 1 else ["n"]
    batch = out[: len(out) - len(rows) - len(columns)]
    labels = [f"b{d}" for d in range(len(batch))]

    def prefix(shape: tuple[int, ...]) -> list[str | None]:
        own = shape[:-2] if len(shape) > 2 else ()
        return [None if label is None else labels[label] for label in broadcast(own, batch)]

    x = [*prefix(left), *rows, "k"]
    y = [*prefix(right), "k", *columns]
    return contraction(call, [x, y], [*labels, *rows, *columns])


@rule("addmm baddbmm addmv addr")
def added_product(call: Call) -> Iterator[Row]:
    """``beta * c + alpha * a @ b``: jointly linear in c and a, or in c and b."""
    equation = ADDED_PRODUCTS[call.base]
    operands, out = equation.split("->")
    result = list(out)
    first = [None if d is None else result[d] for d in broadcast(call.shapes[0], call.outputs[0])]
    factors = [list(dims) for dims in operands.split(",")]
    yield from by_labels(call, [first, *factors], [result], linear=[(0, 1), (0, 2)])
    yield from summed(call, factors, result, 0)


@rule("bilinear")
def bilinear(call: Call) -> Iterator[Row]:
    batch = [f"b{d}" for d in range(len(call.shapes[0]) - 1)]
    operands = [[*batch, "i"], [*batch, "j"], ["o", "i", "j"]]
    if len(call.shapes) == 4:
        return biased(call, list(operands), ["o"], [*batch, "o"])
    return contraction(call, list(operands), [*batch, "o"])


@rule("einsum")
def einsum(call: Call) -> Iterator[Row]:
    """The equation itself. Ellipsis dims are aligned at their end; repeated labels in one operand are left whole."""
    equation = call.op.args[0]
    assert isinstance(equation, str), "einsum without an equation"
    left, _, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    out = right if "->" in equation else "".join(sorted(letter for letter in set(left) - {",", "."} if left.count(letter) == 1))
    width = max((len(shape) - len(term.replace("...", "")) for term, shape in zip(operands, call.shapes, strict=True)), default=0)
    out = out if "->" in equation or "..." not in left else "..." + out
    inputs = [dims_of(term, len(shape), width) for term, shape in zip(operands, call.shapes, strict=True)]
    sized = [[None if size == 1 else label for label, size in zip(dims, shape, strict=True)]
             for dims, shape in zip(inputs, call.shapes, strict=True)]  # fmt: skip
    return contraction(call, list(sized), dims_of(out, len(call.outputs[0]), width))


def dims_of(term: str, rank: int, width: int) -> list[str]:
    """Labels of one operand; the ellipsis becomes ``.0``, ``.1``, … as many as it stands for, of ``width`` at most."""
    count = rank - len(term.replace("...", ""))
    filled = [f".{d}" for d in range(width - count, width)]
    before, dots, after = term.partition("...")
    assert set(before + after) <= set(ascii_letters), f"einsum term {term}"
    return [*before, *(filled if dots else []), *after]


@rule("inner")
def inner(call: Call) -> Iterator[Row]:
    """The last dims of both are contracted, all others kept."""
    left, right = ([f"{side}{d}" for d in range(len(shape) - 1)] for side, shape in zip("xy", call.shapes, strict=True))
    return contraction(call, [[*left, "k"], [*right, "k"]], [*left, *right])


@rule("cdist")
def cdist(call: Call) -> Iterator[Row]:
    """Distances between all pairs of rows."""
    batch = list(range(len(call.outputs[0]) - 2))
    if len(call.shapes[0]) != len(call.shapes[1]):
        return iter(())
    return by_labels(call, [[*batch, "p", None], [*batch, "r", None]], [[*batch, "p", "r"]])


def convolution(call: Call, transposed: bool, groups: int) -> Iterator[Row]:
    """Samples; for one group also channels in (summed) and out, of several whole groups. Positions are never split."""
    if groups > 1 and len(call.op.args) > 6:
        yield from grouped(call, groups)
    spatial = len(call.shapes[1]) - 2
    batch = ["n"] if len(call.shapes[0]) == spatial + 2 else []
    within, out = ("i", "o") if groups == 1 else (None, None)
    positions = [None] * spatial
    x = [*batch, within, *positions]
    w = [within, out, *positions] if transposed else [out, within, *positions]
    result = [*batch, out, *positions]
    if len(call.shapes) == 3:
        yield from biased(call, [x, w], [out], result)
    else:
        yield from contraction(call, [x, w], result)


def grouped(call: Call, groups: int) -> Iterator[Row]:
    """Groups are channels in, channels out and filters, one after the other; the op is told how many are its own."""
    channels = len(call.shapes[0]) - len(call.shapes[1]) + 1
    if groups % call.unit == 0 and channels >= 0:
        filters: tuple[Place, ...] = (Shard(0),) * (len(call.shapes) - 1)
        yield Row((Shard(channels), *filters), (Shard(channels),))


@rule("conv1d conv2d conv3d")
def conv(call: Call) -> Iterator[Row]:
    return convolution(call, False, call.integer(6, "groups", 1))


@rule("conv_transpose1d conv_transpose2d conv_transpose3d")
def conv_transpose(call: Call) -> Iterator[Row]:
    return convolution(call, True, call.integer(6, "groups", 1))


@rule("convolution")
def conv_general(call: Call) -> Iterator[Row]:
    return convolution(call, bool(call.arg(6, "transposed", False)), call.integer(8, "groups", 1))
