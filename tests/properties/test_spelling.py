"""Every row of the spelling table computes what torch.ops computes, and knows aten's parameters as torch does."""

from __future__ import annotations

import ast
import contextlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autopart.codegen.layout import source
from autopart.codegen.spelling import Scope, fallback, rows, spell
from autopart.ir.graph import Argument, GlobalSize, Op, Ref, Size, Symbol, Value


def randn(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(sum(sizes) + 7 * len(sizes)), dtype=torch.float64)


X, Y, POSITIVE, MATRIX, SQUARE = randn(3, 4), randn(3, 4) + 2, randn(3, 4).abs() + 0.1, randn(4, 5), randn(4, 4)
CUBE, IMAGE, LINE, CLIP = randn(2, 3, 4), randn(2, 4, 6, 6), randn(2, 4, 9), randn(2, 4, 5, 6, 6)
MASK, OTHER_MASK = X > 0, Y > 2
INTS, INDEX = torch.arange(12).reshape(3, 4), torch.tensor([[0, 1, 2, 0], [2, 0, 1, 1]])
VECTOR, WEIGHT4, BIAS4 = randn(4), randn(4), randn(4) + 1
PROBABILITY, LABELS = X.sigmoid(), torch.tensor([0, 2, -100])
KEYS = [randn(2, 2, 5, 4) + i for i in range(3)]

BINARY = """add.Tensor sub.Tensor mul.Tensor div.Tensor pow.Tensor_Tensor maximum.default minimum.default fmod.Tensor
remainder.Tensor floor_divide.default rsub.Tensor"""
SCALAR = "add.Scalar sub.Scalar rsub.Scalar mul.Scalar div.Scalar remainder.Scalar fmod.Scalar pow.Tensor_Scalar"
COMPARE = "eq ne lt le gt ge"
UNARY = """exp expm1 log log1p log2 sqrt rsqrt square reciprocal abs sign sin cos erf floor ceil round isnan neg relu relu6 silu
mish
selu hardswish hardsigmoid sigmoid tanh log_sigmoid gelu elu celu leaky_relu hardtanh softplus detach clone contiguous max min
any all prod sum mean t numpy_T mT logical_not argmax squeeze tril triu"""
BITS = """bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor __and__.Tensor __or__.Tensor logical_and.default
logical_or.default logical_xor.default"""

Sample = tuple[tuple[Any, ...], dict[str, Any]]


def case(*args: Any, **kwargs: Any) -> Sample:
    return args, kwargs


LOSSES = "mse_loss l1_loss smooth_l1_loss huber_loss"
FACTORY = {"dtype": torch.float64}

