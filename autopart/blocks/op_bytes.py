"""Bytes that one op moves, and bytes that autograd keeps beside values: the formulas that rows of the op table name."""

from __future__ import annotations

from math import prod

from autopart.blocks.call import Call
from autopart.blocks.op_flops import dropped, factors, per_output
from autopart.ir.graph import DTYPE_BYTES, Value

INT64 = DTYPE_BYTES["int64"]
FLOAT32 = DTYPE_BYTES["float32"]

# Moved in the forward


def reads_and_writes(call: Call) -> int:
    """Every input read once, every result written once. What broadcasts is read at its own size."""
    return call.nbytes(*call.tensors) + call.nbytes(*call.outputs)


def two_passes(call: Call) -> int:
    """The first input is read once more, for its statistics."""
    return reads_and_writes(call) + call.nbytes(*call.tensors[:1])


def gathered(call: Call) -> int:
    """Of the table only the rows that are written; and the indices."""
    return 2 * call.nbytes(*call.outputs) + call.nbytes(*(value for value in call.tensors if not value.floating))


def copied(call: Call) -> int:
    """A view moves nothing; a reshape that has to copy reads and writes."""
    return 2 * call.nbytes(*(value for value in call.outputs if call.copies(value)))


# Moved in the backward


def gradients(call: Call) -> int:
    """Each gradient reads those of the results and is written; the inputs, or what stands for them, are read again."""
    if not call.wanted:
        return 0
    again = call.nbytes(*(value for value in call.tensors if value.floating))
    return again + sum(_incoming(call) + call.nbytes(value) for value in call.wanted)


def passed_on(call: Call) -> int:
    """Of a sum: the gradient as it is; where an input was broadcast, summed up."""
    size = per_output(call)
    return sum(_incoming(call) + call.nbytes(value) for value in call.wanted if call.count(value) != size)


def read_and_written(call: Call) -> int:
    """Nothing but gradients."""
    return sum(_incoming(call) + call.nbytes(value) for value in call.wanted)


def scattered(call: Call) -> int:
    """The gradient of a table is zeros, then rows are added to it."""
    return sum(3 * _incoming(call) + call.nbytes(value) for value in call.wanted)


