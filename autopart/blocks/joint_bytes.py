"""What ops of several ranks keep and need beside what they read and give: ``runtime.collectives``, ``runtime.columns``."""

from __future__ import annotations

from autopart.blocks.call import Call
from autopart.ir.graph import DTYPE_BYTES, Value

BOOL, INT64 = DTYPE_BYTES["bool"], DTYPE_BYTES["int64"]

# Of a cross entropy whose classes are split


def loss_kept(call: Call) -> int:
    """Exponentials as large as the logits; of every target its class, whether another column has it, a factor and a scale."""
    return call.nbytes(call.tensors[0]) + _targets(call) * (INT64 + BOOL + 2 * _number(call))


def loss_forward(call: Call) -> int:
    """Beside what it keeps: three numbers a target (four with weights of classes), and those of all columns as they arrive and
    together; which targets count.
    """
    columns = call.literal(len(call.op.args), "columns", 1)
    assert isinstance(columns, int), f"{call.op.name} does not say how many columns it runs on"
    numbers = 3 if call.at(2, "weight") is None else 4
    at_a_time = numbers * (1 + 2 * columns) * _number(call) + INT64 + 2 * BOOL
    return _targets(call) * (at_a_time - INT64 - BOOL - 2 * _number(call))


def loss_backward(call: Call) -> int:
    """Of every target its gradient, that without other columns' targets, and the opposite."""
    return 3 * _targets(call) * _number(call)


def _targets(call: Call) -> int:
    target = call.at(1, "target")
    assert target is not None, f"{call.op.name} has no target"
    return call.count(target)


def _number(call: Call) -> int:
    return DTYPE_BYTES[call.tensors[0].dtype]


# Of a lookup in a table whose rows are split


def rows_kept(call: Call) -> int:
    """Every index as this column counts, and whether another column has it."""
    indices = call.at(1, "indices")
    assert indices is not None, f"{call.op.name} has no indices"
    return call.count(indices) * (INT64 + BOOL)


def rows_forward(call: Call) -> int:
    """Rows that were looked up, before those of other columns become zeros."""
    return call.nbytes(call.outputs[0])


def rows_backward(call: Call) -> int:
    """A gradient with zeros for other columns' rows is gone when the table's is made."""
    return max(0, call.nbytes(call.outputs[0]) - call.nbytes(*call.wanted))


# Of messages: what is sent is copied where it does not lie in order, what arrives is copied into the result, or is it


def summed(call: Call) -> int:
    """What arrives is the result."""
    return _copy(call, call.tensors[0])


def gradient_summed(call: Call) -> int:
    return _copy(call, call.outputs[0])


def gathered(call: Call) -> int:
    return _others(call) + _copy(call, call.tensors[0])


def gradient_gathered(call: Call) -> int:
    return _others(call) + _copy(call, call.outputs[0])


def scattered(call: Call) -> int:
    """What is sent, and received: of two ranks with equal parts, that is the result."""
    part = min(call.nbytes(call.tensors[0]), call.nbytes(call.outputs[0]))
    return _others(call) * (1 if _others(call) == part else 2)


gradient_scattered = scattered


def exchanged(call: Call) -> int:
    """What is sent, and received: all but this rank's part of either."""
    x, result = call.tensors[0], call.outputs[0]
    dim, to_dim = (
        value % len(x.shape) for value in (call.literal(1, "dim"), call.literal(3, "to_dim")) if isinstance(value, int)
    )
    before, after = call.shape(x), call.shape(result)
    sent = call.nbytes(x) * (1 - after[to_dim] / before[to_dim])
    received = call.nbytes(result) * (1 - before[dim] / after[dim])
    return int(sent + received)


def _others(call: Call) -> int:
    """Bytes of the whole that are not this rank's."""
    return abs(call.nbytes(call.outputs[0]) - call.nbytes(call.tensors[0]))


def _copy(call: Call, value: Value) -> int:
    """A tensor that is sent whole; a gradient lies as its value does."""
    return 0 if call.facts.layouts[value.name].contiguous else call.nbytes(value)
