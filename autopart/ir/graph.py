"""The traced model: a graph of ops over named values, batch size symbolic. No torch in here.

Values, ops, parameters refer to each other by name, so equality, printing and diffs come for free.
A size that depends on the number of samples is a ``Size``, an expression of ``b``: each rank evaluates it
at its own number of rows, the simulator at whatever it prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import CodeType


@cache
def _compiled(expression: str) -> CodeType:
    return compile(expression, "<size>", "eval")


@cache
def _evaluated(expression: str, batch: int) -> int:
    return int(eval(_compiled(expression), {"__builtins__": {}, "max": max, "min": min}, {"b": batch}))


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A size that depends on the number of samples: a Python expression of ``b`` such as ``b``, ``128*b``, ``b//2``."""

    expression: str

    def at(self, batch: int) -> int:
        """The size for ``batch`` samples."""
        return _evaluated(self.expression, batch)

    @property
    def per_sample(self) -> int | None:
        """``k`` where the size is ``k*b``, else None."""
        unit = self.at(1)
        return unit if all(self.at(n) == unit * n for n in (2, 3, 7, 64, 1021)) else None

    def __str__(self) -> str:
        return self.expression


@dataclass(frozen=True, slots=True)
class GlobalSize:
    """A ``Size`` that always means the whole global batch, whatever the rows of the rank: the count of a mean, or the
    rows of a tensor that was gathered from all ranks.
    """

    expression: str

    def at(self, global_batch: int) -> int:
        """The size for a global batch of that many samples."""
        return Size(self.expression).at(global_batch)

    def __str__(self) -> str:
        return f"global({self.expression})"


@dataclass(frozen=True, slots=True)
class PartSize:
    """A size that differs between the columns of a stage: that of a dim which they share unevenly, by column."""

    parts: tuple[int, ...]

    def __str__(self) -> str:
        return f"own{self.parts}"


@dataclass(frozen=True, slots=True)
class Ref:
    """A use of a value, by name."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"


@dataclass(frozen=True, slots=True)
class Symbol:
    """A literal that is spelt in Python as it stands: ``torch.float32``, ``torch.contiguous_format``, ``float('-inf')``."""

    text: str

    def __str__(self) -> str:
        return self.text


Argument = Ref | Size | GlobalSize | PartSize | Symbol | None | bool | int | float | complex | str | tuple["Argument", ...]

Dim = int | Size | GlobalSize | PartSize

DTYPE_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "complex64": 8, "complex128": 16,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1,
}  # fmt: skip


def is_floating(dtype: str) -> bool:
    """Whether numbers of the dtype have fractions."""
    return dtype.startswith(("float", "bfloat", "complex"))


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor: name, sizes (a ``Size`` where they depend on the batch), dtype as torch spells it.

    Only sharding makes a ``GlobalSize`` in a shape (the tensor was gathered and has the rows of all ranks) or a ``PartSize``.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: str

    def shape_at(self, batch: int, global_batch: int | None = None) -> tuple[int, ...]:
        """The shape for ``batch`` rows; without ``global_batch`` those are all there are. It is that of one column: a
        ``PartSize`` has been resolved before.
        """
        whole = batch if global_batch is None else global_batch
        found = []
        for d in self.shape:
            assert not isinstance(d, PartSize), f"{self.name} differs between columns: {d}"
            found.append(d if isinstance(d, int) else d.at(batch if isinstance(d, Size) else whole))
        return tuple(found)

    def numel(self, batch: int) -> int:
        count = 1
        for size in self.shape_at(batch):
            count *= size
        return count

    def nbytes(self, batch: int) -> int:
        return self.numel(batch) * DTYPE_BYTES[self.dtype]

    @property
    def floating(self) -> bool:
        return is_floating(self.dtype)


@dataclass(frozen=True)
class Op:
    """One operation of the forward pass.

    ``kind`` is the overload's full name, ``aten.addmm.default``; ``comm.…`` is what sharding over samples inserted, ``tensor.…``
    what sharding over columns did, ``columns.dropout.default`` an aten op that the columns run together. Ops with several
    results have several outputs (there is no getitem). An op that writes into an argument lists it in ``mutates``.
    ``autocast`` is False where the model switched autocast off.
    """

    name: str  # unique and stable: "transformer.h.0.attn:addmm", ":addmm_1", ...
    kind: str
    args: tuple[Argument, ...]
    outputs: tuple[Value, ...]
    kwargs: tuple[tuple[str, Argument], ...] = ()
    module: str = ""  # path in the model: "transformer.h.0.attn"
    source: str = ""  # "modeling_gpt2.py:280", the innermost line of model code
    mutates: tuple[str, ...] = ()
    autocast: bool = True

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values it reads, in order of appearance, each once."""
        found: dict[str, None] = {}
        for argument in (*self.args, *(value for _, value in self.kwargs)):
            for ref in _refs(argument):
                found[ref] = None
        return tuple(found)


def _refs(argument: Argument) -> Iterator[str]:
    match argument:
        case Ref(name):
            yield name
        case tuple():
            for item in argument:
                yield from _refs(item)
        case _:
            return


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor of ``example_inputs`` or ``example_targets``.

    ``path`` says where it lies in the batch that a user passes: ``("input_ids",)`` in a dict, ``(0,)`` in a tuple;
    targets follow the inputs as ``("targets", 0)``.
    """

    value: Value
    path: tuple[str | int, ...]
    batch_dim: int | None  # None: the same on every rank and for every microbatch


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter under its fully qualified name; ``tied`` are its further names in the model."""

    name: str
    value: Value
    trainable: bool = True
    tied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Buffer:
    """A buffer, or a constant tensor that tracing lifted (``persistent`` False, name ``_constant_0``)."""

    name: str
    value: Value
    persistent: bool = True


@dataclass(frozen=True)
class Graph:
    """Ops in topological order, from inputs, parameters and buffers to a scalar loss."""

    name: str
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    buffers: tuple[Buffer, ...]
    ops: tuple[Op, ...]
    loss: str

    @cached_property
    def values(self) -> dict[str, Value]:
        """Every value by name."""
        found = {leaf.value.name: leaf.value for leaf in self.inputs}
        found.update({leaf.value.name: leaf.value for leaf in self.parameters})
        found.update({leaf.value.name: leaf.value for leaf in self.buffers})
        found.update({value.name: value for op in self.ops for value in op.outputs})
        return found

    @cached_property
    def producer(self) -> dict[str, Op]:
        """The op that makes a value; inputs, parameters and buffers have none."""
        return {value.name: op for op in self.ops for value in op.outputs}

    @cached_property
    def users(self) -> dict[str, tuple[Op, ...]]:
        """The ops that read a value, in order."""
        found: dict[str, list[Op]] = {name: [] for name in self.values}
        for op in self.ops:
            for name in op.inputs:
                found[name].append(op)
        return {name: tuple(ops) for name, ops in found.items()}

    @cached_property
    def parameter_of(self) -> dict[str, Parameter]:
        """Parameter by the name of its value."""
        return {parameter.value.name: parameter for parameter in self.parameters}

    @cached_property
    def buffer_of(self) -> dict[str, Buffer]:
        return {buffer.value.name: buffer for buffer in self.buffers}
