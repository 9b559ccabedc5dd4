"""What each op computes, moves and keeps: one row per family. A new op is a name in a row, or a new row.

What is kept was read off PyTorch 2.13 (``torch.autograd.graph.saved_tensors_hooks``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from autopart.blocks import joint_bytes, op_bytes, op_flops, op_products
from autopart.blocks.call import Call
from autopart.ir.graph import Ref, Value
from cost_models.tiles import Product

Values = Iterable[Value | None]


@dataclass(frozen=True)
class Row:
    """How ops of a family are counted.

    ``keeps``: values that autograd keeps for the backward, ``extra``: bytes that it keeps beside them. ``passes``: inputs whose
    gradient takes no memory of its own, ``working``: bytes that the backward needs beside gradients while it runs, ``spare``:
    those that results take beyond their elements, ``making``: those that the forward needs while it runs. ``backward``: flops of
    the backward in multiples of ``flops``; ``product``: as what product of matrices the forward runs. Bytes are reads and writes.
    """

    category: str
    keeps: Callable[[Call], Values]
    extra: Callable[[Call], int] = op_bytes.nothing
    flops: Callable[[Call], int] = op_flops.per_output
    backward: Callable[[Call], float] = op_flops.per_wanted
    forward_bytes: Callable[[Call], int] = op_bytes.reads_and_writes
    backward_bytes: Callable[[Call], int] = op_bytes.gradients
    passes: Callable[[Call], Values] = lambda _: ()
    working: Callable[[Call], int] = op_bytes.nothing
    spare: Callable[[Call], int] = op_bytes.nothing
    making: Callable[[Call], int] = op_bytes.nothing
    product: Callable[[Call], Product | None] = op_products.none


def nothing(_: Call) -> Values:
    return ()


def result(call: Call) -> Values:
    return call.outputs[:1]


def first(call: Call) -> Values:
    return call.tensors[:1]


def everything(call: Call) -> Values:
    return call.tensors


def first_and_result(call: Call) -> Values:
    return (*call.tensors[:1], *call.outputs[:1])


def all_and_results(call: Call) -> Values:
    return (*call.tensors, *call.outputs)


def others(call: Call) -> Values:
    """The gradient of a factor needs the other ones."""
    wanted = {value.name for value in call.wanted}
    squared = sum(isinstance(arg, Ref) for arg in call.op.args) > len(call.tensors)
    return (value for value in call.tensors if wanted - {value.name} or squared)


def divisor(call: Call) -> Values:
    """Of a / b: b, and a where b wants a gradient."""
    above, below = call.at(0), call.at(1)
    return (below, above if below and call.has_gradient(below) else None)


def at(*positions: int) -> Callable[[Call], Values]:
    return lambda call: (call.at(position) for position in positions)


def indices(call: Call) -> Values:
    """Inputs and results that are not floating."""
    return (value for value in (*call.tensors, *call.outputs) if not value.floating)


def first_and_indices(call: Call) -> Values:
    return (*call.tensors[:1], *indices(call))


def factors(call: Call) -> Values:
    return (value for value in op_bytes.kept_factors(call) if op_bytes.whole(call, value))


def all_factors(call: Call) -> Values:
    """A convolution keeps both, whichever wants a gradient."""
    return op_flops.factors(call)


def attention(call: Call) -> Values:
    """A mask of bools is kept as numbers."""
    kept = (*call.tensors, *call.outputs) if op_bytes.flash(call) else ()
    return (value for value in kept if value.floating)


def bags(call: Call) -> Values:
    """Indices, offsets, sizes of the bags; of a mean also the bag of every index."""
    summed = call.literal(4, "mode", 0) == 0
    return (call.at(1), call.at(2), *call.outputs[2 if summed else 1 :])


def as_it_came(call: Call) -> Values:
    """Inputs of the results' size: their gradient is that of the result, or a view of it."""
    size = op_flops.per_output(call)
    return (value for value in call.wanted if call.count(value) == size and value.dtype == call.outputs[0].dtype)


