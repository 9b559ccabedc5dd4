"""Every row of every rule, executed: split, run each part, combine, and get what one device gets; gradients too.

For a row each letter of an example is split in turn over three ranks, unevenly. Gradients are handed in and read as
``placement.py`` says: that of a shard is a shard, of a replicated value partial, of a partial value replicated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from autopart.frontend.interpret import evaluate, overload
from autopart.ir.graph import Argument, Op, Ref, Size, Symbol, Value
from autopart.sharding import ops as _rules  # noqa: F401
from autopart.sharding.choose import fits
from autopart.sharding.placement import Partial, Replicate, Shard
from autopart.sharding.rules import REGISTRY, Call, Place, Row, RowNumbers, Unread, base_name, replicated, rows
from autopart.sharding.sizes import settle
from tests import lockstep
from tests.rule_examples import Example, S, T, ex, examples, t

PRIMES = (7, 5, 11, 13, 17, 19)
SHARES = {5: (1, 3, 1), 7: (4, 1, 2), 11: (6, 5), 13: (2, 10, 1), 17: (8, 9), 19: (10, 9), 23: (20, 3)}
OUTERS = (1, 2, 3, 4, 6)
ALL = examples()


def number(dim: str, sizes: dict[str, int]) -> int:
    return math.prod(sizes[factor] if factor.isalpha() else int(factor) for factor in dim.split("*"))


def letters_of(example: Example) -> dict[str, int]:
    """A prime for every letter, in order of appearance."""
    found = dict.fromkeys(re.findall(r"[a-z]", " ".join(texts((*example.args, *(value for _, value in example.kwargs))))))
    return dict(zip(found, PRIMES, strict=False))


def texts(value: Any) -> Iterator[str]:
    match value:
        case T(dims):
            yield dims
        case S(text):
            yield text
        case tuple():
            for item in value:
                yield from texts(item)


@dataclass
class Built:
    """An example as an op: ``tensors`` by name, one use each; sizes of the split letter in terms of ``b``."""

    split: str
    sizes: dict[str, int]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    fixed: set[str] = field(default_factory=set)

    def argument(self, value: Any) -> Argument:
        match value:
            case T():
                return self.tensor(value)
            case S(text):
                return self.size(text)
            case tuple():
                return tuple(self.argument(item) for item in value)
            case _:
                return value  # type: ignore[no-any-return]

    def size(self, text: str) -> int | Size:
        if self.split not in text.split("*"):
            return number(text, self.sizes)
        rest = number("*".join(factor if factor != self.split else "1" for factor in text.split("*")), self.sizes)
        return Size(f"{rest}*b")

    def tensor(self, spec: T) -> Ref:
        name = f"x{len(self.tensors)}"
        shape = [number(dim, self.sizes) for dim in spec.dims.split()]
        generator = torch.Generator().manual_seed(len(self.tensors))
        self.tensors[name] = filled(spec, shape, generator)
        self.fixed |= {name} if spec.kind in ("fixed", "sign") else set()
        return Ref(name)


def filled(spec: T, shape: list[int], generator: torch.Generator) -> Tensor:
    match spec.kind:
        case "float" | "fixed":
            return torch.rand(shape, generator=generator, dtype=torch.float64) * 0.8 + 0.1
        case "complex":
            return torch.randn(shape, generator=generator, dtype=torch.complex128)
        case "bool":
            mask = torch.rand(shape, generator=generator) < 0.5
            mask[..., 0] = True
            return mask
        case "sign":
            return torch.where(torch.rand(shape, generator=generator, dtype=torch.float64) < 0.5, -1.0, 1.0).to(torch.float64)
        case "distinct":
            return torch.randperm(shape[0], generator=generator)
        case _:
            return torch.randint(spec.low, spec.high, shape, generator=generator)


def build(example: Example, split: str, sizes: dict[str, int]) -> tuple[Op, Built]:
    built = Built(split, sizes)
    args = tuple(built.argument(value) for value in example.args)
    kwargs = tuple((key, built.argument(value)) for key, value in example.kwargs)
    return Op("op", example.kind, args, (), kwargs), built


def run(op: Op, tensors: dict[str, Tensor], batch: int, whole: int) -> tuple[Tensor, ...]:
    args = [evaluate(arg, tensors, batch, whole) for arg in op.args]
    kwargs = {key: evaluate(arg, tensors, batch, whole) for key, arg in op.kwargs}
    result = overload(op.kind)(*args, **kwargs)
    return tuple(result) if isinstance(result, tuple | list) else (result,)


def symbolic(first: Tensor, second: Tensor, n: int, m: int, name: str) -> Value:
    """A value whose sizes are those of ``first`` at n samples and of ``second`` at m."""

    def size(a: int, b: int) -> int | Size:
        if a == b:
            return a
        return Size(f"{a // n}*b") if a * m == b * n else Size(f"b*{a}//{n}" if a % n else "b*b")

    shape = tuple(size(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    return Value(name, shape, str(first.dtype).removeprefix("torch."))


@dataclass(frozen=True)
class Case:
    op: Op
    tensors: dict[str, Tensor]
    values: dict[str, Value]
    unit: int
    fixed: frozenset[str]

    @property
    def call(self) -> Call:
        return Call(
            self.op,
            tuple(value.shape_at(self.unit) for value in self.values.values()),
            tuple(value.shape_at(self.unit) for value in self.op.outputs),
            tuple(value.dtype for value in self.values.values()),
            self.unit,
            (*OUTERS, *(size for size in PRIMES if size != self.unit)),
        )


def case_of(example: Example, split: str) -> Case:
    """The example with one letter split; other sizes fixed."""
    sizes = letters_of(example)
    n, m = sizes[split], 23
    op, built = build(example, split, sizes)
    bigger, other = build(example, split, {**sizes, split: m})
    tensors, more = built.tensors, other.tensors
    values = {name: symbolic(tensors[name], more[name], n, m, name) for name in tensors}
    results = zip(run(op, clones(tensors), n, n), run(bigger, clones(more), m, m), strict=True)
    outputs = tuple(symbolic(first, second, n, m, f"y{i}") for i, (first, second) in enumerate(results))
    return Case(replace(op, outputs=outputs), tensors, values, n, frozenset(built.fixed))


def clones(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def legal_rows(case: Case) -> list[Row]:
    found = rows(case.call)
    assert found is not None
    return [row for row in found if row != replicated(case.call) and fits(case.op, row, set())]


@pytest.mark.parametrize("index", range(len(ALL)), ids=lambda i: f"{i}-{ALL[i].kind.removeprefix('aten.')}")
def test_rows(index: int) -> None:
    example = ALL[index]
    able = set()
    for letter in letters_of(example):
        case = case_of(example, letter)
        for row in legal_rows(case):
            check(case, row, example.shapes_only)
            if any(isinstance(place, Shard | RowNumbers) for place in (*row.inputs, *row.outputs)):
                able.add(letter)
    assert able >= set(example.splits), f"{example} has no row for {set(example.splits) - able}"


def test_a_wrong_row_is_caught() -> None:
    """A softmax has no row along its own dim, a product none where both factors are partial."""
    softmax = case_of(ex("softmax.int", t("b t"), 1, splits="b"), "t")
    product = case_of(ex("mul.Tensor", t("b t"), t("b t"), splits="b"), "b")
    for case, row in (
        (softmax, Row((Shard(1),), (Shard(1),))),
        (product, Row((Partial(), Partial()), (Partial(),))),
        (product, Row((Shard(0), Shard(0)), (Partial(),))),
    ):
        with pytest.raises(AssertionError):
            check(case, row, False)


def test_every_rule_has_an_example() -> None:
    assert {base_name(example.kind) for example in ALL} == set(REGISTRY)


def check(case: Case, row: Row, shapes_only: bool) -> None:
    shares = SHARES[case.unit]
    parts, whole = scatter(case, row, shares)
    leaves = [tensor for tensor in whole.values() if tensor.requires_grad]
    expected = run(case.op, whole, case.unit, case.unit)
    local = settle(case.op, row)
    made = [run(local, mine, share, case.unit) for mine, share in zip(parts, shares, strict=True)]
    what = f"{case.op}\n{row}"
    for i, place in enumerate(row.outputs):
        if isinstance(place, Unread):
            continue
        for rank, share in enumerate(shares):
            assert made[rank][i].shape == local.outputs[i].shape_at(share, case.unit), what
        if not shapes_only:
            close(gathered([each[i] for each in made], place, shares), expected[i], what)
    if leaves and not shapes_only:
        check_gradients(case, row, shares, parts, whole, made, expected, what)


def close(actual: Tensor, expected: Tensor, what: str) -> None:
    tight = (
        {"rtol": 1e-9, "atol": 1e-9} if expected.dtype not in (torch.float32, torch.complex64) else {"rtol": 1e-5, "atol": 1e-6}
    )
    torch.testing.assert_close(actual, expected, equal_nan=True, check_stride=False, **tight, msg=lambda text: f"{what}\n{text}")


def scatter(case: Case, row: Row, shares: Sequence[int]) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Every rank's inputs, and the whole ones. Floating ones collect gradients."""
    parts: list[dict[str, Tensor]] = [{} for _ in shares]
    whole: dict[str, Tensor] = {}
    for (name, tensor), place in zip(case.tensors.items(), row.inputs, strict=True):
        if isinstance(place, RowNumbers):
            tensor = numbers(tensor, place, sum(shares))
        whole[name] = tensor.clone() if name in case.fixed else leaf(tensor)
        for rank, part in enumerate(scattered(tensor, place, shares)):
            parts[rank][name] = part.clone() if name in case.fixed else leaf(part)
    return parts, whole


def leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point() or tensor.is_complex())


def numbers(like: Tensor, place: RowNumbers, count: int) -> Tensor:
    shape = [count if d == place.dim else 1 for d in range(like.dim())]
    return (torch.arange(count) * place.step).view(shape).expand(like.shape)


def scattered(tensor: Tensor, place: Place, shares: Sequence[int]) -> list[Tensor]:
    match place:
        case Shard():
            return lockstep.split(tensor, place, shares)
        case RowNumbers(dim):
            return [tensor.narrow(dim, 0, share) for share in shares]
        case Partial():
            return terms(tensor, len(shares))
        case Replicate() | Unread():
            return [tensor] * len(shares)


def terms(tensor: Tensor, count: int) -> list[Tensor]:
    """Random terms that add up to a tensor."""
    if tensor.dtype == torch.bool:
        return [tensor if i == 0 else torch.zeros_like(tensor) for i in range(count)]
    generator = torch.Generator().manual_seed(3)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        some = [torch.randint(-3, 3, tensor.shape, generator=generator) for _ in range(count - 1)]
    else:
        some = [torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for _ in range(count - 1)]
    return [*some, tensor - sum(some)]


def gathered(made: list[Tensor], place: Place, shares: Sequence[int]) -> Tensor:
    if isinstance(place, RowNumbers):
        starts = [sum(shares[:rank]) * place.step for rank in range(len(shares))]
        return torch.cat([part + start for part, start in zip(made, starts, strict=True)], place.dim)
    assert not isinstance(place, Unread)
    return lockstep.combine(made, place)


