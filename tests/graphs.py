"""Random valid graphs, made without torch (thousands a minute) and runnable in torch all the same.

They have what makes partitioning hard: skips over many layers, branches, tied weights, frozen parameters, a parameter
that becomes a value without samples and is read everywhere, masks computed from inputs, dropout, in-place ops, views,
layers that repeat, widths that vary. ``random_graph(seed)`` has the mean loss that a user writes, ``random_sharded(seed)``
is the same model after the loss was rewritten as a partial sum, with its placements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from autopart.ir.graph import (
    Argument,
    Buffer,
    GlobalSize,
    Graph,
    Input,
    Op,
    Parameter,
    Ref,
    Size,
    Symbol,
    Value,
)
from autopart.sharding.batch import ShardedGraph
from autopart.sharding.placement import Partial, Placement, Replicate, Shard

Shape = tuple[int | Size | GlobalSize, ...]
BATCH = Size("b")
MEAN, SUM = 1, 2  # aten's codes for a reduction


@dataclass
class Builder:
    """Writes a graph op by op, naming values and ops as tracing does."""

    name: str = "random"
    dtype: str = "float32"
    inputs: list[Input] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    def input(self, name: str, shape: Shape, dtype: str = "", path: tuple[str | int, ...] = ()) -> str:
        """An input; it carries samples where its first size does."""
        value = self._value(name, shape, dtype)
        self.inputs.append(Input(value, path or (name,), 0 if shape[:1] == (BATCH,) else None))
        return name

    def parameter(self, fqn: str, shape: Shape, *, trainable: bool = True) -> str:
        value = self._value("p_" + fqn.replace(".", "_"), shape)
        self.parameters[fqn] = Parameter(fqn, value, trainable)
        return value.name

    def buffer(self, fqn: str, shape: Shape, dtype: str = "") -> str:
        value = self._value("b_" + fqn.replace(".", "_"), shape, dtype)
        self.buffers.append(Buffer(fqn, value))
        return value.name

    def op(
        self,
        kind: str,
        *args: Argument,
        shape: Shape,
        dtype: str = "",
        module: str = "",
        mutates: tuple[str, ...] = (),
        kwargs: tuple[tuple[str, Argument], ...] = (),
    ) -> str:
        """An op with one result; returns the result's name."""
        base = kind.split(".")[1]
        value = self._value(self._fresh(base.strip("_")), shape, dtype)
        suffix = value.name.removeprefix(base.strip("_"))
        op = Op(f"{module}:{base}{suffix}", kind, args, (value,), kwargs, module, "random.py:1", mutates)
        self.ops.append(op)
        return value.name

    def graph(self, loss: str) -> Graph:
        return Graph(self.name, tuple(self.inputs), tuple(self.parameters.values()), tuple(self.buffers), tuple(self.ops), loss)

    def shape(self, value: str) -> Shape:
        return self.values[value].shape

    def width(self, value: str) -> int:
        size = self.shape(value)[-1]
        assert isinstance(size, int)
        return size

    def _fresh(self, base: str) -> str:
        name, count = base, 0
        while name in self.values:
            count += 1
            name = f"{base}_{count}"
        return name

    def _value(self, name: str, shape: Shape, dtype: str = "") -> Value:
        assert name not in self.values, f"value {name} exists"
        self.values[name] = Value(name, shape, dtype or self.dtype)
        return self.values[name]

    # Layers: each takes and returns the name of a [b, ..., width] value.

    def linear(self, x: str, width: int, module: str, weight: str = "", *, trainable: bool = True) -> str:
        weight = weight or self.parameter(f"{module}.weight", (width, self.width(x)), trainable=trainable)
        bias = self.parameter(f"{module}.bias", (width,), trainable=trainable)
        shape = (*self.shape(x)[:-1], width)
        return self.op("aten.linear.default", Ref(x), Ref(weight), Ref(bias), shape=shape, module=module)

    def norm(self, x: str, module: str) -> str:
        width = self.width(x)
        weight, bias = self.parameter(f"{module}.weight", (width,)), self.parameter(f"{module}.bias", (width,))
        args = (Ref(x), (width,), Ref(weight), Ref(bias), 1e-05)
        return self.op("aten.layer_norm.default", *args, shape=self.shape(x), module=module)

    def unary(self, kind: str, x: str, module: str, *more: Argument) -> str:
        return self.op(kind, Ref(x), *more, shape=self.shape(x), module=module)

    def binary(self, kind: str, a: str, b: str, module: str) -> str:
        return self.op(kind, Ref(a), Ref(b), shape=self.shape(a), module=module)

    def residual(self, x: str, module: str) -> str:
        """A transformer's mlp."""
        width = self.width(x)
        y = self.linear(self.norm(x, f"{module}.norm"), 4 * width, f"{module}.up")
        y = self.linear(self.unary("aten.gelu.default", y, f"{module}.act"), width, f"{module}.down")
        return self.binary("aten.add.Tensor", x, self.unary("aten.dropout.default", y, f"{module}.drop", 0.1, True), module)