def viewed(call: Call) -> Values:
    """A part's gradient is written into zeros, pieces are put together: both take memory."""
    return () if call.packet in op_bytes.PARTS | op_bytes.PIECES else as_it_came(call)


def added(call: Call) -> Values:
    """The gradient of what is subtracted, or multiplied by a number, is not the one that came."""
    scaled = (
        call.at(0 if call.packet == "rsub" else 1)
        if call.packet not in ("add", "add_") or call.literal(2, "alpha", 1) != 1
        else None
    )
    return (value for value in as_it_came(call) if value is not scaled)


def inert(call: Call) -> Values:
    """Where nothing is dropped."""
    return as_it_came(call) if op_bytes.dropout_mask(call) == 0 else ()


ELEMENTWISE = Row("elementwise", nothing)
COMPOSED = replace(ELEMENTWISE, working=op_bytes.one_output)  # the derivative is computed before it is multiplied
PASSING = replace(ELEMENTWISE, backward_bytes=op_bytes.read_and_written)
UNKNOWN = Row("elementwise", all_and_results)
VIEW = Row(
    "view", nothing, flops=op_flops.nothing, forward_bytes=op_bytes.copied, backward_bytes=op_bytes.copied_back, passes=viewed,
)  # fmt: skip
REDUCTION = Row("reduction", nothing, flops=op_flops.per_input, backward_bytes=op_bytes.read_and_written)
SEARCH = replace(REDUCTION, keeps=first_and_result, backward_bytes=op_bytes.gradients)
GATHER = Row(
    "gather", indices, flops=op_flops.nothing, forward_bytes=op_bytes.gathered, backward_bytes=op_bytes.scattered,
)  # fmt: skip
MATMUL = Row("matmul", factors, op_bytes.copied_factors, op_flops.matmul, op_flops.per_factor, product=op_products.matmul)
NORMALIZATION = Row("normalization", first, op_bytes.row_statistics, op_flops.per_input)
BATCH_STATISTICS = replace(NORMALIZATION, forward_bytes=op_bytes.two_passes)
CONVOLUTION = Row(
    "conv", all_factors, flops=op_flops.convolution, backward=op_flops.per_factor, product=op_products.convolution,
)  # fmt: skip
ATTENTION = Row(
    "attention", attention, op_bytes.attention_kept, op_flops.attention, op_flops.attention_again, product=op_products.attention,
)  # fmt: skip
DROPOUT = Row("random", nothing, op_bytes.dropout_mask, op_flops.drawn, op_flops.none, passes=inert)
RECURRENT = Row("recurrent", first, op_bytes.recurrent, op_flops.recurrent, op_flops.twice)
POOL = Row("pool", first, flops=op_flops.per_input)
LOSS = Row("loss", everything, flops=op_flops.per_input)
FOURIER = Row("fourier", nothing, flops=op_flops.fourier, backward_bytes=op_bytes.read_and_written)
COMM = Row("comm", nothing, flops=op_flops.nothing, backward_bytes=op_bytes.read_and_written)
FACTORY = Row("factory", nothing, flops=op_flops.nothing)
PROFILED = Row(
    "matmul", nothing, flops=op_flops.said, forward_bytes=op_bytes.nothing, backward_bytes=op_bytes.nothing,
)  # fmt: skip

