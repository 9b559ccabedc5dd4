"""Facts that follow from a graph: what has a gradient, what is random, what may share memory, what follows from inputs alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Generic, TypeVar

from autopart.ir.graph import Argument, Graph, Op, Ref

T = TypeVar("T")


# Facts are found once per graph, whatever asks for them.


class Same(Generic[T]):
    """Holds a value as a key by identity: hashing a whole graph would cost more than the answer."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value


S = TypeVar("S")


def once(function: Callable[[T], S]) -> Callable[[T], S]:
    """Remembers the last answers by the identity of an immutable argument: a plan looks at a graph for every way to split it."""

    @lru_cache(maxsize=64)
    def remembered(key: Same[T]) -> S:
        return function(key.value)

    def answer(value: T) -> S:
        return remembered(Same(value))

    answer.__doc__ = function.__doc__
    return answer


def packet(op: Op) -> str:
    """``add`` of ``aten.add.Tensor`` and of ``columns.add.Tensor``; ops of other namespaces keep it: ``comm.all_reduce``."""
    namespace, name = op.kind.split(".")[:2]
    return name if namespace in ("aten", "columns") else f"{namespace}.{name}"


def argument(op: Op, position: int, name: str, default: Argument = None) -> Argument:
    """An argument that may be passed by position or by name."""
    if position < len(op.args):
        return op.args[position]
    return dict(op.kwargs).get(name, default)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Gradients

NO_GRADIENT = _words(
    """detach detach_ argmax argmin zeros_like ones_like full_like empty_like rand_like randn_like randint_like new_zeros
    new_ones new_full new_empty bernoulli multinomial one_hot bucketize searchsorted histc nonzero isnan isinf isfinite
    sym_size sym_numel arange zeros ones full empty rand randn randint randperm eye linspace"""
)


def passes_gradient(op: Op) -> bool:
    """Whether a gradient of its floating results reaches its inputs."""
    return packet(op) not in NO_GRADIENT


@once
def differentiable(graph: Graph) -> frozenset[str]:
    """Floating values that depend on a trainable parameter through ops that pass gradients; the parameters too."""
    found = {parameter.value.name for parameter in graph.parameters if parameter.trainable and parameter.value.floating}
    groups = alias_groups(graph)
    members = _members(groups)
    for op in graph.ops:
        if not passes_gradient(op) or found.isdisjoint(op.inputs):
            continue
        found.update(value.name for value in op.outputs if value.floating)
        for name in op.mutates:
            found.update(member for member in members[groups[name]] if graph.values[member].floating)
    return frozenset(found)


# Randomness

ALWAYS_RANDOM = _words(
    """bernoulli bernoulli_ rand randn randint randperm rand_like randn_like randint_like normal normal_ normal_functional uniform
    uniform_ exponential exponential_ geometric geometric_ log_normal log_normal_ cauchy cauchy_ random random_ multinomial
    poisson binomial _standard_gamma _sample_dirichlet"""
)
# Random where the rate is above zero and the op is in training mode: positions and names of both arguments.
RATES: dict[str, tuple[tuple[int, str], tuple[int, str] | None]] = {
    "dropout": ((1, "p"), (2, "train")),
    "dropout_": ((1, "p"), (2, "train")),
    "native_dropout": ((1, "p"), (2, "train")),
    "feature_dropout": ((1, "p"), (2, "train")),
    "feature_dropout_": ((1, "p"), (2, "train")),
    "alpha_dropout": ((1, "p"), (2, "train")),
    "alpha_dropout_": ((1, "p"), (2, "train")),
    "feature_alpha_dropout": ((1, "p"), (2, "train")),
    "feature_alpha_dropout_": ((1, "p"), (2, "train")),
    "scaled_dot_product_attention": ((4, "dropout_p"), None),
    "lstm": ((5, "dropout"), (6, "train")),
    "gru": ((5, "dropout"), (6, "train")),
    "rnn_tanh": ((5, "dropout"), (6, "train")),
    "rnn_relu": ((5, "dropout"), (6, "train")),
    "rrelu": ((2, "upper"), (3, "training")),
    "rrelu_": ((2, "upper"), (3, "training")),
    "rrelu_with_noise": ((3, "upper"), (4, "training")),
    "rrelu_with_noise_": ((3, "upper"), (4, "training")),
    "rrelu_with_noise_functional": ((3, "upper"), (4, "training")),
}


def is_random(op: Op) -> bool:
    """Whether two runs on equal inputs may differ."""
    name = packet(op)
    if name not in RATES:
        return name in ALWAYS_RANDOM
    rate, training = RATES[name]
    return bool(argument(op, *rate, 0.0)) and (training is None or argument(op, *training, False) is True)


