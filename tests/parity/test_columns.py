"""What the columns of a replica compute together equals one device, values and gradients, for even and uneven parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from autopart.runtime import comm
from autopart.runtime.comm import Axis
from autopart.sharding.placement import Partial, Placement, Replicate, Shard, apportion
from tests.lockstep import combine, split
from tests.ranks import run_ranks

# Weights of the columns, and their ranks.
MESHES = [((1, 1), (0, 1)), ((1, 3), (1, 0)), ((1, 1, 1), (0, 1, 2)), ((2, 1, 3), (2, 0, 1))]
OTHER = 7  # units that the weights do not divide


@dataclass(frozen=True)
class Case:
    """A function on one device and on columns. ``takes`` and ``gives`` say how its arguments and its result lie over them."""

    one: Callable[..., Tensor]
    columns: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    takes: tuple[Placement, ...]
    gives: Placement


def axis_of(weights: tuple[int, ...], ranks: tuple[int, ...]) -> Axis:
    wire = torch.device("cpu")
    return Axis(ranks.index(dist.get_rank()), ranks, weights, sum(weights), dist.group.WORLD, wire)


def cases(weights: Sequence[int]) -> dict[str, Case]:
    """All of them, with the same numbers on every rank."""
    generator = torch.Generator().manual_seed(0)

    def floats(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=generator, dtype=torch.float64)

    def same(x: Tensor) -> Tensor:
        return x * 1.0

    units = sum(weights)
    found: dict[str, Case] = {
        "all_reduce": Case(same, comm.all_reduce, (floats(4, 3),), (Partial(),), Replicate()),
        "all_reduce of a transposed number": Case(
            lambda x: x.T * 1.0, lambda x, t: comm.all_reduce(x.T, t), (floats(4, 3),), (Partial(),), Replicate()
        ),
        "to_partial": Case(same, comm.to_partial, (floats(4, 3),), (Replicate(),), Partial()),
    }
    for dim, outer, many in ((0, 1, units), (1, 2, units), (1, 1, OTHER), (2, 3, OTHER), (-1, 1, units)):
        sizes = [3, 3, 3]
        sizes[dim] = outer * many * 2
        place, x, name = Shard(dim % 3, outer, many), floats(*sizes), f"over {outer} x {many} of dim {dim}"

        found[f"all_gather {name}"] = Case(same, _along(comm.all_gather, dim, outer, many), (x,), (place,), Replicate())
        found[f"reduce_scatter {name}"] = Case(same, _along(comm.reduce_scatter, dim, outer, many), (x,), (Partial(),), place)
        found[f"shard {name}"] = Case(same, _along(comm.shard, dim, outer, many), (x,), (Replicate(),), place)
    for dim, outer, to_dim, to_outer, other in ((0, 1, 1, 1, units), (2, 2, 0, 1, units), (1, 1, 2, 2, OTHER)):
        sizes = [2, 2, 2]
        sizes[dim], sizes[to_dim] = outer * units, to_outer * other * 2
        found[f"all_to_all from {dim}/{outer} to {to_dim}/{to_outer} of {other}"] = Case(
            same,
            lambda x, t, a=(dim, outer, to_dim, to_outer), n=other: comm.all_to_all(
                x, *a, t, None if n == sum(t.rows) else t.of(n)
            ),
            (floats(*sizes),),
            (Shard(dim, outer, units),),
            Shard(to_dim, to_outer, other),
        )
    return found | _lookups(floats) | _losses(floats, generator)


def _along(function: Callable[..., Tensor], dim: int, outer: int, units: int) -> Callable[..., Tensor]:
    return lambda x, t: function(x, dim, outer, t.of(units))


def _lookups(floats: Callable[..., Tensor]) -> dict[str, Case]:
    ids = torch.tensor([[0, 6, 3, 5], [13, 2, 0, 9]])
    return {
        f"embedding with padding {padding}": Case(
            lambda w, p=padding: F.embedding(ids, w, p),
            lambda w, t, p=padding: comm.embedding(w, ids, t.of(OTHER), padding_idx=p),
            (floats(2 * OTHER, 3),),
            (Shard(0, 1, OTHER),),
            Partial(),
        )
        for padding in (None, 0, 9, -1)
    }


def _losses(floats: Callable[..., Tensor], generator: torch.Generator) -> dict[str, Case]:
    found = {}
    for reduction in ("none", "sum"):
        for name, sizes, factor in (("rows", (5,), 1.0), ("images", (4, 2, 3), 1.0), ("large numbers", (5,), 1e3)):
            x = floats(sizes[0], 2 * OTHER, *sizes[1:]) * factor
            target = torch.randint(2 * OTHER, sizes, generator=generator)
            target.view(-1)[:1] = 3
            for key, options in (
                ("", {}),
                (", some ignored", {"ignore_index": 3}),
                (", weighted", {"weight": floats(2 * OTHER).abs(), "ignore_index": -1}),
            ):
                found[f"cross_entropy of {name}, {reduction}{key}"] = _loss(x, target, reduction, options)
    hidden = floats(5, 2 * OTHER)
    hidden[:, :9] = -torch.inf
    found["cross_entropy where a column has nothing"] = _loss(hidden, torch.tensor([9, 10, 11, 12, 13]), "none", {})
    found["cross_entropy of one sample"] = _loss(floats(2 * OTHER), torch.tensor(8), "none", {})
    return found


def _loss(x: Tensor, target: Tensor, reduction: str, options: Mapping[str, Any]) -> Case:
    return Case(
        lambda x: F.cross_entropy(x, target, reduction=reduction, **options),
        lambda x, t: comm.cross_entropy(x, target, t.of(OTHER), reduction=reduction, **_own(options, t)),
        (x,),
        (Shard(min(1, x.dim() - 1), 1, OTHER),),
        Replicate(),
    )


def _own(options: Mapping[str, Any], axis: Axis) -> Mapping[str, Any]:
    """The class weights of this column."""
    if "weight" not in options:
        return options
    return {**options, "weight": comm.shard(options["weight"], 0, 1, axis.of(OTHER))}


def parts_of(whole: Tensor, place: Placement, weights: Sequence[int]) -> list[Tensor]:
    """One part for each column: rows, copies, or terms at random."""
    match place:
        case Shard():
            return [part.clone() for part in split(whole, place, apportion(place.units, weights))]
        case Replicate():
            return [whole.clone() for _ in weights]
        case Partial():
            terms = [torch.rand(whole.shape, generator=torch.Generator().manual_seed(i)).double() for i in range(1, len(weights))]
            return [*terms, whole - sum(terms)]


def dual(place: Placement) -> Placement:
    """How the gradient lies."""
    match place:
        case Shard():
            return place
        case Replicate():
            return Partial()
        case Partial():
            return Replicate()


def upstream(case: Case) -> Tensor:
    result = case.one(*case.inputs)
    return torch.randn(result.shape, generator=torch.Generator().manual_seed(99), dtype=result.dtype)


def _run(_: int, weights: tuple[int, ...], ranks: tuple[int, ...]) -> dict[str, tuple[Tensor, list[Tensor | None]]]:
    axis, found = axis_of(weights, ranks), {}
    for name, case in cases(weights).items():
        pairs = zip(case.inputs, case.takes, strict=True)
        inputs = [parts_of(whole, place, weights)[axis.index].requires_grad_() for whole, place in pairs]
        kept = [each.detach().clone() for each in inputs]
        result = case.columns(*inputs, axis)
        grad = parts_of(upstream(case), dual(case.gives), weights)[axis.index]
        before = grad.clone()
        result.backward(grad)
        assert all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True)), f"{name} wrote into its input"
        assert torch.equal(grad, before), f"{name} wrote into a gradient"
        with torch.no_grad():
            assert torch.equal(case.columns(*inputs, axis), result), f"{name} without gradients"
        found[name] = (result.detach(), [each.grad for each in inputs])
    return found


@pytest.mark.parametrize(("weights", "ranks"), MESHES)
def test_columns_equal_one_device(weights: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    outcome = run_ranks(len(ranks), _run, weights, ranks)
    by_column = [outcome[rank] for rank in ranks]
    for name, case in cases(weights).items():
        inputs = [each.clone().requires_grad_() for each in case.inputs]
        wanted = case.one(*inputs)
        wanted.backward(upstream(case))
        _close(name, combine([column[name][0] for column in by_column], case.gives), wanted.detach())
        for i, (source, place) in enumerate(zip(inputs, case.takes, strict=True)):
            _close(f"gradient of {name}", combine([column[name][1][i] for column in by_column], dual(place)), source.grad)


def _close(name: str, found: Tensor, wanted: Tensor | None) -> None:
    assert wanted is not None
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12, msg=lambda text: f"{name}: {text}")


def _without_gradients(_: int) -> list[Tensor]:
    axis = axis_of((1, 2), (0, 1))
    ids = torch.arange(6) + 10 * axis.index
    flags = torch.tensor([axis.index == 0, False])
    rows = comm.shard(torch.arange(6), 0, 1, axis)
    return [
        comm.all_reduce(ids, axis),
        comm.all_reduce(flags, axis),
        comm.all_gather(rows, 0, 1, axis),
        comm.reduce_scatter(ids, 0, 1, axis),
        comm.all_gather(flags, 0, 1, Axis(axis.index, axis.ranks, (1, 1), 2, axis.group)),
    ]


def test_numbers_without_gradients_pass_through() -> None:
    first, second = run_ranks(2, _without_gradients)
    sums = torch.tensor([10, 12, 14, 16, 18, 20])
    for found in (first, second):
        assert torch.equal(found[0], sums)
        assert torch.equal(found[1], torch.tensor([True, False]))
        assert torch.equal(found[2], torch.arange(6))
        assert torch.equal(found[4], torch.tensor([True, False, False, False]))
    assert torch.equal(torch.cat([first[3], second[3]]), sums)


def test_a_rank_alone_needs_no_message() -> None:
    axis = Axis(0, (3,), (1,), 1)
    x = torch.randn(4, 6, dtype=torch.float64)
    for found in (
        comm.all_reduce(x, axis),
        comm.all_gather(x, 0, 1, axis),
        comm.reduce_scatter(x, 0, 1, axis),
        comm.all_to_all(x, 0, 1, 1, 1, axis),
        comm.shard(x, 1, 2, axis),
        comm.to_partial(x, axis),
        comm.dropout(x, 0.0, True, axis),
    ):
        assert torch.equal(found, x)
    target = torch.tensor([1, 5, 0, 2])
    assert torch.equal(comm.cross_entropy(x, target, axis, reduction="sum"), F.cross_entropy(x, target, reduction="sum"))
    assert torch.equal(comm.embedding(x, target[2:], axis), F.embedding(target[2:], x))


def test_an_axis_shares_out_units() -> None:
    axis = Axis(1, (0, 1, 2), (2, 1, 1), 4)
    assert axis.of(7).rows == (3, 2, 2)
    assert axis.of(7).batch == 7
    assert axis.of(7) is axis.of(7)
    assert axis.of(7).start == 3
    assert axis.own(5, 6, 7) == 6


def _embedded(ids: Tensor, axis: Axis) -> Tensor:
    return comm.embedding(torch.ones(3, 2), ids, axis)


def _lost(ids: Tensor, axis: Axis) -> Tensor:
    return comm.cross_entropy(torch.ones(2, 3), ids, axis)


def _refused(_: int, function: Callable[[Tensor, Axis], Tensor]) -> None:
    axis = axis_of((1, 1), (0, 1))
    for beyond in (6, -1):
        with pytest.raises((IndexError, RuntimeError), match=r"out of (range|bounds)"):
            function(torch.tensor([1, beyond]), axis)


@pytest.mark.parametrize("function", [_embedded, _lost])
def test_an_id_that_no_column_has_is_refused_on_all(function: Callable[[Tensor, Axis], Tensor]) -> None:
    run_ranks(2, _refused, function)


def _drawn(_: int, recompute: bool) -> list[Tensor]:
    """Two dropouts and an attention on one seed, what the shared generator gives afterwards, and a gradient."""
    axis = axis_of((1, 1), (0, 1))
    x = torch.ones(40, 40, dtype=torch.float64, requires_grad=True)
    heads = torch.randn(1, 2, 8, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def forward(x: Tensor) -> tuple[Tensor, ...]:
        first = comm.dropout(x, 0.5, True, axis)
        second = comm.dropout(x, 0.5, True, axis)
        attended = comm.scaled_dot_product_attention(heads * x[0, 0], heads, heads, dropout_p=0.5, tensor=axis)
        return first, second, attended, torch.rand(3)

    torch.manual_seed(5)
    results = checkpoint(forward, x, use_reentrant=False) if recompute else forward(x)
    torch.autograd.backward(list(results[:3]), [torch.ones_like(each) for each in results[:3]])
    assert x.grad is not None
    return [*(each.detach() for each in results), x.grad]


def test_columns_draw_numbers_of_their_own() -> None:
    columns = run_ranks(2, _drawn, False)
    first, second, attended, shared, _ = columns[0]
    assert not torch.equal(first, second)
    assert 0.4 < float((first == 0).double().mean()) < 0.6
    for ours, theirs in zip((first, second, attended), columns[1], strict=False):
        assert not torch.equal(ours, theirs)
    assert torch.equal(shared, columns[1][3])
    for plain, replayed in zip(columns, run_ranks(2, _drawn, True), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))


def test_no_numbers_are_drawn_where_none_are_needed() -> None:
    axis = Axis(0, (0, 1), (1, 1), 2, object())  # type: ignore[arg-type]
    x = torch.ones(3)
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    comm.dropout(x, 0.5, False, axis)
    comm.dropout(x, 0.0, True, axis)
    comm.scaled_dot_product_attention(*(torch.ones(1, 1, 2, 2) for _ in range(3)), tensor=axis)
    assert torch.equal(torch.rand(2), wanted)
