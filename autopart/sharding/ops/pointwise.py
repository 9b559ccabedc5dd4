"""Ops that work element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from autopart.sharding.placement import Partial, Replicate
from autopart.sharding.rules import Call, Row, Unread, broadcast, by_labels, numbered, rule


def elementwise(call: Call, linear: Iterable[Iterable[int]] = ()) -> Iterator[Row]:
    out = call.outputs[0]
    labels = broadcast(out, out)
    return by_labels(call, [broadcast(shape, out) for shape in call.shapes], [labels] * len(call.outputs), linear=linear)


@rule("""
    abs acos acosh angle asin asinh atan atan2 atanh bernoulli bitwise_and bitwise_not bitwise_or bitwise_xor ceil celu clamp
    clamp_max clamp_min clip complex copysign cos cosh deg2rad digamma dropout elu eq erf erfc erfinv exp exp2 expm1 float_power
    floor floor_divide fmax fmin fmod frac gcd ge gelu greater gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot
    isclose isfinite isinf isnan ldexp le leaky_relu lerp less lgamma log log10 log1p log2 log_sigmoid logaddexp
    logical_and logical_not logical_or logical_xor logit lt maximum minimum mish nan_to_num native_dropout ne nextafter not_equal
    polar pow reciprocal relu relu6 remainder round rrelu rsqrt selu sgn sigmoid sign silu sin sinc sinh softplus
    softshrink sqrt square tan tanh threshold true_divide trunc xlogy __and__ __or__ __xor__ __lshift__ __rshift__
    """)  # fmt: skip
def pointwise(call: Call) -> Iterator[Row]:
    return elementwise(call)


@rule("add sub rsub subtract")
def added(call: Call) -> Iterator[Row]:
    """A number beside the tensor would be counted once per rank, so only tensors may be partial."""
    return elementwise(call, linear=[(0, 1)] if len(call.shapes) == 2 else [])


@rule("mul multiply")
def multiplied(call: Call) -> Iterator[Row]:
    return elementwise(call, linear=[(use,) for use in range(len(call.shapes))])


@rule("div divide")
def divided(call: Call) -> Iterator[Row]:
    return elementwise(call, linear=[(0,)] if call.arg(2, "rounding_mode", None) is None else [])


@rule("neg negative clone contiguous detach alias lift_fresh_copy lift_fresh conj resolve_conj resolve_neg positive")
def linear(call: Call) -> Iterator[Row]:
    return elementwise(call, linear=[(0,)])


@rule("to _to_copy type_as")
def cast(call: Call) -> Iterator[Row]:
    """Linear unless it rounds to an integer or to a bool. Of a second tensor only the dtype is read."""
    target = call.op.outputs[0]
    labels = numbered(call.shapes[0])
    rest = call.shapes[1:]
    linear = [(0,)] if target.floating or (target.dtype == call.dtypes[0] != "bool") else []
    for row in by_labels(call, [labels, *((None,) * len(shape) for shape in rest)], [labels], linear=linear):
        yield Row((row.inputs[0],) + (Unread(),) * len(rest), row.outputs)


@rule("where masked_fill")
def selected(call: Call) -> Iterator[Row]:
    """``where(condition, x, y)``, ``masked_fill(x, mask, value)``: linear in the tensors that are chosen from."""
    if call.base == "aten.where":
        both = len(call.shapes) == 3
        return elementwise(call, linear=[(1, 2)] if both else [])
    return elementwise(call, linear=[(0,)] if call.arg(2, "value", None) == 0 else [])


@rule("addcmul addcdiv")
def accumulated(call: Call) -> Iterator[Row]:
    return elementwise(call, linear=[(0, 1)])


@rule("copy")
def copied(call: Call) -> Iterator[Row]:
    """``copy_(x, y)``: what x held does not matter, but its place does."""
    return elementwise(call, linear=[(0, 1)])


@rule("fill zero")
def filled(call: Call) -> Iterator[Row]:
    return elementwise(call, linear=[(0, 1)] if len(call.shapes) == 2 else [])


@rule("zeros_like ones_like full_like empty_like rand_like randn_like randint_like")
def like(call: Call) -> Iterator[Row]:
    """Of the tensor only the shape is read; a partial one gives it as well."""
    yield from elementwise(call)
    yield Row((Partial(),) + (Replicate(),) * (len(call.shapes) - 1), (Replicate(),))


@rule("real imag view_as_real view_as_complex")
def complex_parts(call: Call) -> Iterator[Row]:
    """The last dim of the real view is the pair, and never split."""
    rank = min(len(call.shapes[0]), len(call.outputs[0]))
    labels = list(range(rank))
    grown = [*labels, None]
    ins = grown if len(call.shapes[0]) > rank else labels
    outs = grown if len(call.outputs[0]) > rank else labels
    return by_labels(call, [ins], [outs], linear=[(0,)])


@rule("alpha_dropout feature_dropout feature_alpha_dropout")
def feature_dropout(call: Call) -> Iterator[Row]:
    """Channel-wise dropout draws per sample and channel."""
    labels = [d if d < 2 else None for d in range(len(call.shapes[0]))]
    return by_labels(call, [labels], [labels])


@rule("uniform normal normal_functional exponential")
def overwritten(call: Call) -> Iterator[Row]:
    """In-place draws: the old content is not read."""
    return elementwise(call)


@rule("broadcast_tensors")
def broadcast_tensors(call: Call) -> Iterator[Row]:
    out = call.outputs[0]
    everywhere = broadcast(out, out)
    return by_labels(call, [broadcast(shape, out) for shape in call.shapes], [everywhere] * len(call.outputs))


@rule("new_zeros new_ones new_full new_empty")
def new(call: Call) -> Iterator[Row]:
    """Constant along every dim, made by itself."""
    labels = broadcast(call.outputs[0], call.outputs[0])
    for row in by_labels(call, [[None] * len(shape) for shape in call.shapes], [labels]):
        yield Row((Unread(),) * len(call.shapes), row.outputs)
    yield Row((Unread(),) * len(call.shapes), (Replicate(),))
