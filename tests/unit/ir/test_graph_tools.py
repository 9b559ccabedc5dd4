"""verify, format_graph and digest on graphs made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autopart.ir.digest import digest
from autopart.ir.graph import Buffer, GlobalSize, Graph, Input, Op, Parameter, Ref, Size, Symbol, Value
from autopart.ir.text import format_graph
from autopart.ir.verify import verify

B = Size("b")
X, W, S = Value("x", (B, 4), "float32"), Value("fc.weight", (4,), "float32"), Value("step", (), "int64")


def example() -> Graph:
    product = Op("fc:mul", "aten.mul.Tensor", (Ref("x"), Ref("fc.weight")), (replace(X, name="fc:mul"),), (), "fc", "model.py:3")
    count = Op("fc:add", "aten.add_.Tensor", (Ref("step"), 1), (), (), "fc", "model.py:4", ("step",))
    total = Op(
        ":sum", "aten.sum.default", (Ref("fc:mul"),), (Value(":sum", (), "float32"),), (("dtype", Symbol("torch.float32")),)
    )
    mean = Op(":div", "aten.div.Tensor", (Ref(":sum"), GlobalSize("4*b")), (Value(":div", (), "float32"),), autocast=False)
    return Graph(
        name="toy",
        inputs=(Input(X, ("x",), 0),),
        parameters=(Parameter("fc.weight", W, True, ("head.weight",)),),
        buffers=(Buffer("step", S, persistent=False),),
        ops=(product, count, total, mean),
        loss=":div",
    )


def test_text_shows_every_op_once() -> None:
    assert format_graph(example()) == (
        "graph toy\n"
        "  input      %x: float32[b, 4]  batch['x'], samples in dim 0\n"
        "  parameter  %fc.weight: float32[4]  = head.weight\n"
        "  buffer     %step: int64[]  not in checkpoints\n"
        "  %fc:mul: float32[b, 4] = aten.mul.Tensor(%x, %fc.weight)  # model.py:3\n"
        "  aten.add_.Tensor(%step, 1)  # writes %step; model.py:4\n"
        "  %:sum: float32[] = aten.sum.default(%fc:mul, dtype=torch.float32)\n"
        "  %:div: float32[] = aten.div.Tensor(%:sum, global(4*b))  # no autocast\n"
        "  loss       %:div\n"
    )


def test_a_sound_graph_passes() -> None:
    verify(example())


def changed(graph: Graph, index: int, **fields: object) -> Graph:
    ops = list(graph.ops)
    ops[index] = replace(ops[index], **fields)  # type: ignore[arg-type]
    return replace(graph, ops=tuple(ops))


GOOD = example()
FAULTS = {
    "uses nowhere before it is defined": changed(GOOD, 2, args=(Ref("nowhere"),)),
    "uses gone before it is defined": changed(GOOD, 1, mutates=("gone",)),
    "value x is defined twice": changed(GOOD, 0, outputs=(X,)),
    "unknown dtype float7": changed(GOOD, 0, outputs=(Value("fc:mul", (B,), "float7"),)),
    "neither results nor effects": changed(GOOD, 1, mutates=()),
    "two ops share a name: :sum": changed(GOOD, 3, name=":sum"),
    "the loss nothing is never defined": replace(GOOD, loss="nothing"),
    "expected a scalar": replace(GOOD, loss="fc:mul"),
    "has no samples in dim 1": replace(GOOD, inputs=(Input(X, ("x",), 1),)),
    "listed twice: step": replace(GOOD, parameters=(replace(GOOD.parameters[0], tied=("step",)),)),
    "which names no namespace": changed(GOOD, 3, kind="div"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_is_named(message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        verify(FAULTS[message])


def test_a_fault_is_shown_among_its_neighbours() -> None:
    with pytest.raises(AssertionError) as caught:
        verify(changed(GOOD, 2, args=(Ref("nowhere"),)))
    lines = str(caught.value).split("\n")
    assert [line for line in lines if line.startswith(">")] == [
        "> %:sum: float32[] = aten.sum.default(%nowhere, dtype=torch.float32)"
    ]
    assert len(lines) == 1 + len(GOOD.ops)


def test_values_from_outside_may_be_known() -> None:
    graph = changed(GOOD, 3, args=(Ref(":sum"), Ref("tokens")))
    verify(graph, known=["tokens"])


def test_the_digest_is_of_the_structure() -> None:
    assert digest(GOOD) == digest(changed(GOOD, 0, source="elsewhere.py:99"))
    assert digest(GOOD) == digest(replace(GOOD, name="another"))
    others = [
        changed(GOOD, 0, kind="aten.add.Tensor"),
        changed(GOOD, 1, args=(Ref("step"), 2)),
        changed(GOOD, 1, args=(Ref("step"), 1.0)),
        replace(GOOD, parameters=(replace(GOOD.parameters[0], trainable=False),)),
    ]
    assert len({digest(graph) for graph in (GOOD, *others)}) == 1 + len(others)