def check_gradients(
    case: Case,
    row: Row,
    shares: Sequence[int],
    parts: list[dict[str, Tensor]],
    whole: dict[str, Tensor],
    made: list[tuple[Tensor, ...]],
    expected: tuple[Tensor, ...],
    what: str,
) -> None:
    chosen = [i for i, tensor in enumerate(expected) if tensor.requires_grad and not isinstance(row.outputs[i], Unread)]
    if not chosen:
        return
    generator = torch.Generator().manual_seed(4)
    seeds = [torch.randn(expected[i].shape, generator=generator, dtype=expected[i].dtype) for i in chosen]
    names = [name for name, tensor in whole.items() if tensor.requires_grad]
    wanted = torch.autograd.grad([expected[i] for i in chosen], [whole[name] for name in names], seeds, allow_unused=True)
    handed = [scattered(seed, dual(row.outputs[i]), shares) for i, seed in zip(chosen, seeds, strict=True)]
    got = []
    for rank, mine in enumerate(parts):
        outputs, seeds_here = [made[rank][i] for i in chosen], [seed[rank] for seed in handed]
        got.append(torch.autograd.grad(outputs, [mine[name] for name in names], seeds_here, allow_unused=True))
    places = dict(zip(case.tensors, row.inputs, strict=True))
    for position, name in enumerate(names):
        mine = [each[position] for each in got]
        if wanted[position] is None or isinstance(places[name], Unread):
            assert wanted[position] is not None or all(part is None or not part.any() for part in mine), what
            continue
        present = [torch.zeros_like(parts[rank][name]) if part is None else part for rank, part in enumerate(mine)]
        close(gathered(present, dual(places[name]), shares), wanted[position], f"gradient of {name}\n{what}")


def dual(place: Place) -> Place:
    """How the gradient of a value lies."""
    match place:
        case Replicate():
            return Partial()
        case Partial():
            return Replicate()
        case _:
            return place


def test_symbols_are_data() -> None:
    """Dtypes in examples are spelt as in graphs."""
    assert all(not isinstance(value, torch.dtype) for example in ALL for value in (*example.args, *dict(example.kwargs).values()))
    assert any(isinstance(value, Symbol) for example in ALL for value in example.args)