SAMPLES: dict[str, list[Sample]] = {
    **{f"aten.{name}": [case(POSITIVE, Y)] for name in BINARY.split()},
    **{f"aten.{name}": [case(POSITIVE, 3), case(POSITIVE, -0.5)] for name in SCALAR.split()},
    **{f"aten.{name}.Tensor": [case(INTS, INTS.flip(0)), case(X, X.round())] for name in COMPARE.split()},
    **{f"aten.{name}.Scalar": [case(INTS, 5), case(X, 0.0)] for name in COMPARE.split()},
    **{f"aten.{name}.default": [case(POSITIVE)] for name in UNARY.split()},
    **{f"aten.{name}": [case(MASK, OTHER_MASK)] for name in BITS.split()},
    **{f"aten.{name}.default": [case(X, Y), case(X, Y, 2), case(X, Y, 0)] for name in LOSSES.split()},
}
SAMPLES |= {
    "aten.add.Tensor": [case(X, Y), case(X, Y, alpha=2), case(X, 3), case(INTS, 1.5)],
    "aten.sub.Tensor": [case(X, Y), case(X, Y, alpha=-2), case(X, VECTOR)],
    "aten.pow.Scalar": [case(2.0, X), case(3, INTS)],
    "aten.div.Tensor_mode": [case(X, Y, rounding_mode="floor"), case(X, Y, rounding_mode=None)],
    "aten.div.Scalar_mode": [case(INTS, 5, rounding_mode="trunc")],
    "aten.floor_divide.default": [case(INTS, 5), case(-INTS, 5), case(X, Y)],
    "aten.matmul.default": [case(X, MATRIX), case(CUBE, MATRIX), case(X, VECTOR)],
    "aten.mm.default": [case(X, MATRIX)],
    "aten.bmm.default": [case(CUBE, CUBE.mT)],
    "aten.mv.default": [case(X, VECTOR)],
    "aten.dot.default": [case(VECTOR, VECTOR)],
    "aten.outer.default": [case(VECTOR, randn(3))],
    "aten.addmm.default": [case(randn(5), X, MATRIX), case(randn(5), X, MATRIX, beta=2, alpha=0.5)],
    "aten.baddbmm.default": [case(randn(2, 3, 3), CUBE, CUBE.mT), case(randn(2, 3, 3), CUBE, CUBE.mT, beta=0.5)],
    "aten.addcmul.default": [case(X, X, Y), case(X, X, Y, value=0.3)],
    "aten.einsum.default": [case("bij,jk->bik", [CUBE, MATRIX]), case("ii", [SQUARE])],
    "aten.bitwise_not.default": [case(MASK), case(INTS)],
    "aten.bitwise_and.Tensor": [case(MASK, OTHER_MASK), case(INTS, INTS + 1)],
    "aten.where.self": [case(MASK, X, Y)],
    "aten.where.ScalarOther": [case(MASK, X, 0.0), case(MASK, X, -math.inf)],
    "aten.where.ScalarSelf": [case(MASK, 1.0, X)],
    "aten.masked_fill.Scalar": [case(X, MASK, -math.inf), case(X, MASK, -1e9)],
    "aten.masked_fill.Tensor": [case(X, MASK, torch.tensor(2.0, dtype=torch.float64))],
    "aten.lerp.Scalar": [case(X, Y, 0.3)],
    "aten.lerp.Tensor": [case(X, Y, PROBABILITY)],
    "aten.clamp.default": [case(X, -0.5, 0.5), case(X, None, 0.1), case(X, 0)],
    "aten.clamp_min.default": [case(X, 0.1)],
    "aten.clamp_max.default": [case(X, 0.1)],
    "aten.relu_.default": [case(X)],
    "aten.gelu.default": [case(X), case(X, approximate="tanh")],
    "aten.elu.default": [case(X), case(X, 0.5), case(X, 1.5, 2.0, 3.0)],
    "aten.celu.default": [case(X), case(X, 0.4)],
    "aten.leaky_relu.default": [case(X), case(X, 0.2)],
    "aten.prelu.default": [case(X, torch.tensor([0.3], dtype=torch.float64))],
    "aten.hardtanh.default": [case(X), case(X, -0.3), case(X, -1, 0.3)],
    "aten.softplus.default": [case(X), case(X, 2), case(X, 1, 0.5)],
    "aten.glu.default": [case(X), case(randn(4, 3), 0)],
    "aten.softmax.int": [case(X, -1), case(X, 0, torch.float32)],
    "aten.log_softmax.int": [case(X, -1), case(X, 0, torch.float32)],
    "aten.linear.default": [case(X, randn(5, 4)), case(X, randn(5, 4), randn(5))],
    "aten.bilinear.default": [case(X, X, randn(5, 4, 4)), case(X, X, randn(5, 4, 4), randn(5))],
    "aten.embedding.default": [case(X, INDEX), case(X, INDEX, 0), case(X, INDEX, -1, True)],
    "aten.layer_norm.default": [case(X, (4,)), case(X, (4,), WEIGHT4, BIAS4, 1e-5, False), case(X, (4,), None, BIAS4, 1e-3)],
    "aten.rms_norm.default": [case(X, (4,), WEIGHT4, 1e-6), case(X, (4,))],
    "aten.group_norm.default": [case(IMAGE, 2), case(IMAGE, 2, WEIGHT4, BIAS4, 1e-3, False)],
    "aten.batch_norm.default": [
        case(IMAGE, WEIGHT4, BIAS4, VECTOR.clone(), BIAS4.abs(), True, 0.1, 1e-5, False),
        case(IMAGE, None, None, None, None, True, 0.0, 1e-5, True),
        case(IMAGE, WEIGHT4, None, VECTOR.clone(), BIAS4.abs(), False, 0.1, 1e-3, True),
    ],
    "aten.instance_norm.default": [
        case(IMAGE, WEIGHT4, BIAS4, None, None, True, 0.1, 1e-5, False),
        case(IMAGE, WEIGHT4, BIAS4, VECTOR.clone(), BIAS4.abs(), False, 0.1, 1e-5, False),
    ],
    "aten.dropout.default": [case(X, 0.3, True), case(X, 0.3, False)],
    "aten.alpha_dropout.default": [case(X, 0.3, True)],
    "aten.scaled_dot_product_attention.default": [
        case(*KEYS),
        case(*KEYS, None, 0.0, True),
        case(*KEYS, randn(5, 5), scale=0.2),
        case(*KEYS, None, 0.3),
    ],
    "aten.conv1d.default": [case(LINE, randn(6, 4, 3)), case(LINE, randn(6, 2, 3), randn(6), (2,), (1,), (2,), 2)],
    "aten.conv2d.default": [case(IMAGE, randn(6, 4, 3, 3)), case(IMAGE, randn(6, 2, 3, 3), randn(6), (2, 1), (1, 1), (1, 2), 2)],
    "aten.conv3d.default": [case(CLIP, randn(6, 4, 2, 3, 3), randn(6), (1, 1, 1), (1, 1, 1))],
    "aten.conv1d.padding": [case(LINE, randn(6, 4, 3), None, (1,), "same")],
    "aten.conv2d.padding": [case(IMAGE, randn(6, 4, 3, 3), randn(6), (1, 1), "same", (2, 2))],
    "aten.conv_transpose1d.default": [case(LINE, randn(4, 3, 3), randn(6), (2,), (1,), (1,), 2)],
    "aten.conv_transpose2d.input": [
        case(IMAGE, randn(4, 3, 2, 2)),
        case(IMAGE, randn(4, 3, 3, 3), randn(6), (2, 2), (1, 1), (1, 1), 2, (2, 2)),
    ],
    "aten.max_pool1d.default": [case(LINE, (2,)), case(LINE, (3,), (2,), (1,), (1,), True)],
    "aten.max_pool2d.default": [case(IMAGE, (2, 2)), case(IMAGE, (3, 2), (2, 1), (1, 1), (1, 1), True)],
    "aten.avg_pool1d.default": [case(LINE, (2,)), case(LINE, (3,), (2,), (1,), False, False)],
    "aten.avg_pool2d.default": [case(IMAGE, (2, 2)), case(IMAGE, (3, 2), (2, 1), (1, 1), True, False, 5)],
    "aten.adaptive_avg_pool1d.default": [case(LINE, (3,))],
    "aten.adaptive_avg_pool2d.default": [case(IMAGE, (1, 1)), case(IMAGE, (3, 2))],
    "aten.upsample_nearest2d.vec": [case(IMAGE, None, (2.0, 2.0)), case(IMAGE, (9, 12), None), case(IMAGE, None, (2.0, 3.0))],
    "aten.upsample_bilinear2d.vec": [case(IMAGE, None, False, (2.0, 2.0)), case(IMAGE, (9, 12), True, None)],
    "aten.pixel_shuffle.default": [case(IMAGE, 2)],
    "aten.pad.default": [case(X, (1, 2)), case(X, (0, 1, 2, 0), "constant", 3.5), case(IMAGE, (1, 1, 1, 1), "reflect")],
    "aten.constant_pad_nd.default": [case(X, (1, 2)), case(X, (1, 2), 3.5)],
    "aten.cross_entropy_loss.default": [
        case(X, LABELS),
        case(X, torch.tensor([0, 2, 1]), WEIGHT4.abs(), 2, 2, 0.1),
        case(X, LABELS, None, 0),
    ],
    "aten.nll_loss_nd.default": [
        case(X, LABELS),
        case(X, LABELS, WEIGHT4.abs(), 2),
        case(X, torch.tensor([0, 2, 1]), None, 1, 2),
    ],
    "aten.smooth_l1_loss.default": [case(X, Y), case(X, Y, 2, 0.5)],
    "aten.huber_loss.default": [case(X, Y), case(X, Y, 0, 0.5)],
    "aten.binary_cross_entropy.default": [case(PROBABILITY, PROBABILITY.flip(0)), case(PROBABILITY, PROBABILITY, POSITIVE, 2)],
    "aten.binary_cross_entropy_with_logits.default": [
        case(X, PROBABILITY),
        case(X, PROBABILITY, POSITIVE, WEIGHT4.abs(), 2),
        case(X, PROBABILITY, None, WEIGHT4.abs()),
    ],
    "aten.sum.default": [case(X), case(X, dtype=torch.float32), case(MASK)],
    "aten.sum.dim_IntList": [case(X, (1,)), case(CUBE, (0, 2), True), case(X, (-1,), dtype=torch.float32)],
    "aten.mean.default": [case(X), case(X, dtype=torch.float32)],
    "aten.mean.dim": [case(X, (1,)), case(CUBE, (0, 2), True), case(X, (-1,), dtype=torch.float32)],
    "aten.amax.default": [case(X), case(X, (1,)), case(CUBE, (0, 1), True)],
    "aten.amin.default": [case(X), case(X, (1,)), case(CUBE, (0, 1), True)],
    "aten.max.dim": [case(X, 1), case(X, 0, True)],
    "aten.min.dim": [case(X, 1), case(X, 0, True)],
    "aten.argmax.default": [case(X), case(X, 1), case(X, -1, True)],
    "aten.any.default": [case(MASK)],
    "aten.any.dim": [case(MASK, 1), case(MASK, 0, True)],
    "aten.all.default": [case(MASK)],
    "aten.all.dim": [case(MASK, 1), case(MASK, 0, True)],
    "aten.prod.default": [case(X), case(X, dtype=torch.float32)],
    "aten.cumsum.default": [case(X, 1), case(INTS, 0, dtype=torch.float32), case(MASK, -1)],
    "aten.logsumexp.default": [case(X, (1,)), case(X, (0, 1), True)],
    "aten.var.correction": [case(X), case(X, (1,), correction=0, keepdim=True), case(X, (0, 1), correction=1)],
    "aten.linalg_vector_norm.default": [
        case(X),
        case(X, 1),
        case(X, 2, (1,), True),
        case(X.float(), 2, (0,), dtype=torch.float64),
    ],
    "aten.topk.default": [case(X, 2), case(X, 2, 0, False)],
    "aten.reshape.default": [case(X, (2, -1)), case(X, (-1,))],
    "aten.view.default": [case(X, (2, 6))],
    "aten.permute.default": [case(CUBE, (2, 0, 1))],
    "aten.transpose.int": [case(CUBE, 1, 2), case(CUBE, -1, 0)],
    "aten.unsqueeze.default": [case(X, 0), case(X, -1)],
    "aten.squeeze.default": [case(X[None])],
    "aten.squeeze.dim": [case(X[None], 0)],
    "aten.squeeze.dims": [case(X[None, :, None], (0, 2)), case(X[None], (0,))],
    "aten.flatten.using_ints": [case(CUBE), case(CUBE, 1), case(CUBE, 0, 1)],
    "aten.unflatten.int": [case(X, 1, (2, 2)), case(X, -1, (-1, 2))],
    "aten.expand.default": [case(VECTOR, (3, 4)), case(VECTOR, (2, -1))],
    "aten.repeat.default": [case(X, (2, 1)), case(X, (2, 1, 3))],
    "aten.contiguous.default": [case(X.T)],
    "aten.to.dtype": [case(X, torch.float32), case(INTS, torch.bool), case(X, torch.int64)],
    "aten.narrow.default": [case(X, 1, 1, 2)],
    "aten.slice.Tensor": [case(X, 1, 1, 3), case(X, 0, -2, 2**63 - 1), case(X), case(X, -1, 0, 4, 2), case(CUBE, -2, 1, 2)],
    "aten.select.int": [case(CUBE, 1, -1), case(X, 0, 1), case(X, -1, 0), case(CUBE, -2, 1)],
    "aten.index.Tensor": [
        case(X, (INDEX,)),
        case(CUBE, (None, INDEX[0, :2])),
        case(CUBE, (INDEX[1, :2] % 2, None, INDEX[0, :2])),
    ],
    "aten.split.Tensor": [case(X, 2), case(X, 2, 1), case(X, 3, -1)],
    "aten.split.sizes": [case(X, (1, 3), 1)],
    "aten.split_with_sizes.default": [case(X, (1, 2)), case(X, (1, 3), 1)],
    "aten.chunk.default": [case(X, 2), case(X, 3, 1)],
    "aten.unbind.int": [case(X), case(X, 1)],
    "aten.cat.default": [case([X, Y]), case([X, Y], -1)],
    "aten.stack.default": [case([X, Y]), case([X, Y], 1)],
    "aten.roll.default": [case(X, (1,), (0,)), case(X, (2, 1), (0, 1)), case(X, (3,))],
    "aten.flip.default": [case(X, (0,)), case(X, (0, 1))],
    "aten.gather.default": [case(X, 0, INDEX)],
    "aten.index_select.default": [case(X, 1, INDEX[0])],
    "aten.scatter.src": [case(X, 0, INDEX, Y)],
    "aten.scatter.value": [case(X, 0, INDEX, 1.5)],
    "aten.scatter_add.default": [case(X, 0, INDEX, Y)],
    "aten.index_add.default": [case(X, 0, torch.tensor([1, 1]), Y[:2]), case(X, 0, torch.tensor([0, 1]), Y[:2], alpha=2)],
    "aten.one_hot.default": [case(INDEX), case(INDEX, 5)],
    "aten.tril.default": [case(X), case(X, 1)],
    "aten.triu.default": [case(X), case(X, 1)],
    "aten.diagonal.default": [case(X), case(CUBE, 1, 0, 2)],
    "aten.diff.default": [case(X), case(X, 2, 0), case(INTS, 1, -1, INTS[:, :1])],
    "aten.arange.default": [case(5), case(5, dtype=torch.float32)],
    "aten.arange.start": [case(2, 5), case(2, 5, dtype=torch.float64)],
    "aten.arange.start_step": [case(0, 8, 2), case(0.0, 1.0, 0.25, dtype=torch.float64)],
    "aten.zeros.default": [case((2, 3)), case((2, 3), **FACTORY)],
    "aten.ones.default": [case((2, 3)), case((), **FACTORY)],
    "aten.empty.memory_format": [case((2, 3), **FACTORY)],
    "aten.full.default": [case((2, 3), 1.5), case((2,), -math.inf, **FACTORY), case((), 3, dtype=torch.int64)],
    "aten.rand.default": [case((2, 3)), case((2, 3), **FACTORY)],
    "aten.randn.default": [case((2, 3)), case((2, 3), **FACTORY)],
    "aten.eye.default": [case(3), case(3, **FACTORY)],
    "aten.linspace.default": [case(0, 1, 5), case(-1.0, 1.0, 4, **FACTORY)],
    "aten.scalar_tensor.default": [case(2.5), case(-math.inf, **FACTORY)],
    "aten.zeros_like.default": [case(X), case(X, dtype=torch.bool)],
    "aten.ones_like.default": [case(X), case(X, dtype=torch.int64)],
    "aten.full_like.default": [case(X, 2), case(X, 2, dtype=torch.int64)],
    "aten.rand_like.default": [case(X), case(X, dtype=torch.float32)],
    "aten.randn_like.default": [case(X), case(X, dtype=torch.float32)],
    "aten.new_zeros.default": [case(X, (2,)), case(X, (2,), dtype=torch.int64)],
    "aten.new_ones.default": [case(X, ()), case(X, (2,), dtype=torch.bool)],
    "aten.new_full.default": [case(X, (2,), 3.5), case(X, (2,), 3, dtype=torch.int64)],
    "aten.fft_rfft2.default": [case(IMAGE), case(IMAGE, norm="ortho"), case(IMAGE, None, (1, 2))],
    "aten.fft_irfft2.default": [case(torch.fft.rfft2(IMAGE)), case(torch.fft.rfft2(IMAGE), (6, 6), norm="ortho")],
    "aten.fft_rfft.default": [case(X), case(X, 3, 0, "ortho")],
    "aten.fft_irfft.default": [case(torch.fft.rfft(X)), case(torch.fft.rfft(X), 5)],
    "aten.add_.Tensor": [case(X, Y), case(X, 1), case(X, Y, alpha=2)],
    "aten.copy_.default": [case(X, Y), case(X, Y.float())],
}


