"""Layers that stay whole ops: normalisation, attention, pooling, resampling, recurrent networks."""

from __future__ import annotations

from collections.abc import Iterator

from autopart.sharding.placement import Shard
from autopart.sharding.rules import Call, Labels, Row, by_labels, numbered, rule


@rule("layer_norm rms_norm native_layer_norm")
def layer_norm(call: Call) -> Iterator[Row]:
    """``(x, normalized_shape, weight, bias)``: the last dims are normalised together."""
    shape = call.op.args[1]
    assert isinstance(shape, tuple), "layer_norm without a shape"
    rank = len(call.shapes[0])
    labels = numbered(call.shapes[0], range(rank - len(shape), rank))
    outs = [labels] + [[*labels[: rank - len(shape)], *[None] * len(shape)]] * (len(call.outputs) - 1)
    return by_labels(call, [labels, *([None] * len(other) for other in call.shapes[1:])], outs)


@rule("_weight_norm")
def weight_norm(call: Call) -> Iterator[Row]:
    """``(v, g, dim)``: v brought to the length g, slice by slice along ``dim``."""
    dim = call.integer(2, "dim", 0) % len(call.shapes[0])
    v, g = ([d if d == dim else None for d in range(len(shape))] for shape in call.shapes)
    return by_labels(call, [v, g], [v], linear=[(1,)])


@rule("group_norm instance_norm")
def group_norm(call: Call) -> Iterator[Row]:
    """``(x, groups, weight, bias)``, ``(x, weight, bias, running_mean, running_var, use_input_stats, …)``: sample by sample, and
    by whole groups, of which the op is told how many are its own.

    An instance norm that keeps running statistics averages them over the samples: that has no row.
    """
    if call.base == "aten.instance_norm" and call.arg(3, "running_mean", None) is not None and call.arg(5, "", True):
        return
    labels: Labels = ["n", *[None] * (len(call.shapes[0]) - 1)]
    yield from by_labels(call, [labels, *([None] * len(other) for other in call.shapes[1:])], [labels])
    if call.base == "aten.group_norm" and call.integer(1, "num_groups", 1) % call.unit == 0:
        yield Row((Shard(1), *(Shard(0) for _ in call.shapes[1:])), (Shard(1),))


@rule("batch_norm")
def batch_norm(call: Call) -> Iterator[Row]:
    """``(x, weight, bias, running_mean, running_var, training, …)``. By channel always; in training over nothing else."""
    channel: list[Labels] = [["c"]] * (len(call.shapes) - 1)
    others = [None if call.arg(5, "training", True) or d == 1 else f"d{d}" for d in range(len(call.shapes[0]))]
    labels = [*others[:1], "c", *others[2:]]
    return by_labels(call, [labels, *channel], [labels])


@rule("scaled_dot_product_attention")
def attention(call: Call) -> Iterator[Row]:
    """``(q, k, v, mask, dropout, causal)``: samples, heads, and rows of q unless the mask is made from their positions.

    With grouped queries heads of q and of k and v are split together, where the unit divides both.
    """
    query, key, value = call.shapes[:3]
    batch = len(query) - 2
    heads = [f"b{d}" for d in range(batch)]
    row = None if call.arg(5, "is_causal", False) else "l"
    ins: list[Labels] = [
        [*sized(heads, shape), *last] for shape, last in ((query, [row, None]), (key, [None] * 2), (value, [None] * 2))
    ]
    if len(call.shapes) > 3:
        mask = call.shapes[3]
        full = [*heads, row, None]
        ins.append(sized(full[len(full) - len(mask) :], mask))
    if query[:batch] != key[:batch] and batch:
        ins = [[None if label == heads[-1] else label for label in dims] for dims in ins]
    out = [label if label in ins[0] else None for label in [*heads, row]]
    return by_labels(call, ins, [[*out, None]], linear=[(2,)] if not call.arg(4, "dropout_p", 0.0) else [])