FAMILIES: tuple[tuple[Row, str], ...] = (
    (VIEW, """view _unsafe_view reshape view_as reshape_as flatten unflatten ravel transpose t T mT permute movedim swapaxes
        swapdims expand expand_as broadcast_to unsqueeze squeeze slice select narrow split split_with_sizes chunk tensor_split
        unbind diagonal unfold as_strided real imag view_as_real view_as_complex detach alias lift_fresh contiguous to type_as
        _to_copy numpy_T adjoint conj resolve_conj resolve_neg positive hsplit vsplit dsplit
        broadcast_tensors"""),
    (replace(ELEMENTWISE, backward_bytes=op_bytes.passed_on, passes=added), "add add_ sub sub_ rsub"),
    (PASSING, """neg neg_ fill_ zero_ copy_ copy cumsum flip roll triu tril repeat repeat_interleave tile clone floor ceil round
        trunc sign sgn constant_pad_nd pad reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d pixel_shuffle
        pixel_unshuffle im2col col2im channel_shuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d
        upsample_bilinear2d upsample_linear1d upsample_bicubic2d upsample_trilinear3d complex lerp
        eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
        __and__ __or__ __xor__ isnan isinf isfinite floor_divide remainder fmod argmax argmin any all bucketize one_hot"""),
    (replace(PASSING, spare=op_bytes.around_view), "slice_scatter select_scatter"),
    (replace(PASSING, flops=op_flops.nothing, passes=everything), "cat stack concat hstack vstack"),
    (replace(ELEMENTWISE, keeps=result), "relu relu_ tanh tanh_ sigmoid sigmoid_ exp exp_"),
    (replace(COMPOSED, keeps=result), "exp2 expm1 sqrt sqrt_ rsqrt rsqrt_ reciprocal reciprocal_ tan"),
    (replace(ELEMENTWISE, keeps=first), """gelu silu silu_ log leaky_relu leaky_relu_ elu elu_ selu celu softplus hardswish
        hardswish_ hardsigmoid hardtanh hardtanh_ relu6 relu6_ mish glu threshold threshold_ hardshrink softshrink"""),
    (replace(COMPOSED, keeps=first), """log2 log10 log1p abs sin cos sinh cosh asin acos atan erf clamp clamp_ clamp_min
        clamp_max square softsign lgamma digamma"""),
    (replace(ELEMENTWISE, keeps=first, extra=op_bytes.one_output), "log_sigmoid"),
    (replace(ELEMENTWISE, keeps=others, working=op_bytes.before_summing), "mul mul_"),
    (replace(COMPOSED, keeps=others), "maximum minimum fmax fmin atan2 addcmul"),
    (replace(COMPOSED, keeps=everything), "pow pow_ prelu"),
    (replace(ELEMENTWISE, keeps=divisor, working=op_bytes.quotients), "div div_ true_divide"),
    (replace(ELEMENTWISE, keeps=at(1)), "masked_fill masked_fill_"),
    (replace(ELEMENTWISE, keeps=at(0)), "where"),
    (DROPOUT, """dropout dropout_ native_dropout feature_dropout alpha_dropout
        feature_alpha_dropout rrelu"""),
    (replace(REDUCTION, passes=everything), "sum"),
    (REDUCTION, "mean nansum nanmean count_nonzero"),
    (replace(SEARCH, keeps=first, working=op_bytes.one_input), "var var_mean"),
    (replace(SEARCH, working=op_bytes.one_input), "std std_mean norm linalg_vector_norm amax amin prod logsumexp frobenius_norm"),
    (replace(SEARCH, keeps=indices), "max min topk sort argsort median kthvalue mode cummax cummin"),
    (GATHER, """embedding index_select index take_along_dim index_fill scatter scatter_add scatter_reduce index_put index_put_
        masked_select masked_scatter take"""),
    (replace(GATHER, keeps=first_and_indices), "gather"),
    (replace(GATHER, keeps=at(2, 3)), "index_add index_copy"),
    (replace(GATHER, keeps=bags), "embedding_bag _embedding_bag"),
    (MATMUL, "linear mm bmm matmul mv dot inner outer addmm baddbmm addmv addbmm"),
    (replace(MATMUL, flops=op_flops.einsum, product=op_products.none), "einsum"),
    (CONVOLUTION, """conv1d conv2d conv3d convolution
        _convolution conv_transpose1d conv_transpose2d conv_transpose3d"""),
    (ATTENTION, "scaled_dot_product_attention"),
    (NORMALIZATION, "layer_norm native_layer_norm rms_norm _fused_rms_norm"),
    (replace(BATCH_STATISTICS, extra=op_bytes.group_statistics), "group_norm native_group_norm"),
    (replace(BATCH_STATISTICS, extra=op_bytes.channel_statistics), "batch_norm"),
    (replace(BATCH_STATISTICS, extra=op_bytes.channel_statistics, working=op_bytes.one_output), "comm.batch_norm"),
    (replace(BATCH_STATISTICS, extra=op_bytes.sample_channel_statistics), "instance_norm"),
    (Row("softmax", result, flops=op_flops.per_input), "softmax _softmax log_softmax _log_softmax"),
    (replace(POOL, extra=op_bytes.pool_indices), """max_pool1d max_pool2d max_pool3d max_pool2d_with_indices
        adaptive_max_pool1d adaptive_max_pool2d"""),
    (POOL, "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"),
    (LOSS, """mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits nll_loss
        nll_loss_nd nll_loss2d kl_div soft_margin_loss poisson_nll_loss"""),
    (replace(LOSS, keeps=at(1, 2), extra=op_bytes.log_probabilities, forward_bytes=op_bytes.two_passes,
        working=op_bytes.log_probabilities), "cross_entropy_loss"),
    (RECURRENT, "gru rnn_tanh rnn_relu"),
    (replace(RECURRENT, keeps=first_and_result, extra=op_bytes.lstm), "lstm"),
    (FOURIER, "fft_irfft fft_fft fft_ifft fft_irfft2 fft_irfftn fft_fft2 fft_ifft2 fft_fftn fft_ifftn"),
    (replace(FOURIER, keeps=first, working=op_bytes.both_halves), "fft_rfft fft_rfft2 fft_rfftn"),
    (replace(LOSS, keeps=nothing, extra=joint_bytes.loss_kept, forward_bytes=op_bytes.two_passes,
        working=joint_bytes.loss_backward, making=joint_bytes.loss_forward), "columns.cross_entropy_loss"),
    (replace(GATHER, keeps=nothing, extra=joint_bytes.rows_kept, working=joint_bytes.rows_backward,
        making=joint_bytes.rows_forward), "columns.embedding"),
    (FACTORY, """arange zeros ones full empty eye linspace zeros_like ones_like full_like empty_like new_zeros new_ones
        new_full new_empty scalar_tensor"""),
    (replace(FACTORY, category="random", flops=op_flops.per_output), """rand randn randint randperm rand_like randn_like
        randint_like normal uniform_ normal_ multinomial poisson bernoulli bernoulli_"""),
    (COMM, "comm.shard comm.to_partial tensor.shard tensor.to_partial"),
    (replace(COMM, making=joint_bytes.summed, working=joint_bytes.gradient_summed), "comm.all_reduce tensor.all_reduce"),
    (replace(COMM, making=joint_bytes.gathered, working=joint_bytes.gradient_scattered), "comm.all_gather tensor.all_gather"),
    (replace(COMM, making=joint_bytes.scattered, working=joint_bytes.gradient_gathered), "tensor.reduce_scatter"),
    (replace(COMM, making=joint_bytes.exchanged, working=joint_bytes.exchanged), "tensor.all_to_all"),
    (PROFILED, "profile.layer"),
)  # fmt: skip
ROWS: Mapping[str, Row] = {name: row for row, names in FAMILIES for name in names.split()}


def row_of(call: Call) -> Row:
    """The row of an op; of an unknown op one that keeps all it reads and makes. Joint ops may have their own."""
    joint = ROWS.get(f"columns.{call.packet}") if call.op.kind.startswith("columns.") else None
    return joint or ROWS.get(call.packet, UNKNOWN)
