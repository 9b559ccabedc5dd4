"""Floating-point operations of one op: the formulas that rows of the op table name.

As ``torch.utils.flop_counter`` counts, two for a multiplication with its addition.
"""

from __future__ import annotations

from math import log2, prod

from autopart.blocks.call import Call
from autopart.ir.graph import Value


def nothing(_: Call) -> int:
    return 0


def said(call: Call) -> int:
    """A layer of a profile says what its seconds come to."""
    return int(str(dict(call.op.kwargs)["flops"]))


def per_output(call: Call) -> int:
    """One for each element of the results."""
    return sum(call.count(value) for value in call.outputs)


def dropped(call: Call) -> int:
    """Elements that a dropout decides over, or whole channels; 0 where it does nothing."""
    if not call.literal(1, "p", 0.0) or call.literal(2, "train", True) is False:
        return 0
    shape = call.shape(call.outputs[0])
    return prod(shape[:2]) if call.packet.startswith("feature") else prod(shape)


def drawn(call: Call) -> int:
    """Random numbers of 32 bits: two for each decision, which a CPU takes in float64."""
    return 2 * dropped(call)


def per_input(call: Call) -> int:
    """One for each element of the first input."""
    return call.count(call.tensors[0]) if call.tensors else per_output(call)


FIRST_FACTOR = {"addmm": 1, "baddbmm": 1, "addmv": 1, "addbmm": 1}


def factors(call: Call) -> tuple[Value, ...]:
    """The tensors that are multiplied: not the bias."""
    if call.packet == "einsum":
        return call.tensors
    start = FIRST_FACTOR.get(call.packet, 0)
    return tuple(value for value in (call.at(start), call.at(start + 1)) if value)


def matmul(call: Call) -> int:
    """For each element of the result and each element of the dim that is summed."""
    shape = call.shape(factors(call)[0])
    summed = shape[-1] if shape and call.packet != "outer" else 1
    return 2 * call.count(call.outputs[0]) * summed


def einsum(call: Call) -> int:
    """For each combination of the letters; three operands are multiplied one after the other."""
    terms = str(call.op.args[0]).replace(" ", "").split("->")[0].split(",")
    values = call.tensors if len(call.tensors) == len(terms) else call.tensors[:1] * len(terms)
    sizes: dict[str, int] = {}
    for term, value in zip(terms, values, strict=True):
        sizes.update(_letters(term, call.shape(value)))
    return 2 * prod(sizes.values()) * max(1, len(terms) - 1)


def _letters(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Sizes by letter; dims under an ellipsis are named by their distance from its end."""
    ahead, _, after = term.partition("...")
    hidden = shape[len(ahead) : len(shape) - len(after)]
    found = dict(zip(ahead, shape, strict=False)) | dict(zip(reversed(after), reversed(shape), strict=False))
    return found | {f"...{len(hidden) - i}": size for i, size in enumerate(hidden) if size != 1}


def convolution(call: Call) -> int:
    """For each position of the result (of the input, if transposed), pair of channels and element of the kernel."""
    image, kernel = factors(call)
    transposed = "transpose" in call.packet or call.literal(6, "transposed") is True
    swept = call.shape(image if transposed else call.outputs[0])
    rank = len(call.shape(kernel)) - 2
    samples = prod(swept[: len(swept) - rank - 1])
    return 2 * samples * prod(swept[len(swept) - rank :]) * prod(call.shape(kernel))


def attention(call: Call) -> int:
    """Scores and their product with the values, by query head; a causal mask saves nothing here."""
    query, value = call.tensors[0], call.tensors[2 if len(call.tensors) > 2 else -1]
    *heads, rows, width = call.shape(query)
    return 2 * prod(heads) * rows * call.shape(value)[-2] * (width + call.shape(value)[-1])


def recurrent(call: Call) -> int:
    """Every weight matrix times every row of every time step."""
    data = call.shape(call.tensors[0])
    weights = [call.shape(value) for value in call.tensors if value.name in call.facts.graph.parameter_of]
    return 2 * prod(data[:-1]) * sum(prod(shape) for shape in weights if len(shape) > 1)


def fourier(call: Call) -> int:
    """5 n log n, n elements of the larger side."""
    count = max(per_input(call), per_output(call))
    return int(5 * count * log2(max(count, 2)))


# Flops of the backward, in multiples of the forward's


def none(_: Call) -> float:
    """A product with a mask that is there, which its bytes price."""
    return 0


def per_wanted(call: Call) -> float:
    """Once for every input that wants a gradient."""
    return len(call.wanted)


def per_factor(call: Call) -> float:
    """A product of the same size for every factor that wants a gradient."""
    wanted = {value.name for value in call.wanted}
    return sum(value.name in wanted for value in factors(call))


def attention_again(call: Call) -> float:
    """The scores once more and four products, where the forward has two."""
    return 2.5 if call.wanted else 0


def twice(call: Call) -> float:
    return 2 if call.wanted else 0
