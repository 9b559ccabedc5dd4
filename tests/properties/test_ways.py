"""Every way of every op over columns, executed: each column runs the rewritten op on its part; combined it is the whole result.

The examples are those of the rules, all sizes plain numbers here. Joint ops, which exchange messages, are in
``tests/parity/test_columns.py``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autopart.ir.graph import Graph, Input, Op, Value
from autopart.sharding.placement import Shard
from autopart.sharding.rules import Unread
from autopart.tensor.sizes import local_op, resolved_op
from autopart.tensor.ways import Axis, Way, ways
from tests.properties.test_rules import (
    ALL,
    Case,
    build,
    check_gradients,
    clones,
    close,
    gathered,
    letters_of,
    run,
    scatter,
)
from tests.rule_examples import Example

AXES = {
    "even": Axis((1, 1), (2,), (1, 2, 3)),
    "uneven": Axis((3, 1), (4,), (1, 2)),
    "odd": Axis((1, 1), (5,), (1, 2)),  # five units on two columns
    "three": Axis((1, 2, 1), (4,), (1,)),
}


def graph_of(op: Op, values: dict[str, Value]) -> Graph:
    inputs = tuple(Input(value, (i,), None) for i, value in enumerate(values.values()))
    return Graph("example", inputs, (), (), (op,), op.outputs[0].name)


def case_of(example: Example, axis: Axis) -> Case:
    """The example with sizes that the units of the axis divide, all of them different."""
    sizes = {letter: axis.units[0] * (i + 1) for i, letter in enumerate(letters_of(example))}
    op, built = build(example, "", sizes)
    values = {name: value_of(name, tensor) for name, tensor in built.tensors.items()}
    outputs = tuple(value_of(f"y{i}", tensor) for i, tensor in enumerate(run(op, clones(built.tensors), 1, 1)))
    return Case(replace(op, outputs=outputs), built.tensors, values, axis.units[0], frozenset(built.fixed))


def value_of(name: str, tensor: torch.Tensor) -> Value:
    return Value(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("index", range(len(ALL)), ids=lambda i: f"{i}-{ALL[i].kind.removeprefix('aten.')}")
def test_ways(index: int, axis: str) -> None:
    case = case_of(ALL[index], AXES[axis])
    graph = graph_of(case.op, case.values)
    for way in ways(case.op, graph, AXES[axis]):
        if way.kind == case.op.kind and not way.whole:
            check(case, way, AXES[axis], ALL[index].shapes_only)


def test_much_can_be_split() -> None:
    """Of all examples at least as many as letters that their rules must be able to split, samples and others alike."""
    able = 0
    for example in ALL:
        case = case_of(example, AXES["even"])
        found = ways(case.op, graph_of(case.op, case.values), AXES["even"])
        able += any(isinstance(place, Shard) for way in found for place in (*way.row.inputs, *way.row.outputs))
    assert able > 0.8 * sum(bool(example.splits) for example in ALL)


def test_a_wrong_size_is_caught() -> None:
    """A view whose sizes are left as they were on one device does not run on a column."""
    example = next(each for each in ALL if each.kind == "aten.view.default")
    case = case_of(example, AXES["even"])
    graph = graph_of(case.op, case.values)
    split = [way for way in ways(case.op, graph, AXES["even"]) if isinstance(way.row.outputs[0], Shard)]
    parts, _ = scatter(case, split[0].row, (1, 1))
    with pytest.raises(RuntimeError):
        run(case.op, parts[0], 1, 1)


def check(case: Case, way: Way, axis: Axis, shapes_only: bool) -> None:
    shares = axis.parts(Shard(0, 1, axis.units[0]))
    parts, whole = scatter(case, way.row, shares)
    expected = run(case.op, whole, 1, 1)
    shapes = tuple(value.shape for value in case.values.values())
    local = local_op(case.op, way.row, shapes, axis)
    columns = [resolved_op(local, column) for column in range(axis.degree)]
    made = [run(op, mine, 1, 1) for op, mine in zip(columns, parts, strict=True)]
    what = f"{case.op}\n{way.row}\n{local}"
    for i, place in enumerate(way.row.outputs):
        if isinstance(place, Unread):
            continue
        for op, outputs in zip(columns, made, strict=True):
            assert outputs[i].shape == op.outputs[i].shape, what
        if not shapes_only:
            close(gathered([each[i] for each in made], place, shares), expected[i], what)
    if not shapes_only and any(tensor.requires_grad for tensor in whole.values()):
        check_gradients(case, way.row, shares, parts, whole, made, expected, what)