def mlp(widths: tuple[int, ...] = (2, 4, 4, 2), *, sharded: bool = True) -> ShardedGraph:
    """A multilayer perceptron; the textbook one by default."""
    b = Builder("mlp")
    x = b.input("x", (BATCH, widths[0]))
    target = b.input("target", (BATCH, widths[-1]), path=("targets", 0))
    for i, width in enumerate(widths[1:]):
        x = b.linear(x, width, f"layers.{2 * i}")
        x = b.unary("aten.relu.default", x, f"layers.{2 * i + 1}")
    return placed(b, _mean(b, "aten.mse_loss.default", x, target, f"b*{widths[-1]}", sharded))


def transformer(layers: int = 12, width: int = 64, *, tied: bool = True) -> ShardedGraph:
    """Token embedding, equal residual layers ``h.0``, ``h.1``, ..., final norm, head (tied to the embedding), loss."""
    b, vocabulary, tokens = Builder("transformer"), 8 * width, 16
    ids = b.input("ids", (BATCH, tokens), "int64")
    labels = b.input("labels", (BATCH, tokens), "int64", ("targets", 0))
    table = b.parameter("wte.weight", (vocabulary, width))
    x = b.op("aten.embedding.default", Ref(table), Ref(ids), shape=(BATCH, tokens, width), module="wte")
    for i in range(layers):
        x = b.residual(x, f"h.{i}")
    head = table if tied else b.parameter("head.weight", (vocabulary, width))
    x = b.norm(x, "ln_f")
    x = b.op("aten.linear.default", Ref(x), Ref(head), shape=(BATCH, tokens, vocabulary), module="head")
    x = b.op("aten.view.default", Ref(x), (-1, vocabulary), shape=(Size(f"{tokens}*b"), vocabulary))
    flat = b.op("aten.view.default", Ref(labels), (-1,), shape=(Size(f"{tokens}*b"),), dtype="int64")
    return placed(b, _mean(b, "aten.cross_entropy_loss.default", x, flat, f"{tokens}*b", True))


def random_graph(seed: int, *, max_layers: int = 12, max_width: int = 16, dtype: str = "float32") -> Graph:
    """A random model with a mean loss."""
    return _random(Random(seed), max_layers, max_width, dtype, sharded=False).graph


def random_sharded(seed: int, *, max_layers: int = 12, max_width: int = 16, dtype: str = "float32") -> ShardedGraph:
    """The same model as ``random_graph(seed)``; its loss is the sum of its ranks' and microbatches' losses."""
    return _random(Random(seed), max_layers, max_width, dtype, sharded=True)


def _random(rng: Random, max_layers: int, max_width: int, dtype: str, *, sharded: bool) -> ShardedGraph:
    b = Builder(dtype=dtype)
    world = _World(rng, b, max_width)
    for index in range(rng.randint(1, max_layers)):
        layer = rng.choice(LAYERS)
        for repeat in range(rng.choice((1, 1, 1, 2, 4))):
            module = f"layers.{index}" if repeat == 0 else f"layers.{index}_{repeat}"
            world.seen.append(layer(world, module))
    return placed(b, _finish(world, sharded))