def sized(labels: Labels, shape: tuple[int, ...]) -> list[object]:
    """Labels of dims that don't merely broadcast."""
    return [None if size == 1 else label for label, size in zip(labels, shape[: len(labels)], strict=True)]


@rule("""
    max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d channel_shuffle
    pixel_shuffle pixel_unshuffle
    """)
def pooled(call: Call) -> Iterator[Row]:
    return positions_whole(call, linear=call.base in ("aten.pixel_shuffle", "aten.pixel_unshuffle"))


@rule("""
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d upsample_nearest1d
    upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_linear1d upsample_trilinear3d upsample_bicubic2d
    """)
def averaged(call: Call) -> Iterator[Row]:
    return positions_whole(call, linear=True)


def positions_whole(call: Call, *, linear: bool) -> Iterator[Row]:
    """Samples always; channels where their number stays. A tensor without a sample dim is left whole."""
    own, out = call.shapes[0], call.outputs[0]
    spatial = {"1": 1, "2": 2, "3": 3}.get(next((c for c in call.base if c.isdigit()), "2"), 2)
    batched = len(own) == spatial + 2
    mixes_channels = not call.base.startswith(("aten.max", "aten.avg", "aten.adaptive", "aten.upsample"))
    channel = None if mixes_channels or not batched or own[1] != out[1] else "c"
    labels: Labels = ["n", channel, *[None] * (len(own) - 2)] if batched else [None] * len(own)
    return by_labels(call, [labels], [labels] * len(call.outputs), linear=[(0,)] if linear else [])


@rule("im2col")
def im2col(call: Call) -> Iterator[Row]:
    labels: Labels = ["n", None, None, None] if len(call.shapes[0]) == 4 else [None] * 3
    return by_labels(call, [labels], [labels[: len(call.outputs[0])]], linear=[(0,)])


@rule("col2im")
def col2im(call: Call) -> Iterator[Row]:
    labels: Labels = ["n", None, None, None] if len(call.shapes[0]) == 3 else [None] * 3
    return by_labels(call, [labels[: len(call.shapes[0])]], [labels[: len(call.outputs[0])]], linear=[(0,)])


@rule("grid_sampler grid_sampler_2d grid_sampler_3d affine_grid_generator")
def grid_sampler(call: Call) -> Iterator[Row]:
    labels = [["n", *[None] * (len(shape) - 1)] for shape in call.shapes]
    return by_labels(call, labels, [["n", *[None] * (len(call.outputs[0]) - 1)]])


@rule("prelu")
def prelu(call: Call) -> Iterator[Row]:
    """One slope, or one for each channel."""
    slopes: Labels = [1 if call.shapes[1] and call.shapes[1][0] > 1 else None] * len(call.shapes[1])
    labels = numbered(call.shapes[0])
    return by_labels(call, [labels, slopes], [labels])


@rule("lstm gru rnn_tanh rnn_relu")
def recurrent(call: Call) -> Iterator[Row]:
    """``(x, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first)``: samples only."""
    if len(call.shapes[0]) != 3 or not isinstance(call.arg(3, "has_biases", None), bool):
        return  # packed sequences
    states = 2 if call.base == "aten.lstm" else 1
    first = bool(call.arg(8, "batch_first", False))
    x: Labels = ["n", None, None] if first else [None, "n", None]
    state: Labels = [None, "n", None]
    weights: list[Labels] = [[None] * len(shape) for shape in call.shapes[1 + states :]]
    yield from by_labels(call, [x, *[state] * states, *weights], [x, *[state] * states])


@rule("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
def cell(call: Call) -> Iterator[Row]:
    """``(x, states, weights…)``."""
    states = 2 if call.base == "aten.lstm_cell" else 1
    weights: list[Labels] = [[None] * len(shape) for shape in call.shapes[1 + states :]]
    if len(call.shapes[0]) != 2:
        return iter(())
    return by_labels(call, [*[["n", None]] * (1 + states), *weights], [["n", None]] * len(call.outputs))