@pytest.mark.parametrize("kind", sorted(SAMPLES))
def test_the_spelling_computes_what_torch_computes(kind: str) -> None:
    assert kind in rows() or kind in ("aten.slice.Tensor", "aten.select.int", "aten.index.Tensor")
    for args, kwargs in SAMPLES[kind]:
        spelt, expected = _evaluated(kind, args, kwargs)
        _assert_same(kind, spelt, expected)


def test_every_row_has_a_sample() -> None:
    assert sorted(kind for kind in rows() if kind.startswith("aten.") and kind not in SAMPLES) == []


@pytest.mark.parametrize("kind", sorted(kind for kind in rows() if kind.startswith("aten.")))
def test_parameters_and_defaults_are_those_of_torch(kind: str) -> None:
    overload: Any = torch.ops
    for part in kind.split("."):
        overload = getattr(overload, part)
    for row in rows()[kind]:
        arguments = {argument.name: argument for argument in overload._schema.arguments}
        assert list(row.order) == list(arguments)
        wanted = {name: argument.default_value for name, argument in arguments.items() if argument.has_default_value()}
        assert set(row.defaults) == set(wanted)
        for name, default in row.defaults.items():
            assert _plain(default) == _plain(wanted[name]), f"{kind}: {name}"


@pytest.mark.parametrize(
    ("size", "text"),
    [(Size("b"), "b"), (Size("128*b"), "128 * b"), (GlobalSize("4*b"), "4 * BATCH"), (Symbol("float('-inf')"), 'float("-inf")')],
)
def test_sizes_and_symbols(size: Argument, text: str) -> None:
    op = Op("op", "aten.unknown.default", (Ref("x"), (size, -1)), (Value("y", (), "float32"),))
    assert source(spell(op, SCOPE)) == f"torch.ops.aten.unknown.default(x, ({text}, -1))"