# Memory shared between values, and written in place

VIEWS = _words(
    """view _unsafe_view reshape view_as reshape_as flatten unflatten ravel transpose t T mT permute movedim swapaxes swapdims
    expand expand_as broadcast_to unsqueeze squeeze slice select narrow split split_with_sizes chunk tensor_split unbind
    diagonal unfold as_strided real imag view_as_real view_as_complex detach detach_ alias lift_fresh contiguous to type_as
    _to_copy numpy_T adjoint conj resolve_conj resolve_neg positive hsplit vsplit dsplit"""
)  # results may share memory with the first argument
INERT_WITHOUT_TRAINING = frozenset(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"))


def may_alias(op: Op) -> tuple[str, ...]:
    """Inputs whose memory the results may share: of views, and of writing in place. Several: each result that of its own."""
    name = packet(op)
    if name == "broadcast_tensors":
        return op.inputs if len(op.inputs) == len(op.outputs) else ()
    if name in VIEWS or name.startswith(("comm.", "tensor.")) or (name in INERT_WITHOUT_TRAINING and not is_random(op)):
        return tuple(arg.name for arg in op.args[:1] if isinstance(arg, Ref))
    return op.mutates[:1] if op.mutates and name.endswith("_") else ()


@once
def alias_groups(graph: Graph) -> dict[str, str]:
    """Value -> the value that first held its memory. Values of one group may share it: reshape counts as a view."""
    root = {name: name for name in graph.values}
    for op in graph.ops:
        sources = may_alias(op)
        if len(sources) == 1:
            sources *= len(op.outputs)
        root.update((value.name, root.get(source, source)) for value, source in zip(op.outputs, sources, strict=False))
    return root


def _members(groups: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, root in groups.items():
        found.setdefault(root, []).append(name)
    return found


@once
def mutated_roots(graph: Graph) -> frozenset[str]:
    """Roots of the alias groups that some op writes into."""
    groups = alias_groups(graph)
    return frozenset(groups[name] for op in graph.ops for name in writes(op))


def writes(op: Op) -> tuple[str, ...]:
    """Values that it writes into; the running statistics of a batch norm in training are among them."""
    if packet(op) not in ("batch_norm", "comm.batch_norm", "instance_norm"):
        return op.mutates
    training = argument(op, 5, "training", False) is True
    statistics = (argument(op, 3, "running_mean"), argument(op, 4, "running_var"))
    found = tuple(arg.name for arg in statistics if isinstance(arg, Ref)) if training else ()
    return tuple(dict.fromkeys((*op.mutates, *found)))


def mutates_buffer(op: Op, graph: Graph, groups: dict[str, str]) -> bool:
    """Whether running it twice changes a buffer twice."""
    return any(groups[name] in graph.buffer_of for name in writes(op))


# What follows from inputs alone


@once
def inputs_only(graph: Graph) -> frozenset[str]:
    """Names of ops whose results follow from inputs, constant buffers and sizes: masks, position ids, rotary tables.

    No parameter, no random op and no collective in their cone; nothing they touch is written by an op that is not such.
    """
    groups, mutated = alias_groups(graph), mutated_roots(graph)
    barred = {parameter.value.name for parameter in graph.parameters}
    barred |= {name for name in graph.buffer_of if name in mutated}
    found = _closed(graph, barred)
    while spoilt := _spoilt(graph, groups, mutated, found):
        barred |= spoilt
        found = _closed(graph, barred)
    return found


def _closed(graph: Graph, barred: set[str]) -> frozenset[str]:
    """Ops that neither read nor make a barred value, nor one that such an op made."""
    dependent, found = set(barred), []
    for op in graph.ops:
        made = {value.name for value in op.outputs}
        tainted = is_random(op) or packet(op).startswith(("comm.", "tensor.")) or graph.loss in made
        if tainted or not dependent.isdisjoint(op.inputs) or not barred.isdisjoint(made):
            dependent |= made
        else:
            found.append(op.name)
    return frozenset(found)


def _spoilt(graph: Graph, groups: dict[str, str], mutated: frozenset[str], found: frozenset[str]) -> set[str]:
    """Results of inputs-only ops whose memory an op of another sort writes."""
    foreign = {groups[name] for op in graph.ops if op.name not in found for name in writes(op)} & mutated
    made = (value.name for op in graph.ops if op.name in found for value in op.outputs)
    return {name for name in made if groups[name] in foreign}


def names(ops: Iterable[Op]) -> tuple[str, ...]:
    return tuple(op.name for op in ops)
