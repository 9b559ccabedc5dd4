"""Examples for every rule: an op, its arguments with sizes as letters, and the letters that the rule must be able to split.

``t("b i")`` is a tensor of two dims; a dim may be a product, ``"b*3"``. Every letter stands for a prime, numbers have only
2 and 3 as factors, so that no size is a multiple of a letter by accident.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from autopart.ir.graph import Symbol


@dataclass(frozen=True)
class T:
    """A tensor: its dims; ``low <= values < high`` where it holds integers."""

    dims: str
    kind: str = "float"
    low: int = 0
    high: int = 2


@dataclass(frozen=True)
class S:
    """A size among the arguments."""

    text: str


@dataclass(frozen=True)
class Example:
    """``splits``: letters that must have a row; ``shapes_only`` where the results are random."""

    kind: str
    args: tuple[Any, ...]
    splits: str
    kwargs: tuple[tuple[str, Any], ...] = ()
    shapes_only: bool = False


def t(dims: str) -> T:
    return T(dims)


def fixed(dims: str) -> T:
    """A tensor that the op gives no gradient."""
    return T(dims, "fixed")


def n(dims: str, high: int, low: int = 0) -> T:
    return T(dims, "int", low, high)


def ex(op: str, *args: Any, splits: str, shapes_only: bool = False, **kwargs: Any) -> Example:
    return Example(full(op), tuple(args), splits, tuple(kwargs.items()), shapes_only)


def full(op: str) -> str:
    """``linear`` -> ``aten.linear.default``; ``add.Tensor`` -> ``aten.add.Tensor``."""
    if "." in op:
        return f"aten.{op}"
    overloads = getattr(torch.ops.aten, op).overloads()
    return f"aten.{op}.{'Tensor' if 'Tensor' in overloads else 'default'}"


UNARY = """
    abs acos acosh angle asin asinh atan atanh ceil celu cos cosh deg2rad digamma elu erf erfc erfinv exp exp2 expm1
    floor frac gelu hardshrink hardsigmoid hardswish hardtanh isfinite isinf isnan leaky_relu lgamma log log10 log1p
    log2 log_sigmoid logical_not logit mish nan_to_num reciprocal relu relu6 round rsqrt selu sgn sigmoid sign silu sin
    sinc sinh softplus softshrink sqrt square tan tanh trunc neg negative clone contiguous detach alias lift_fresh_copy
    lift_fresh conj resolve_conj resolve_neg positive zero
    """
BINARY = """
    atan2 copysign eq fmax fmin fmod ge greater gt hypot isclose ldexp le less logaddexp logical_and logical_or
    logical_xor lt maximum minimum ne nextafter not_equal remainder true_divide xlogy add sub subtract mul multiply div
    divide rsub complex polar clamp_max.Tensor clamp_min.Tensor pow.Tensor_Tensor float_power.Tensor_Tensor max.other
    """
INTEGERS = "bitwise_and bitwise_or bitwise_xor gcd __and__ __or__ __xor__ __lshift__ __rshift__"
RANDOM = "rand_like randn_like empty_like bernoulli.default exponential uniform"


def pointwise() -> Iterator[Example]:
    for name in UNARY.split():
        yield ex(name, t("b t 3"), splits="bt")
    for name in BINARY.split():
        if name not in ("ldexp", "complex", "polar"):
            yield ex(name, t("b t 3"), t("t 1"), splits="bt")
        yield ex(name, t("b t 3"), t("b t 3"), splits="bt")
    for name in INTEGERS.split():
        yield ex(name, n("b t", 7, 1), n("t", 7, 1), splits="bt")
    for name in RANDOM.split():
        yield ex(name, t("b t 3"), splits="bt", shapes_only=True)
    yield ex("bitwise_not", n("b t", 7), splits="bt")
    for name in ("floor_divide", "heaviside"):
        yield ex(name, fixed("b t 3"), fixed("b t 3"), splits="bt")
    yield ex("add.Tensor", t("b t"), 2.0, splits="bt")
    yield ex("sub.Tensor", t("b t"), t("b t"), splits="bt", alpha=3)
    yield ex("rsub.Scalar", t("b t"), 1.0, splits="bt")
    yield ex("mul.Tensor", t("b t"), 3, splits="bt")
    yield ex("mul.Tensor", t("b t"), t(""), splits="bt")
    yield ex("div.Tensor_mode", t("b t"), t("t"), splits="bt", rounding_mode="floor")
    yield ex("clamp.default", t("b t"), 0.2, 0.6, splits="bt")
    yield ex("clip.default", t("b t"), 0.2, splits="bt")
    yield ex("clamp_min.default", t("b t"), 0.2, splits="bt")
    yield ex("threshold", t("b t"), 0.4, 0.0, splits="bt")
    yield ex("lerp.Tensor", t("b t"), t("b t"), t("t"), splits="bt")
    yield ex("pow.Tensor_Scalar", t("b t"), 2, splits="bt")
    yield ex("dropout", t("b t"), 0.0, True, splits="bt")
    yield ex("native_dropout", t("b t"), 0.0, True, splits="bt")
    yield ex("rrelu", t("b t"), 0.1, 0.1, True, splits="bt")
    yield ex("where.self", T("b t", "bool"), t("b t"), t("t"), splits="bt")
    yield ex("where.ScalarOther", T("b t", "bool"), t("b t"), 0.5, splits="bt")
    yield ex("masked_fill.Scalar", t("b t"), T("b 1", "bool"), 0.0, splits="bt")
    yield ex("masked_fill.Scalar", t("b t"), T("t", "bool"), -1e9, splits="bt")
    yield ex("masked_fill.Tensor", t("b t"), T("b t", "bool"), t(""), splits="bt")
    for name in ("addcmul", "addcdiv"):
        yield ex(name, t("b t"), t("b t"), t("t"), splits="bt", value=0.5)
    yield ex("copy.default", fixed("b t"), fixed("t"), splits="bt")
    yield ex("fill.Scalar", t("b t"), 2.0, splits="bt")
    yield ex("fill.Tensor", t("b t"), t(""), splits="bt")
    for name in ("zeros_like", "ones_like"):
        yield ex(name, t("b t"), splits="bt")
    yield ex("full_like", t("b t"), 3.0, splits="bt")
    yield ex("randint_like.default", t("b t"), 5, splits="bt", shapes_only=True)
    yield ex("normal_functional", t("b t"), splits="bt", shapes_only=True)
    yield ex("normal.Tensor_float", t("b t"), splits="bt", shapes_only=True)
    for name in ("alpha_dropout", "feature_dropout", "feature_alpha_dropout"):
        yield ex(name, t("b c 3 3"), 0.0, True, splits="bc")
    yield ex("to.dtype", t("b t"), Symbol("torch.float32"), splits="bt")
    yield ex("to.dtype", t("b t"), Symbol("torch.int64"), splits="bt")
    yield ex("to.dtype", n("b t", 3), Symbol("torch.bool"), splits="bt")
    yield ex("to.other", n("b t", 3), t("3"), splits="bt")
    yield ex("_to_copy", n("b t", 3), splits="bt", dtype=Symbol("torch.float64"))
    yield ex("type_as", n("b t", 3), t("b"), splits="bt")
    for name in ("real", "imag", "view_as_real"):
        yield ex(name, T("b t", "complex"), splits="bt")
    yield ex("view_as_complex", t("b t 2"), splits="bt")
    yield ex("broadcast_tensors", (t("b 1"), t("t")), splits="bt")


def factories() -> Iterator[Example]:
    for name in ("zeros", "ones", "rand", "randn"):
        yield ex(name, (S("b"), S("t"), 3), splits="bt", shapes_only=name.startswith("rand"))
        if not name.startswith("rand"):
            yield ex(f"new_{name}", t("b 3"), (S("t"), S("b")), splits="bt")
    yield ex("zeros", (S("b*3"),), splits="b")
    yield ex("full", (S("b"), 4), 0.9, splits="b")
    yield ex("empty.memory_format", (S("b"), 4), splits="b", shapes_only=True)
    yield ex("new_full", t(""), (S("b"), 4), 0.9, splits="b")
    yield ex("new_empty", t("b"), (S("b"), 4), splits="b", shapes_only=True)
    yield ex("randint", 5, (S("b"), 4), splits="b", shapes_only=True)
    yield ex("randint.low", 1, 5, (S("b"), 4), splits="b", shapes_only=True)
    yield ex("scalar_tensor", 2.0, splits="")
    yield ex("arange", S("b"), splits="b")
    yield ex("arange.start", 0, S("b"), splits="b")
    yield ex("arange.start_step", 0, S("b*3"), 3, splits="b")


def views() -> Iterator[Example]:
    for name in ("view", "reshape", "_unsafe_view"):
        yield ex(name, t("b t 6"), (S("b*t"), 6), splits="bt")
        yield ex(name, t("b t 6"), (S("b"), -1, 2, 3), splits="b")
        yield ex(name, t("b*t 6"), (S("b"), S("t"), 6), splits="bt")
        yield ex(name, t("3 b 4"), (S("b*12"),), splits="b")
        yield ex(name, t("3*b 4"), (3, S("b"), 4), splits="b")
        yield ex(name, t("b*3 4"), (S("b"), 12), splits="b")
    yield ex("reshape", t("3 b*2 4"), (S("b*6"), 4), splits="b")
    yield ex("flatten.using_ints", t("b t c 2"), 1, 2, splits="btc")
    yield ex("flatten.using_ints", t("2 b t"), splits="bt")
    yield ex("unflatten.int", t("b*t c"), 0, (S("b"), S("t")), splits="btc")
    yield ex("unflatten.int", t("c b*6"), -1, (2, S("b"), 3), splits="bc")
    yield ex("unsqueeze", t("b t"), 1, splits="bt")
    yield ex("unsqueeze", t("b t"), -1, splits="bt")
    yield ex("squeeze.dim", t("b 1 t"), 1, splits="bt")
    yield ex("squeeze.dims", t("1 b 1 t"), (0, 2), splits="bt")
    yield ex("ravel", t("2 b 3"), splits="b")
    for name in ("view_as", "reshape_as"):
        yield ex(name, t("b*t 6"), t("b t 2 3"), splits="bt")
    for name in ("transpose.int", "swapaxes", "swapdims"):
        yield ex(name, t("b t c"), 0, -1, splits="btc")
    yield ex("t", t("b c"), splits="bc")
    yield ex("numpy_T", t("b t c"), splits="btc")
    yield ex("mT", t("b t c"), splits="btc")
    yield ex("permute", t("b t c"), (2, 0, 1), splits="btc")
    yield ex("movedim.int", t("b t c"), 0, -1, splits="btc")
    yield ex("movedim.intlist", t("b t c"), (0, 1), (2, 0), splits="btc")
    for name in ("expand", "broadcast_to"):
        yield ex(name, t("1 c"), (S("b"), S("c")), splits="bc")
        yield ex(name, t("b 1 c"), (2, S("b"), S("t"), S("c")), splits="btc")
    yield ex("expand", t("b 1 c"), (-1, S("t"), -1), splits="btc")
    yield ex("expand_as", t("b 1"), t("b t"), splits="bt")
    yield ex("slice.Tensor", t("b t"), 1, 0, 3, splits="b")
    yield ex("slice.Tensor", t("b t"), 0, 0, 9223372036854775807, splits="bt")
    yield ex("slice.Tensor", t("b t"), 0, 0, S("b"), splits="bt")
    yield ex("slice.Tensor", t("2*b t"), 0, S("b"), S("2*b"), splits="bt")
    yield ex("slice.Tensor", t("3*b t"), 0, S("b"), 9223372036854775807, splits="bt")
    yield ex("slice.Tensor", t("b t"), 1, 0, 4, 2, splits="b")
    yield ex("narrow.default", t("2*b t"), 0, S("b"), S("b"), splits="bt")
    yield ex("narrow.default", t("b 6"), 1, 1, 3, splits="b")
    yield ex("split.Tensor", t("2*b t"), S("b"), splits="bt")
    yield ex("split.Tensor", t("b 6"), 2, -1, splits="b")
    yield ex("split.sizes", t("b 6"), (2, 4), 1, splits="b")
    yield ex("split_with_sizes", t("3*b t"), (S("b"), S("2*b")), splits="bt")
    yield ex("chunk", t("2*b t"), 2, splits="bt")
    yield ex("chunk", t("b 6"), 3, 1, splits="b")
    yield ex("tensor_split.sections", t("b 6"), 3, 1, splits="b")
    yield ex("tensor_split.indices", t("2*b 6"), (S("b"),), 0, splits="b")
    yield ex("slice_scatter", t("b 6 t"), t("b 2 t"), 1, 2, 4, splits="bt")
    yield ex("slice_scatter", t("b 6 t"), t("b 6 t"), 0, 0, S("b"), splits="bt")
    yield ex("select_scatter", t("b 6 t"), t("b t"), 1, 2, splits="bt")
    yield ex("diagonal_scatter", t("4 b 4 t"), t("b t 4"), 0, 0, 2, splits="bt")
    yield ex("select.int", t("b 6 t"), 1, -1, splits="bt")
    yield ex("unbind.int", t("b 2 t"), 1, splits="bt")
    for name in ("cat", "concat", "concatenate"):
        yield ex(name, (t("b t"), t("b t")), splits="bt")
        yield ex(name, (t("b 2 t"), t("b 3 t")), -2, splits="bt")
        yield ex(name, (t("2*b t"), t("b t")), 0, splits="bt")
        yield ex(name, (t("b*3 t"), t("b*3 t")), 0, splits="bt")
    yield ex("stack", (t("b t"), t("b t"), t("b t")), 1, splits="bt")
    yield ex("stack", (t("b t"), t("b t")), -1, splits="bt")
    for name in ("repeat", "tile"):
        yield ex(name, t("b t"), (1, 2), splits="bt")
        yield ex(name, t("b t"), (2, 3, 1), splits="bt")
        yield ex(name, t("1 3"), (S("b"), 1), splits="b")
        yield ex(name, t("2 3"), (S("b"), 1), splits="b")
    yield ex("repeat_interleave.self_int", t("b t"), 3, 0, splits="bt")
    yield ex("repeat_interleave.self_int", t("b t"), 3, 1, splits="bt")
    yield ex("flip", t("b t 3"), (1,), splits="b")
    yield ex("roll", t("b t 3"), (1,), (1,), splits="b")
    for name in ("fft_fftshift", "fft_ifftshift"):
        yield ex(name, t("b t 4"), (2,), splits="bt")
    yield ex("diagonal", t("4 b 4 t"), 0, 0, 2, splits="bt")
    for name in ("tril", "triu"):
        yield ex(name, t("b t 4 4"), splits="bt")
    yield ex("unfold", t("b 6 t"), 1, 2, 2, splits="bt")
    yield ex("meshgrid", (t("b"), t("t")), splits="bt")
    yield ex("meshgrid.indexing", (t("b"), t("t"), t("c")), splits="btc", indexing="xy")
    yield ex("pad", t("b t 4"), (1, 2), splits="bt")
    yield ex("pad", t("b t 4"), (0, 0, 1, -1), splits="b")
    yield ex("pad", t("b t 4"), (1, 2), "constant", 3.0, splits="bt")
    yield ex("constant_pad_nd", t("b t 4"), (1, 2, 0, 0), splits="bt")
    yield ex("constant_pad_nd", t("b t 4"), (1, 2), 1.5, splits="bt")
    for name in ("reflection_pad1d", "replication_pad1d"):
        yield ex(name, t("b c 4"), (1, 2), splits="bc")
    for name in ("reflection_pad2d", "replication_pad2d"):
        yield ex(name, t("b c 4 4"), (1, 2, 0, 1), splits="bc")


def matrices() -> Iterator[Example]:
    yield ex("linear", t("b t i"), t("o i"), splits="btio")
    yield ex("linear", t("b i"), t("o i"), t("o"), splits="bo")
    yield ex("mm", t("b i"), t("i o"), splits="bio")
    yield ex("bmm", t("b i j"), t("b j o"), splits="bijo")
    yield ex("mv", t("b i"), t("i"), splits="bi")
    yield ex("dot", t("b"), t("b"), splits="b")
    yield ex("vdot", t("b"), t("b"), splits="b")
    for name in ("ger", "outer"):
        yield ex(name, t("b"), t("i"), splits="bi")
    yield ex("inner", t("b t i"), t("o i"), splits="btio")
    yield ex("matmul", t("b t i"), t("i o"), splits="btio")
    yield ex("matmul", t("b h t i"), t("b h i s"), splits="bhtis")
    yield ex("matmul", t("b 1 t i"), t("h i s"), splits="bhtis")
    yield ex("matmul", t("i"), t("b i o"), splits="bio")
    yield ex("matmul", t("b t i"), t("i"), splits="bti")
    yield ex("matmul", t("i"), t("i"), splits="i")
    yield ex("addmm", t("o"), t("b i"), t("i o"), splits="bo")
    yield ex("addmm", t("b o"), t("b i"), t("i o"), splits="bo", beta=2, alpha=3)
    yield ex("baddbmm", t("b t s"), t("b t i"), t("b i s"), splits="bts")
    yield ex("addmv", t("b"), t("b i"), t("i"), splits="b")
    yield ex("addr", t("b i"), t("b"), t("i"), splits="bi")
    yield ex("bilinear", t("b t i"), t("b t j"), t("o i j"), splits="btijo")
    yield ex("bilinear", t("b i"), t("b j"), t("o i j"), t("o"), splits="bo")
    yield ex("einsum", "bix,iox->box", (t("b i x"), t("i o x")), splits="biox")
    yield ex("einsum", "b...d, h d -> bh...", (t("b t 2 d"), t("h d")), splits="btdh")
    yield ex("einsum", "...ij,...jk", (t("b 1 i j"), t("h j k")), splits="bhijk")
    yield ex("einsum", "ii,bi->b", (t("i i"), t("b i")), splits="b")
    yield ex("cdist", t("b p 3"), t("b r 3"), splits="bpr")
    for d, size in ((1, "6"), (2, "6 6"), (3, "4 4 4")):
        kernel = " ".join("3" * d)
        yield ex(f"conv{d}d", t(f"b i {size}"), t(f"o i {kernel}"), None, (1,) * d, (1,) * d, splits="bio")
        yield ex(f"conv{d}d", t(f"b i {size}"), t(f"o i {kernel}"), t("o"), splits="bo")
        yield ex(f"conv{d}d.padding", t(f"b i {size}"), t(f"o i {kernel}"), t("o"), (1,) * d, "same", splits="bo")
        transposed = "default" if d == 1 else "input"
        yield ex(f"conv_transpose{d}d.{transposed}", t(f"b i {size}"), t(f"i o {kernel}"), t("o"), (2,) * d, splits="bo")
        yield ex(f"conv_transpose{d}d.{transposed}", t(f"b i {size}"), t(f"i o {kernel}"), None, (2,) * d, splits="bio")
    yield ex("conv2d", t("b 4 6 6"), t("8 2 3 3"), t("8"), (1, 1), (1, 1), (1, 1), 2, splits="b")
    yield ex("conv2d", t("b 8 4 4"), t("16 2 3 3"), t("16"), (1, 1), (1, 1), (1, 1), 4, splits="b")
    yield ex("conv1d", t("b 12 6"), t("12 1 3"), None, (1,), (1,), (1,), 12, splits="b")
    yield ex("conv1d", t("12 6"), t("12 1 3"), t("12"), (1,), (1,), (1,), 12, splits="")
    yield ex("conv_transpose1d.default", t("b 8 6"), t("8 2 3"), t("8"), (1,), (1,), (0,), 4, splits="b")
    yield ex("convolution", t("b i 6"), t("o i 3"), t("o"), (1,), (1,), (1,), False, (0,), 1, splits="bo")
    yield ex("convolution", t("b i 6"), t("i o 3"), None, (1,), (1,), (1,), True, (0,), 1, splits="bio")


def reductions() -> Iterator[Example]:
    yield ex("sum.default", t("b t"), splits="bt")
    yield ex("sum.default", n("b t", 9), splits="bt")
    yield ex("sum.dim_IntList", t("b t c"), (-1, 0), splits="btc")
    yield ex("sum.dim_IntList", t("b t c"), (1,), True, splits="btc")
    yield ex("nansum", t("b t"), (1,), splits="bt")
    yield ex("count_nonzero.dim_IntList", n("b t", 2), (1,), splits="bt")
    yield ex("count_nonzero", n("b t", 2), splits="bt")
    yield ex("mean.default", t("b t"), splits="")
    yield ex("mean.dim", t("b t c"), (1,), True, splits="bc")
    for name in ("amax", "amin", "logsumexp", "var.correction", "std.correction", "all.dims", "any.dims", "nanmean"):
        yield ex(name, t("b t c"), (1,), splits="bc")
    for name in ("std.default", "var.default"):
        yield ex(name, t("b t"), True, splits="")
    for name in ("std_mean.correction", "var_mean.correction"):
        yield ex(name, t("b t c"), (1,), splits="bc")
    for name in (
        "argmax",
        "argmin",
        "prod.dim_int",
        "max.dim",
        "min.dim",
        "median.dim",
        "mode",
        "nanmedian.dim",
        "all.dim",
        "any.dim",
    ):
        yield ex(name, t("b t c"), 1, splits="bc")
        yield ex(name, t("b t c"), -1, True, splits="bt")
    yield ex("argmax", t("b t"), splits="")
    yield ex("aminmax", t("b t"), splits="b", dim=1)
    yield ex("kthvalue", t("b t c"), 2, 1, splits="bc")
    yield ex("norm.ScalarOpt_dim", t("b t c"), 2, (1,), splits="bc")
    yield ex("norm.Scalar", t("b t"), splits="")
    yield ex("linalg_vector_norm", t("b t c"), 2, (-1,), True, splits="bt")
    for name in ("softmax.int", "log_softmax.int", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp"):
        yield ex(name, t("b t c"), -1, splits="bt")
    for name in ("_softmax", "_log_softmax"):
        yield ex(name, t("b t c"), 1, False, splits="bc")
    yield ex("sort.default", t("b t c"), 1, splits="bc")
    yield ex("sort.stable", t("b t c"), splits="bt", stable=True)
    yield ex("argsort", t("b t c"), splits="bt")
    yield ex("glu", t("b t 6"), splits="bt")
    yield ex("diff", t("b t c"), 1, 1, t("b 1 c"), splits="bc")
    yield ex("diff", t("b t"), splits="b")
    yield ex("topk", t("b t c"), 2, splits="bt")
    yield ex("cosine_similarity", t("b t c"), t("b t c"), 1, splits="bc")
    yield ex("pairwise_distance", t("b t"), t("b t"), splits="b")
    for name in ("fft_fft", "fft_ifft", "fft_rfft", "fft_ihfft"):
        yield ex(name, t("b t 6"), splits="bt")
        yield ex(name, t("b 6 c"), None, 1, splits="bc")
    for name in ("fft_irfft", "fft_hfft"):
        yield ex(name, T("b t 4", "complex"), 6, splits="bt")
    for name in ("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_fftn", "fft_ifftn", "fft_rfftn"):
        yield ex(name, t("b t 4 4"), (4, 4), splits="bt")
        yield ex(name, t("b 4 4 c"), None, (1, 2), splits="bc")
    for name in ("fft_irfft2", "fft_irfftn"):
        yield ex(name, T("b t 4 3", "complex"), (4, 4), splits="bt")


def indexing() -> Iterator[Example]:
    yield ex("embedding", t("9 c"), n("b t", 9), splits="bct")
    yield ex("embedding", t("9 c"), n("b t", 9), 0, True, splits="c")
    yield ex("embedding_bag.padding_idx", t("9 c"), n("b*3", 9), n("b", 1), False, 0, False, None, False, None, splits="bc")
    yield ex("embedding_bag", t("9 c"), n("b*4", 9), n("b", 1), False, 1, splits="bc")
    yield ex("gather", t("b t c"), 2, n("b t 3", 5), splits="bt")
    yield ex("gather", t("b t 6"), 2, n("b t i", 6), splits="bti")
    yield ex("take_along_dim", t("b t 6"), n("b t 3", 6), 2, splits="bt")
    yield ex("scatter.src", t("b 6 t"), 1, n("b 1 t", 6), t("b 1 t"), splits="bt")
    yield ex("scatter.value", t("b 6 t"), 1, n("b 2 t", 6), 2.0, splits="bt")
    yield ex("scatter_add", t("b 6 t"), 1, n("b 8 t", 6), t("b 8 t"), splits="bt")
    yield ex("scatter_reduce.two", t("b 6 t"), 1, n("b 8 t", 6), t("b 8 t"), "sum", splits="bt")
    yield ex("index_add", t("6 c"), 0, n("e", 6), t("e c"), splits="ce")
    yield ex("index_copy", t("b 6"), 1, T("3", "distinct"), t("b 3"), splits="b")
    yield ex("index_select", t("b 6 c"), 1, n("e", 6), splits="bce")
    yield ex("index.Tensor", t("b 6 c"), (None, n("e 2", 6)), splits="bce")
    yield ex("index.Tensor", t("6 4 c"), (n("b", 6), n("b", 4)), splits="bc")
    yield ex("index.Tensor", t("6 c 4"), (n("b 1", 6), None, n("t", 4)), splits="bct")
    yield ex("index.Tensor", t("b t"), (n("b", 1), n("b", 5)), splits="b")
    yield ex("index.Tensor", t("b 6 c"), (n("b 1 1", 1), n("1 2 t", 6)), splits="bct")
    yield ex("index_put", t("b 6 c"), (None, T("3", "distinct")), t("b 3 c"), splits="bc")
    yield ex("index_put", t("6 b"), (T("3", "distinct"),), t("1 b"), splits="b")
    yield ex("one_hot", n("b t", 6), 6, splits="bt")
    yield ex("multinomial", t("b 6"), 2, True, splits="b", shapes_only=True)


def networks() -> Iterator[Example]:
    yield ex("layer_norm", t("b t 4"), (4,), t("4"), t("4"), splits="bt")
    yield ex("layer_norm", t("b t 4"), (S("t"), 4), splits="b")
    yield ex("rms_norm", t("b t 4"), (4,), t("4"), splits="bt")
    yield ex("native_layer_norm", t("b t 4"), (4,), t("4"), None, 1e-5, splits="bt")
    yield ex("_weight_norm", t("c 4 3"), t("c 1 1"), splits="c")
    yield ex("_weight_norm", t("4 2 c"), t("1 1 c"), 2, splits="c")
    yield ex("group_norm", t("b 6 3 3"), 2, t("6"), t("6"), splits="b")
    yield ex("group_norm", t("b 8 3 3"), 4, t("8"), t("8"), splits="b")
    yield ex("instance_norm", t("b 6 3 3"), t("6"), t("6"), None, None, True, 0.1, 1e-5, False, splits="b")
    yield ex("batch_norm", t("b c 3 3"), t("c"), t("c"), fixed("c"), fixed("c"), False, 0.1, 1e-5, False, splits="bc")
    yield ex("batch_norm", t("b c 3 3"), t("c"), t("c"), None, None, True, 0.1, 1e-5, False, splits="c")
    attention = "scaled_dot_product_attention"
    yield ex(attention, t("b h t 4"), t("b h s 4"), t("b h s 4"), splits="bht")
    yield ex(attention, t("b h t 4"), t("b h s 4"), t("b h s 4"), T("b 1 t s", "bool"), splits="bht")
    yield ex(attention, t("b h t 4"), t("b h s 4"), t("b h s 4"), t("t s"), 0.0, False, splits="bht")
    yield ex(attention, t("b h t 4"), t("b h t 4"), t("b h t 4"), None, 0.0, True, splits="bh")
    yield ex(attention, t("b 2*h t 4"), t("b h t 4"), t("b h t 4"), None, 0.0, True, splits="b", enable_gqa=True)
    for d, size in ((1, "6"), (2, "6 6"), (3, "4 4 4")):
        for name in ("max_pool", "avg_pool"):
            yield ex(f"{name}{d}d", t(f"b c {size}"), (2,) * d, splits="bc")
        for name in ("adaptive_avg_pool", "adaptive_max_pool"):
            yield ex(f"{name}{d}d", t(f"b c {size}"), (2,) * d, splits="bc")
        yield ex(f"max_pool{d}d_with_indices", t(f"b c {size}"), (2,) * d, splits="bc")
    for name, size in (("nearest1d", "4"), ("nearest2d", "4 4"), ("nearest3d", "2 2 2")):
        yield ex(f"upsample_{name}.vec", t(f"b c {size}"), None, (2.0,) * len(size.split()), splits="bc")
    for name, size in (("linear1d", "4"), ("bilinear2d", "4 4"), ("bicubic2d", "4 4"), ("trilinear3d", "2 2 2")):
        yield ex(f"upsample_{name}.vec", t(f"b c {size}"), None, False, (2.0,) * len(size.split()), splits="bc")
    yield ex("channel_shuffle", t("b 6 2 2"), 2, splits="b")
    yield ex("pixel_shuffle", t("b 8 2 2"), 2, splits="b")
    yield ex("pixel_unshuffle", t("b 2 4 4"), 2, splits="b")
    yield ex("im2col", t("b 2 4 4"), (2, 2), (1, 1), (0, 0), (2, 2), splits="b")
    yield ex("col2im", t("b 8 4"), (4, 4), (2, 2), (1, 1), (0, 0), (2, 2), splits="b")
    yield ex("grid_sampler", t("b 2 4 4"), t("b 3 3 2"), 0, 0, True, splits="b")
    yield ex("grid_sampler_2d", t("b 2 4 4"), t("b 3 3 2"), 0, 0, True, splits="b")
    yield ex("grid_sampler_3d", t("b 2 3 3 3"), t("b 2 2 2 3"), 0, 0, True, splits="b")
    yield ex("affine_grid_generator", t("b 2 3"), (S("b"), 1, 4, 4), True, splits="b")
    yield ex("prelu", t("b c 3"), t("c"), splits="bc")
    yield ex("prelu", t("b c 3"), t("1"), splits="bc")
    yield from recurrent()


def recurrent() -> Iterator[Example]:
    for name, gates, states in (("lstm", 4, 2), ("gru", 3, 1), ("rnn_tanh", 1, 1), ("rnn_relu", 1, 1)):
        weights = (t(f"{gates * 4} 3"), t(f"{gates * 4} 4"), t(f"{gates * 4}"), t(f"{gates * 4}"))
        for first in (True, False):
            state = (t("1 b 4"),) * 2 if states == 2 else t("1 b 4")
            yield ex(
                f"{name}.input", t("b 2 3" if first else "2 b 3"), state, weights, True, 1, 0.0, True, False, first, splits="b"
            )
        state = (t("b 4"),) * 2 if states == 2 else t("b 4")
        yield ex(f"{name}_cell", t("b 3"), state, *weights, splits="b")


def losses() -> Iterator[Example]:
    for name in ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "kl_div"):
        yield ex(name, t("b t"), t("b t"), 0, splits="bt")
        yield ex(name, t("b t"), t("b t"), 2, splits="bt")
        yield ex(name, t("b t"), t("b t"), 1, splits="")
    for code in (0, 2):
        yield ex("soft_margin_loss", t("b t"), T("b t", "sign"), code, splits="bt")
        yield ex("binary_cross_entropy", t("b t"), t("b t"), fixed("t"), code, splits="bt")
        yield ex("binary_cross_entropy_with_logits", t("b t"), t("b t"), None, fixed("t"), code, splits="bt")
        yield ex("poisson_nll_loss", t("b t"), t("b t"), True, False, 1e-8, code, splits="bt")
        yield ex("hinge_embedding_loss", t("b t"), T("b t", "sign"), 1.0, code, splits="bt")
        yield ex("margin_ranking_loss", t("b"), t("b"), T("b", "sign"), 0.1, code, splits="b")
        yield ex("cosine_embedding_loss", t("b 3"), t("b 3"), T("b", "sign"), 0.1, code, splits="b")
        yield ex("triplet_margin_loss", t("b 3"), t("b 3"), t("b 3"), 1.0, 2.0, 1e-6, False, code, splits="b")
        yield ex("multi_margin_loss", t("b 3"), n("b", 3), 1, 1.0, fixed("3"), code, splits="b")
        yield ex("multilabel_margin_loss", t("b 3"), n("b 3", 3), code, splits="b")
        yield ex("cross_entropy_loss", t("b 4"), n("b", 4), fixed("4"), code, 2, 0.1, splits="b")
        yield ex("cross_entropy_loss", t("b 4 t"), n("b t", 4), None, code, splits="bt")
        yield ex("cross_entropy_loss", t("b 4 t"), t("b 4 t"), None, code, splits="bt")
        yield ex("nll_loss", t("b 4"), n("b", 4), fixed("4"), code, -100, splits="b")
        yield ex("nll_loss_nd", t("b 4 t"), n("b t", 4), None, code, -100, splits="bt")
        yield ex("nll_loss2d", t("b 4 t 2"), n("b t 2", 4), None, code, -100, splits="bt")


def examples() -> list[Example]:
    """All of them."""
    makers = (pointwise, factories, views, matrices, reductions, indexing, networks, losses)
    return [example for maker in makers for example in maker()]