def test_an_argument_that_a_row_does_not_know_leaves_the_op_as_torch_spells_it() -> None:
    op = Op("op", "aten.gather.default", (Ref("x"), 0, Ref("i")), (Value("y", (), "float32"),), (("sparse_grad", True),))
    assert source(spell(op, SCOPE)) == "torch.ops.aten.gather.default(x, 0, i, sparse_grad=True)"


SCOPE = Scope(lambda name: ast.Name(name))


def _evaluated(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The result of the spelt expression and of torch.ops on copies of the arguments, and what became of these."""
    results: list[Any] = []
    for write in (spell, fallback):
        tensors: dict[str, Tensor] = {}
        op = Op(
            "op",
            kind,
            tuple(_argument(arg, tensors) for arg in args),
            (Value("y", (), "float64"),),
            tuple((name, _argument(value, tensors)) for name, value in kwargs.items()),
        )
        scope = {**tensors, "torch": torch, "F": F, "device": torch.device("cpu"), "m": SimpleNamespace(training=True)}
        torch.manual_seed(3)
        results.append((eval(source(write(op, SCOPE)), scope), list(tensors.values())))
    return results


def _argument(value: Any, tensors: dict[str, Tensor]) -> Argument:
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.clone()
        return Ref(name)
    if isinstance(value, torch.dtype):
        return Symbol(str(value))
    if isinstance(value, list | tuple):
        return tuple(_argument(item, tensors) for item in value)
    return value  # type: ignore[no-any-return]


def _assert_same(kind: str, found: Any, expected: Any) -> None:
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(kind, one, other)
        return
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if "empty" not in kind:
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13, equal_nan=True)


def _plain(default: Any) -> Any:
    """A default as a value that can be compared."""
    if isinstance(default, Symbol):
        assert default.text == "torch.contiguous_format"
        return 0  # how a schema says it
    if isinstance(default, list | tuple):
        shrunk = set(default)
        return shrunk.pop() if len(shrunk) == 1 and len(default) < 4 and default != (-2, -1) else tuple(default)
    with contextlib.suppress(TypeError, ValueError):
        return float(default) if not isinstance(default, bool | str) else default
    return default
