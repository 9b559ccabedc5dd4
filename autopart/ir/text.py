"""A graph as text, one op a line, for people and for messages."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.ir.graph import Argument, Graph, Input, Op, Parameter, Value


def format_graph(graph: Graph) -> str:
    """The whole graph: inputs, parameters, buffers, ops in order, the loss."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    yield f"graph {graph.name}"
    for source in graph.inputs:
        yield f"  input      {format_value(source.value)}  {_of_input(source)}"
    for parameter in graph.parameters:
        yield f"  parameter  {format_value(parameter.value)}{_of_parameter(parameter)}"
    for buffer in graph.buffers:
        yield f"  buffer     {format_value(buffer.value)}{'' if buffer.persistent else '  not in checkpoints'}"
    for op in graph.ops:
        yield f"  {format_op(op)}"
    yield f"  loss       %{graph.loss}"


def format_op(op: Op) -> str:
    """``%a: float32[b, 8] = aten.linear.default(%x, %fc.weight)  # model.py:12``."""
    results = ", ".join(format_value(value) for value in op.outputs)
    arguments = [format_argument(arg) for arg in op.args]
    arguments += [f"{key}={format_argument(arg)}" for key, arg in op.kwargs]
    notes = [f"writes {', '.join(f'%{name}' for name in op.mutates)}"] if op.mutates else []
    notes += [] if op.autocast else ["no autocast"]
    notes += [op.source] if op.source else []
    comment = f"  # {'; '.join(notes)}" if notes else ""
    return f"{results}{' = ' if results else ''}{op.kind}({', '.join(arguments)}){comment}"


def format_value(value: Value) -> str:
    return f"%{value.name}: {value.dtype}[{', '.join(str(size) for size in value.shape)}]"


def format_argument(arg: Argument) -> str:
    match arg:
        case tuple():
            return f"[{', '.join(format_argument(item) for item in arg)}]"
        case str():
            return repr(arg)
        case _:
            return str(arg)


def _of_input(source: Input) -> str:
    where = "".join(f"[{key!r}]" for key in source.path)
    return f"batch{where}, " + ("the same for all samples" if source.batch_dim is None else f"samples in dim {source.batch_dim}")


def _of_parameter(parameter: Parameter) -> str:
    tied = f"  = {', '.join(parameter.tied)}" if parameter.tied else ""
    return tied + ("" if parameter.trainable else "  frozen")