class _World:
    """What random layers draw from: ``seen[-1]`` is the main path, older values feed skips."""

    def __init__(self, rng: Random, b: Builder, max_width: int) -> None:
        self.rng, self.b, self.max_width = rng, b, max_width
        self.middle: Shape = rng.choice(((), (), (3,), (2, 2)))
        width = self.some_width()
        table = b.parameter("embed.weight", (11, width)) if rng.random() < 0.4 else ""
        self.x = b.input("x", (BATCH, *self.middle, *(() if table else (width,))), "int64" if table else "")
        shape = (BATCH, *self.middle, width)
        start = b.op("aten.embedding.default", Ref(table), Ref(self.x), shape=shape, module="embed") if table else self.x
        self.seen = [start]
        self.weights: list[str] = []  # of layers, candidates for a tie
        self.shared: dict[int, str] = {}  # width -> value without samples made of a parameter
        self.masks: dict[int, str] = {}  # width -> float mask made of inputs

    @property
    def last(self) -> str:
        return self.seen[-1]

    def some_width(self) -> int:
        return 2 * self.rng.randint(1, max(1, self.max_width // 2))


def _dense(w: _World, module: str) -> str:
    y = w.b.linear(w.last, w.some_width(), module, trainable=w.rng.random() < 0.9)
    w.weights.append(w.b.ops[-1].inputs[1])
    return w.b.unary(w.rng.choice(("aten.relu.default", "aten.tanh.default", "aten.gelu.default")), y, module)


def _square(w: _World, module: str) -> str:
    """A layer that repeats exactly."""
    return w.b.unary("aten.tanh.default", w.b.linear(w.last, w.b.width(w.last), f"{module}.fc"), module)


def _residual(w: _World, module: str) -> str:
    return w.b.residual(w.last, module)


def _tied(w: _World, module: str) -> str:
    width = w.b.width(w.last)
    fitting = [weight for weight in w.weights if w.b.shape(weight)[1] == width]
    if not fitting:
        return _dense(w, module)
    weight = w.rng.choice(fitting)
    out = w.b.shape(weight)[0]
    assert isinstance(out, int)
    return w.b.linear(w.last, out, module, weight)


def _skip(w: _World, module: str) -> str:
    """Reads any earlier activation, as a U-Net does."""
    old = w.rng.choice(w.seen)
    if not w.b.values[old].floating:
        return _square(w, module)
    width = w.b.width(w.last) + w.b.width(old)
    shape = (BATCH, *w.middle, width)
    both = w.b.op("aten.cat.default", (Ref(w.last), Ref(old)), -1, shape=shape, module=module)
    return w.b.linear(both, w.some_width(), f"{module}.fc")


def _branches(w: _World, module: str) -> str:
    width, x = w.some_width(), w.last
    left = w.b.unary("aten.relu.default", w.b.linear(x, width, f"{module}.left"), f"{module}.left")
    right = w.b.linear(w.b.norm(x, f"{module}.right.norm"), width, f"{module}.right.fc")
    return w.b.binary(w.rng.choice(("aten.add.Tensor", "aten.mul.Tensor")), left, right, module)


def _shared(w: _World, module: str) -> str:
    """Adds a function of a parameter, without samples, that other layers read too."""
    width = w.b.width(w.last)
    if width not in w.shared:
        weight = w.b.parameter(f"shared_{width}.weight", (width,))
        w.shared[width] = w.b.unary("aten.tanh.default", weight, f"shared_{width}")
    return w.b.binary("aten.add.Tensor", w.last, w.shared[width], module)


def _mask(w: _World, module: str) -> str:
    """Multiplies by a mask that follows from inputs alone, or by a table without samples."""
    width = w.b.width(w.last)
    if width not in w.masks:
        w.masks[width] = _input_mask(w) if w.rng.random() < 0.5 else _positions(w, width)
    return w.b.binary("aten.mul.Tensor", w.last, w.masks[width], module)


def _input_mask(w: _World) -> str:
    shape = w.b.shape(w.x)
    positive = w.b.op("aten.gt.Scalar", Ref(w.x), 0, shape=shape, dtype="bool")
    shape, mask = (*shape, 1), w.b.op("aten.unsqueeze.default", Ref(positive), -1, shape=(*shape, 1), dtype="bool")
    if shape[-2] != w.b.shape(w.last)[-1] and len(shape) == len(w.b.shape(w.last)) + 1:
        mask = w.b.op("aten.any.dim", Ref(mask), -2, shape=(*shape[:-2], 1), dtype="bool")
        shape = (*shape[:-2], 1)
    elif len(shape) == len(w.b.shape(w.last)) + 1:
        mask = w.b.op("aten.squeeze.dim", Ref(mask), -1, shape=shape[:-1], dtype="bool")
        shape = shape[:-1]
    return w.b.op("aten.to.dtype", Ref(mask), Symbol(f"torch.{w.b.dtype}"), shape=shape)


def _positions(w: _World, width: int) -> str:
    steps = w.b.op("aten.arange.default", width, shape=(width,), dtype="int64")
    floats = w.b.op("aten.to.dtype", Ref(steps), Symbol(f"torch.{w.b.dtype}"), shape=(width,))
    return w.b.op("aten.cos.default", Ref(floats), shape=(width,))


def _in_place(w: _World, module: str) -> str:
    y = w.b.linear(w.last, w.some_width(), module)
    return w.b.op("aten.relu_.default", Ref(y), shape=w.b.shape(y), module=module, mutates=(y,))


def _view(w: _World, module: str) -> str:
    """Splits and rejoins the features."""
    shape, width = w.b.shape(w.last), w.b.width(w.last)
    pairs = (*shape[:-1], width // 2, 2)
    y = w.b.op("aten.view.default", Ref(w.last), pairs, shape=pairs, module=module)
    y = w.b.op("aten.view.default", Ref(y), shape, shape=shape, module=module)
    return w.b.unary("aten.gelu.default", y, module)


def _detached(w: _World, module: str) -> str:
    y = w.b.linear(w.last, w.b.width(w.last), f"{module}.fc")
    return w.b.binary("aten.add.Tensor", y, w.b.unary("aten.detach.default", w.last, module), module)


Layer = Callable[[_World, str], str]
LAYERS: tuple[Layer, ...] = (
    _dense, _dense, _square, _square, _residual, _residual, _tied, _skip, _skip, _branches, _shared, _mask,
    _in_place, _view, _detached,
)  # fmt: skip


def _finish(w: _World, sharded: bool) -> str:
    """A trained layer at the end (whatever came before has a gradient to pass), then the loss."""
    b, classes = w.b, w.some_width()
    x = b.linear(w.last, classes, "head")
    rows = "*".join(["b", *(str(size) for size in w.middle)])
    if w.rng.random() < 0.5:
        target = b.input("target", b.shape(x), path=("targets", 0))
        loss = _mean(b, "aten.mse_loss.default", x, target, f"{rows}*{classes}", sharded)
    else:
        labels = b.input("labels", (BATCH, *w.middle), "int64", ("targets", 0))
        flat = b.op("aten.view.default", Ref(x), (-1, classes), shape=(Size(rows), classes))
        goal = b.op("aten.view.default", Ref(labels), (-1,), shape=(Size(rows),), dtype="int64")
        loss = _mean(b, "aten.cross_entropy_loss.default", flat, goal, rows, sharded)
    return _with_penalty(b, loss, sharded) if w.rng.random() < 0.2 else loss


def _with_penalty(b: Builder, loss: str, sharded: bool) -> str:
    """Adds a term of parameters alone."""
    weight = b.parameters["head.weight"].value.name
    square = b.binary("aten.mul.Tensor", weight, weight, "")
    penalty = b.op("aten.sum.default", Ref(square), shape=())
    if sharded:
        penalty = b.op("comm.to_partial", Ref(penalty), shape=())
    return b.binary("aten.add.Tensor", loss, penalty, "")


def _mean(b: Builder, kind: str, x: str, target: str, count: str, sharded: bool) -> str:
    weights: tuple[Argument, ...] = (None,) if "cross_entropy" in kind else ()
    total = b.op(kind, Ref(x), Ref(target), *weights, SUM if sharded else MEAN, shape=())
    return b.op("aten.div.Tensor", Ref(total), GlobalSize(count), shape=()) if sharded else total


def placed(b: Builder, loss: str) -> ShardedGraph:
    """With the placements that follow for these ops: samples are in dim 0 throughout; scalars of samples are partial sums."""
    graph = b.graph(loss)
    placements: dict[str, Placement] = {parameter.value.name: Replicate() for parameter in graph.parameters}
    placements.update({buffer.value.name: Replicate() for buffer in graph.buffers})
    for source in graph.inputs:
        placements[source.value.name] = Replicate() if source.batch_dim is None else Shard(0)
    for op in graph.ops:
        for value in op.outputs:
            placements[value.name] = _placement(op, value, placements)
    return ShardedGraph(graph, placements)


def _placement(op: Op, value: Value, placements: dict[str, Placement]) -> Placement:
    if op.kind == "comm.to_partial":
        return Partial()
    if all(isinstance(placements[name], Replicate) for name in op.inputs):
        return Replicate()
    return Shard(0) if value.shape else Partial()