PARTS = frozenset(("slice", "select", "narrow", "diagonal"))
PIECES = frozenset(("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "hsplit", "vsplit", "dsplit"))


def copied_back(call: Call) -> int:
    """A part's gradient is written into zeros, pieces are put together, what was expanded is summed, a copy copied."""
    if not call.wanted:
        return 0
    source = call.wanted[0]
    resized = per_output(call) != call.count(source)
    if call.packet in PARTS:
        return 2 * _incoming(call) + call.nbytes(source) if resized else 0
    if call.packet in PIECES:
        return 2 * _incoming(call)
    return _incoming(call) + call.nbytes(source) if resized or call.copies(call.outputs[0]) else 0


def _incoming(call: Call) -> int:
    """Bytes of the gradients of the results."""
    return call.nbytes(*(value for value in call.outputs if call.has_gradient(value)))


# Kept for the backward, beside values


def nothing(_: Call) -> int:
    return 0


def one_output(call: Call) -> int:
    return call.nbytes(call.outputs[0])


def dropout_mask(call: Call) -> int:
    """A byte an element, or on a CPU a number; of whole channels hardly anything."""
    return dropped(call) * (1 if call.fused else DTYPE_BYTES[call.outputs[0].dtype])


def row_statistics(call: Call) -> int:
    """Mean and reciprocal deviation of every normalised row (an rms norm has no mean)."""
    rows = call.count(call.tensors[0]) // max(1, prod(call.ints(1, "normalized_shape")))
    return rows * FLOAT32 * (1 if "rms" in call.packet else 2)


def group_statistics(call: Call) -> int:
    groups = call.literal(1, "num_groups", 1)
    return 2 * FLOAT32 * call.shape(call.tensors[0])[0] * (groups if isinstance(groups, int) else 1)


def channel_statistics(call: Call) -> int:
    return 2 * FLOAT32 * call.shape(call.tensors[0])[1]


def sample_channel_statistics(call: Call) -> int:
    return 2 * FLOAT32 * prod(call.shape(call.tensors[0])[:2])


def pool_indices(call: Call) -> int:
    """Where each maximum was; not where it is a result of its own."""
    return 0 if len(call.outputs) > 1 else INT64 * call.count(call.outputs[0])


def log_probabilities(call: Call) -> int:
    """As large as the logits."""
    return call.nbytes(call.tensors[0])


# Numbers kept by time step, layer and element of the state beside the input: gates and cells; a CPU's are measured.
KEPT_STATES = {"lstm": 6, "gru": 5, "rnn_tanh": 1, "rnn_relu": 1}
KEPT_STATES_CPU = {"lstm": 16, "gru": 7, "rnn_tanh": 1, "rnn_relu": 1}

# oneDNN's LSTM keeps a workspace of 4 gates for each step, and for each step and the start so many rows as wide as the wider of
# input and state (padded) and as wide as the state. Measured with PyTorch 2.13 over 11 shapes (1 to 512 wide), to 4%.
WORKSPACE_WIDE, WORKSPACE_STATE = 6.22, 4.92
PADDED, UNEASY = 16, 256  # numbers: rows are whole cache lines, and one more where they would be a multiple of 1 KiB


def recurrent(call: Call) -> int:
    """Gates and states of every layer, and what passes from one layer to the next."""
    data, hidden = call.tensors[0], call.outputs[-1]
    layers, _, width = (1, 1, 1, *call.shape(hidden))[-3:]
    states = (KEPT_STATES if call.fused else KEPT_STATES_CPU)[call.packet]
    steps = call.count(data) // max(1, call.shape(data)[-1])
    return DTYPE_BYTES[data.dtype] * steps * width * (layers * states + layers - 1)


def lstm(call: Call) -> int:
    """OneDNN's workspaces, results and states of every layer on a CPU in float32; elsewhere gates and states."""
    data, hidden = call.tensors[0], call.outputs[-1]
    if call.fused or data.dtype != "float32":
        return recurrent(call)
    layers, samples, width = (1, 1, 1, *call.shape(hidden))[-3:]
    wide = call.shape(data)[-1]
    steps = call.count(data) // max(1, samples * wide)
    found = 0.0
    for layer in range(layers):
        row = -(-max(wide if layer == 0 else width, width) // PADDED) * PADDED
        row += PADDED if row % UNEASY == 0 else 0
        found += 4 * steps * width + (steps + 1) * (WORKSPACE_WIDE * row + WORKSPACE_STATE * width)
        found += 4 * width + (steps * width if layer < layers - 1 else 0)
    return FLOAT32 * samples * int(found)


def copied_factors(call: Call) -> int:
    """Factors that had to be copied to be multiplied as a batch of matrices."""
    return call.nbytes(*(value for value in kept_factors(call) if not whole(call, value)))


def kept_factors(call: Call) -> tuple[Value, ...]:
    """The gradient of a factor needs the other ones."""
    wanted, all_factors = {value.name for value in call.wanted}, factors(call)
    alone = len({value.name for value in all_factors}) == 1
    return tuple(value for value in all_factors if wanted - {value.name} or (alone and wanted))


def whole(call: Call, value: Value) -> bool:
    """Whether a product takes the tensor as it lies in memory."""
    layout, rank = call.facts.layouts[value.name], len(value.shape)
    if rank < 3 or call.packet not in ("linear", "matmul", "einsum"):
        return True
    flattened = call.packet == "linear" or min(len(v.shape) for v in factors(call)) < 3
    return layout.rows_in_order(1 if flattened else 2)


# Needed by the backward while it runs, beside gradients


def one_input(call: Call) -> int:
    return call.nbytes(call.tensors[0])


def before_summing(call: Call) -> int:
    """Where an input was broadcast its gradient is made in the result's size, then summed up."""
    size = per_output(call)
    return one_output(call) if any(call.count(value) != size for value in call.wanted) else 0


def quotients(call: Call) -> int:
    """The gradient of a divisor takes the quotient once more."""
    divisor = call.at(1)
    return one_output(call) if divisor in call.wanted else before_summing(call)


def both_halves(call: Call) -> int:
    """Of a real transform: the whole spectrum in zeros, and transformed back, complex; the real part is a view of it."""
    return 3 * call.nbytes(call.tensors[0])


# Taken by results beyond their elements


def around_view(call: Call) -> int:
    """A copy of a view has all the memory that the view lies in."""
    base = call.facts.graph.values[call.facts.layouts[call.tensors[0].name].storage]
    return max(0, call.nbytes(base) - one_output(call))


# Attention


def flash(call: Call) -> bool:
    """Whether scores are never written to memory: not on a CPU with dropout, or where the mask wants a gradient."""
    plain = not call.literal(4, "dropout_p", 0.0) and not any(call.has_gradient(mask) for mask in call.tensors[3:])
    return call.fused or plain


def attention_kept(call: Call) -> int:
    """A log-sum for every row, the mask as numbers; without the flash kernel scaled copies and scores, thrice under dropout."""
    query, key, value = (call.tensors * 3)[:3] if len(call.tensors) < 3 else call.tensors[:3]
    *heads, rows, _ = call.shape(query)
    if flash(call):
        masks = sum(call.count(mask) for mask in call.tensors[3:] if not mask.floating)
        return FLOAT32 * prod(heads) * rows + DTYPE_BYTES[query.dtype] * masks
    scores = prod(heads) * rows * call.shape(value)[-2] * DTYPE_BYTES[query.dtype]
    matrices = 3 if call.literal(4, "dropout_p", 0.0) else 1
    return matrices * scores + call.nbytes(query, key, value)
