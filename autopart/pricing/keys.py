"""Keys of measurements: what an op or a block is, whatever the names and the number of rows.

    aten.linear.default(%0, %1, %2) of float32[b,128,64]+, float32[64,64]+, float32[64]+

``b`` is the number of rows, ``+`` marks what gets a gradient, ``@1,0`` the order in which dims lie in memory (outermost first,
``*`` for one that is expanded) where it is not the usual one. Ops that autocast runs in a smaller dtype end in ``in bfloat16``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from autopart.blocks.call import Facts, facts
from autopart.blocks.layout import Layout
from autopart.ir.graph import Argument, Graph, Op, Ref


def op_key(op: Op, graph: Graph, runs_in: str = "") -> str:
    """``runs_in``: the dtype under autocast, where that is another than the trace's."""
    numbers = {name: index for index, name in enumerate(op.inputs)}
    return f"{_call(op, numbers)} of {', '.join(_values(op.inputs, facts(graph)))}{_dtype(runs_in)}"


def block_key(ops: Iterable[tuple[Op, str]], graph: Graph) -> str:
    """Of ops in order, each with the dtype that it runs in."""
    numbers: dict[str, int] = {}
    lines = []
    for op, runs_in in ops:
        outside = [name for name in op.inputs if name not in numbers]
        for name in (*op.inputs, *(value.name for value in op.outputs)):
            numbers.setdefault(name, len(numbers))
        lines.append(f"{_call(op, numbers)} of {', '.join(_values(outside, facts(graph)))}{_dtype(runs_in)}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _call(op: Op, numbers: Mapping[str, int]) -> str:
    arguments = [_spelt(arg, numbers) for arg in op.args] + [f"{key}={_spelt(arg, numbers)}" for key, arg in op.kwargs]
    return f"{op.kind}({', '.join(arguments)})" + ("" if op.autocast else " without autocast")


def _spelt(arg: Argument, numbers: Mapping[str, int]) -> str:
    match arg:
        case Ref(name):
            return f"%{numbers[name]}"
        case tuple():
            return f"[{', '.join(_spelt(item, numbers) for item in arg)}]"
        case None | bool() | int() | float() | complex() | str():
            return repr(arg)
        case _:
            return str(arg)


def _dtype(runs_in: str) -> str:
    return f" in {runs_in}" if runs_in else ""


def _values(names: Iterable[str], known: Facts) -> Iterable[str]:
    values = known.graph.values
    for name in names:
        if name not in values:
            yield "number"  # a statistic: a sum over all samples, known before the step
            continue
        shape = ",".join(map(str, values[name].shape))
        gradient = "+" if name in known.differentiable else ""
        yield f"{values[name].dtype}[{shape}]{gradient}{_order(known.layouts[name])}"


def _order(layout: Layout) -> str:
    if layout.contiguous:
        return ""
    return "@" + ",".join(f"{dim}*" if expanded else str(dim) for dim, expanded in memory_order(layout))


def memory_order(layout: Layout) -> tuple[tuple[int, bool], ...]:
    """Dims from the outermost in memory to the innermost, and whether each is expanded."""
    dims = sorted(range(len(layout.shape)), key=lambda dim: (-layout.strides[dim], dim))
    return tuple((dim, layout.strides[dim] == 0 and layout.shape[dim] != 1) for dim in dims)
