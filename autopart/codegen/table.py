"""How every op is spelt: one row an op, ``kind(aten's parameters) -> Python over their names``.

An argument that has its default is left out; after one that was left out in the middle the rest goes by keyword. A row that
does not mention an argument fits only where that argument has its default; the first row that fits is taken, and an op
without one is spelt ``torch.ops.aten.…``. Words that are no torch:

    one(x)        a tuple of one is its element            same(x)    a tuple of equal numbers is that number
    training(x)   True is ``m.training``: off in evaluation    rate(x)    a dropout rate, 0.0 in evaluation
    reduction(x)  aten's code as a word                    here       the device that the stage runs on
    replicas      the ranks that share a stage's samples   items(x)   a list, as lists of tensors are
    mute(x)       no argument in Python, whatever its value   OPTIONS  dtype, layout, device, pin_memory, None each

Indented lines go on from the line above.
"""

from __future__ import annotations

ROWS = """
aten.add.Tensor(self, other, *, alpha=1) -> self + other
aten.add.Tensor(self, other, *, alpha=1) -> torch.add(self, other, alpha=alpha)
aten.add.Scalar(self, other, alpha=1) -> self + other
aten.sub.Tensor(self, other, *, alpha=1) -> self - other
aten.sub.Tensor(self, other, *, alpha=1) -> torch.sub(self, other, alpha=alpha)
aten.sub.Scalar(self, other, alpha=1) -> self - other
aten.rsub.Scalar(self, other, alpha=1) -> other - self
aten.rsub.Tensor(self, other, *, alpha=1) -> other - self
aten.mul.Tensor(self, other) -> self * other
aten.mul.Scalar(self, other) -> self * other
aten.div.Tensor(self, other) -> self / other
aten.div.Scalar(self, other) -> self / other
aten.div.Tensor_mode(self, other, *, rounding_mode) -> torch.div(self, other, rounding_mode=rounding_mode)
aten.div.Scalar_mode(self, other, *, rounding_mode) -> torch.div(self, other, rounding_mode=rounding_mode)
aten.floor_divide.default(self, other) -> self // other
aten.remainder.Tensor(self, other) -> self % other
aten.remainder.Scalar(self, other) -> self % other
aten.fmod.Scalar(self, other) -> torch.fmod(self, other)
aten.fmod.Tensor(self, other) -> torch.fmod(self, other)
aten.pow.Tensor_Scalar(self, exponent) -> self.pow(exponent)
aten.pow.Tensor_Tensor(self, exponent) -> self.pow(exponent)
aten.pow.Scalar(self, exponent) -> torch.pow(self, exponent)
aten.neg.default(self) -> -self
aten.matmul.default(self, other) -> self @ other
aten.mm.default(self, mat2) -> self.mm(mat2)
aten.bmm.default(self, mat2) -> self.bmm(mat2)
aten.mv.default(self, vec) -> self.mv(vec)
aten.dot.default(self, tensor) -> self.dot(tensor)
aten.outer.default(self, vec2) -> self.outer(vec2)
aten.addmm.default(self, mat1, mat2, *, beta=1, alpha=1) -> torch.addmm(self, mat1, mat2, beta=beta, alpha=alpha)
aten.baddbmm.default(self, batch1, batch2, *, beta=1, alpha=1) -> torch.baddbmm(self, batch1, batch2, beta=beta, alpha=alpha)
aten.addcmul.default(self, tensor1, tensor2, *, value=1) -> torch.addcmul(self, tensor1, tensor2, value=value)
aten.einsum.default(equation, tensors, *, path=None) -> torch.einsum(equation, *tensors)
aten.eq.Tensor(self, other) -> self == other
aten.eq.Scalar(self, other) -> self == other
aten.ne.Tensor(self, other) -> self != other
aten.ne.Scalar(self, other) -> self != other
aten.lt.Tensor(self, other) -> self < other
aten.lt.Scalar(self, other) -> self < other
aten.le.Tensor(self, other) -> self <= other
aten.le.Scalar(self, other) -> self <= other
aten.gt.Tensor(self, other) -> self > other
aten.gt.Scalar(self, other) -> self > other
aten.ge.Tensor(self, other) -> self >= other
aten.ge.Scalar(self, other) -> self >= other
aten.bitwise_and.Tensor(self, other) -> self & other
aten.bitwise_or.Tensor(self, other) -> self | other
aten.bitwise_xor.Tensor(self, other) -> self ^ other
aten.bitwise_not.default(self) -> ~self
aten.logical_and.default(self, other) -> self.logical_and(other)
aten.logical_or.default(self, other) -> self.logical_or(other)
aten.logical_xor.default(self, other) -> self.logical_xor(other)
aten.logical_not.default(self) -> self.logical_not()
aten.__and__.Tensor(self, other) -> self & other
aten.__or__.Tensor(self, other) -> self | other
aten.maximum.default(self, other) -> torch.maximum(self, other)
aten.minimum.default(self, other) -> torch.minimum(self, other)
aten.where.self(condition, self, other) -> torch.where(condition, self, other)
aten.where.ScalarOther(condition, self, other) -> torch.where(condition, self, other)
aten.where.ScalarSelf(condition, self, other) -> torch.where(condition, self, other)
aten.masked_fill.Scalar(self, mask, value) -> self.masked_fill(mask, value)
aten.masked_fill.Tensor(self, mask, value) -> self.masked_fill(mask, value)
aten.lerp.Scalar(self, end, weight) -> torch.lerp(self, end, weight)
aten.lerp.Tensor(self, end, weight) -> torch.lerp(self, end, weight)
aten.exp.default(self) -> self.exp()
aten.expm1.default(self) -> self.expm1()
aten.log.default(self) -> self.log()
aten.log1p.default(self) -> self.log1p()
aten.log2.default(self) -> self.log2()
aten.sqrt.default(self) -> self.sqrt()
aten.rsqrt.default(self) -> self.rsqrt()
aten.square.default(self) -> self.square()
aten.reciprocal.default(self) -> self.reciprocal()
aten.abs.default(self) -> self.abs()
aten.sign.default(self) -> self.sign()
aten.sin.default(self) -> self.sin()
aten.cos.default(self) -> self.cos()
aten.erf.default(self) -> self.erf()
aten.floor.default(self) -> self.floor()
aten.ceil.default(self) -> self.ceil()
aten.round.default(self) -> self.round()
aten.isnan.default(self) -> self.isnan()
aten.clamp.default(self, min=None, max=None) -> self.clamp(min=min, max=max)
aten.clamp_min.default(self, min) -> self.clamp_min(min)
aten.clamp_max.default(self, max) -> self.clamp_max(max)
aten.relu.default(self) -> F.relu(self)
aten.relu_.default(self) -> F.relu_(self)
aten.relu6.default(self) -> F.relu6(self)
aten.gelu.default(self, *, approximate="none") -> F.gelu(self, approximate=approximate)
aten.silu.default(self) -> F.silu(self)
aten.mish.default(self) -> F.mish(self)
aten.selu.default(self) -> F.selu(self)
aten.elu.default(self, alpha=1, scale=1, input_scale=1) -> F.elu(self, alpha)
aten.celu.default(self, alpha=1.0) -> F.celu(self, alpha)
aten.leaky_relu.default(self, negative_slope=0.01) -> F.leaky_relu(self, negative_slope)
aten.prelu.default(self, weight) -> F.prelu(self, weight)
aten.hardtanh.default(self, min_val=-1, max_val=1) -> F.hardtanh(self, min_val, max_val)
aten.hardswish.default(self) -> F.hardswish(self)
aten.hardsigmoid.default(self) -> F.hardsigmoid(self)
aten.softplus.default(self, beta=1, threshold=20) -> F.softplus(self, beta, threshold)
aten.glu.default(self, dim=-1) -> F.glu(self, dim)
aten.sigmoid.default(self) -> self.sigmoid()
aten.tanh.default(self) -> self.tanh()
aten.log_sigmoid.default(self) -> F.logsigmoid(self)
aten.softmax.int(self, dim, dtype=None) -> F.softmax(self, dim, dtype=dtype)
aten.log_softmax.int(self, dim, dtype=None) -> F.log_softmax(self, dim, dtype=dtype)
aten.linear.default(input, weight, bias=None) -> F.linear(input, weight, bias)
aten.bilinear.default(input1, input2, weight, bias=None) -> F.bilinear(input1, input2, weight, bias)
aten.embedding.default(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False)
    -> F.embedding(indices, weight, padding_idx=padding_idx, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)
aten.layer_norm.default(input, normalized_shape, weight=None, bias=None, eps=1e-05, cudnn_enable=True)
    -> F.layer_norm(input, normalized_shape, weight, bias, eps, mute(cudnn_enable))
aten.rms_norm.default(input, normalized_shape, weight=None, eps=None) -> F.rms_norm(input, normalized_shape, weight, eps)
aten.group_norm.default(input, num_groups, weight=None, bias=None, eps=1e-05, cudnn_enabled=True)
    -> F.group_norm(input, num_groups, weight, bias, eps, mute(cudnn_enabled))
aten.batch_norm.default(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)
    -> F.batch_norm(input, running_mean, running_var, weight, bias, training(training), momentum, eps, mute(cudnn_enabled))
aten.instance_norm.default(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled)
    -> F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps, mute(cudnn_enabled))
aten.dropout.default(input, p, train) -> F.dropout(input, p, training(train))
aten.alpha_dropout.default(input, p, train) -> F.alpha_dropout(input, p, training(train))
aten.scaled_dot_product_attention.default(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None,
    enable_gqa=False)
    -> F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, dropout_p=rate(dropout_p), is_causal=is_causal,
       scale=scale, enable_gqa=enable_gqa)
aten.conv1d.default(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
    -> F.conv1d(input, weight, bias, stride=same(stride), padding=same(padding), dilation=same(dilation), groups=groups)
aten.conv2d.default(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
    -> F.conv2d(input, weight, bias, stride=same(stride), padding=same(padding), dilation=same(dilation), groups=groups)
aten.conv3d.default(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)
    -> F.conv3d(input, weight, bias, stride=same(stride), padding=same(padding), dilation=same(dilation), groups=groups)
aten.conv1d.padding(input, weight, bias=None, stride=1, padding="valid", dilation=1, groups=1)
    -> F.conv1d(input, weight, bias, stride=same(stride), padding=padding, dilation=same(dilation), groups=groups)
aten.conv2d.padding(input, weight, bias=None, stride=1, padding="valid", dilation=1, groups=1)
    -> F.conv2d(input, weight, bias, stride=same(stride), padding=padding, dilation=same(dilation), groups=groups)
aten.conv_transpose1d.default(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
    -> F.conv_transpose1d(input, weight, bias, stride=same(stride), padding=same(padding),
       output_padding=same(output_padding), groups=groups, dilation=same(dilation))
aten.conv_transpose2d.input(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
    -> F.conv_transpose2d(input, weight, bias, stride=same(stride), padding=same(padding),
       output_padding=same(output_padding), groups=groups, dilation=same(dilation))
aten.max_pool1d.default(self, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False)
    -> F.max_pool1d(self, same(kernel_size), stride=same(stride), padding=same(padding), dilation=same(dilation),
       ceil_mode=ceil_mode)
aten.max_pool2d.default(self, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False)
    -> F.max_pool2d(self, same(kernel_size), stride=same(stride), padding=same(padding), dilation=same(dilation),
       ceil_mode=ceil_mode)
aten.avg_pool1d.default(self, kernel_size, stride=(), padding=0, ceil_mode=False, count_include_pad=True)
    -> F.avg_pool1d(self, same(kernel_size), stride=same(stride), padding=same(padding), ceil_mode=ceil_mode,
       count_include_pad=count_include_pad)
aten.avg_pool2d.default(self, kernel_size, stride=(), padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None)
    -> F.avg_pool2d(self, same(kernel_size), stride=same(stride), padding=same(padding), ceil_mode=ceil_mode,
       count_include_pad=count_include_pad, divisor_override=divisor_override)
aten.adaptive_avg_pool1d.default(self, output_size) -> F.adaptive_avg_pool1d(self, same(output_size))
aten.adaptive_avg_pool2d.default(self, output_size) -> F.adaptive_avg_pool2d(self, same(output_size))
aten.upsample_nearest2d.vec(input, output_size, scale_factors)
    -> F.interpolate(input, size=output_size, scale_factor=same(scale_factors))
aten.upsample_bilinear2d.vec(input, output_size, align_corners, scale_factors)
    -> F.interpolate(input, size=output_size, scale_factor=same(scale_factors), mode="bilinear", align_corners=align_corners)
aten.pixel_shuffle.default(self, upscale_factor) -> F.pixel_shuffle(self, upscale_factor)
aten.pad.default(self, pad, mode="constant", value=None) -> F.pad(self, pad, mode=mode, value=value)
aten.constant_pad_nd.default(self, pad, value=0) -> F.pad(self, pad, value=value)
aten.cross_entropy_loss.default(self, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0)
    -> F.cross_entropy(self, target, weight=weight, ignore_index=ignore_index, reduction=reduction(reduction),
       label_smoothing=label_smoothing)
aten.nll_loss_nd.default(self, target, weight=None, reduction=1, ignore_index=-100)
    -> F.nll_loss(self, target, weight=weight, ignore_index=ignore_index, reduction=reduction(reduction))
aten.mse_loss.default(self, target, reduction=1) -> F.mse_loss(self, target, reduction=reduction(reduction))
aten.l1_loss.default(self, target, reduction=1) -> F.l1_loss(self, target, reduction=reduction(reduction))
aten.smooth_l1_loss.default(self, target, reduction=1, beta=1.0)
    -> F.smooth_l1_loss(self, target, reduction=reduction(reduction), beta=beta)
aten.huber_loss.default(self, target, reduction=1, delta=1.0)
    -> F.huber_loss(self, target, reduction=reduction(reduction), delta=delta)
aten.binary_cross_entropy.default(self, target, weight=None, reduction=1)
    -> F.binary_cross_entropy(self, target, weight=weight, reduction=reduction(reduction))
aten.binary_cross_entropy_with_logits.default(self, target, weight=None, pos_weight=None, reduction=1)
    -> F.binary_cross_entropy_with_logits(self, target, weight=weight, pos_weight=pos_weight, reduction=reduction(reduction))
aten.sum.default(self, *, dtype=None) -> self.sum(dtype=dtype)
aten.sum.dim_IntList(self, dim, keepdim=False, *, dtype=None) -> self.sum(one(dim), keepdim=keepdim, dtype=dtype)
aten.mean.default(self, *, dtype=None) -> self.mean(dtype=dtype)
aten.mean.dim(self, dim, keepdim=False, *, dtype=None) -> self.mean(one(dim), keepdim=keepdim, dtype=dtype)
aten.amax.default(self, dim=(), keepdim=False) -> self.amax(one(dim), keepdim=keepdim)
aten.amin.default(self, dim=(), keepdim=False) -> self.amin(one(dim), keepdim=keepdim)
aten.max.default(self) -> self.max()
aten.min.default(self) -> self.min()
aten.max.dim(self, dim, keepdim=False) -> self.max(dim, keepdim=keepdim)
aten.min.dim(self, dim, keepdim=False) -> self.min(dim, keepdim=keepdim)
aten.argmax.default(self, dim=None, keepdim=False) -> self.argmax(dim, keepdim=keepdim)
aten.any.default(self) -> self.any()
aten.any.dim(self, dim, keepdim=False) -> self.any(dim, keepdim=keepdim)
aten.all.default(self) -> self.all()
aten.all.dim(self, dim, keepdim=False) -> self.all(dim, keepdim=keepdim)
aten.prod.default(self, *, dtype=None) -> self.prod(dtype=dtype)
aten.cumsum.default(self, dim, *, dtype=None) -> self.cumsum(dim, dtype=dtype)
aten.logsumexp.default(self, dim, keepdim=False) -> self.logsumexp(one(dim), keepdim=keepdim)
aten.var.correction(self, dim=None, *, correction=None, keepdim=False) -> self.var(dim, correction=correction, keepdim=keepdim)
aten.linalg_vector_norm.default(self, ord=2, dim=None, keepdim=False, *, dtype=None)
    -> torch.linalg.vector_norm(self, ord, dim=dim, keepdim=keepdim, dtype=dtype)
aten.topk.default(self, k, dim=-1, largest=True, sorted=True) -> self.topk(k, dim=dim, largest=largest, sorted=sorted)
aten.reshape.default(self, shape) -> self.reshape(*shape)
aten.view.default(self, size) -> self.view(*size)
aten.permute.default(self, dims) -> self.permute(*dims)
aten.transpose.int(self, dim0, dim1) -> self.transpose(dim0, dim1)
aten.t.default(self) -> self.t()
aten.mT.default(self) -> self.mT
aten.numpy_T.default(self) -> self.T
aten.unsqueeze.default(self, dim) -> self.unsqueeze(dim)
aten.squeeze.default(self) -> self.squeeze()
aten.squeeze.dim(self, dim) -> self.squeeze(dim)
aten.squeeze.dims(self, dim) -> self.squeeze(one(dim))
aten.flatten.using_ints(self, start_dim=0, end_dim=-1) -> self.flatten(start_dim, end_dim)
aten.unflatten.int(self, dim, sizes) -> self.unflatten(dim, sizes)
aten.expand.default(self, size, *, implicit=False) -> self.expand(*size)
aten.repeat.default(self, repeats) -> self.repeat(*repeats)
aten.contiguous.default(self, *, memory_format=torch.contiguous_format) -> self.contiguous()
aten.clone.default(self, *, memory_format=None) -> self.clone()
aten.detach.default(self) -> self.detach()
aten.to.dtype(self, dtype, non_blocking=False, copy=False, memory_format=None) -> self.to(dtype)
aten.narrow.default(self, dim, start, length) -> self.narrow(dim, start, length)
aten.split.Tensor(self, split_size, dim=0) -> self.split(split_size, dim=dim)
aten.split.sizes(self, split_size, dim=0) -> self.split(items(split_size), dim=dim)
aten.split_with_sizes.default(self, split_sizes, dim=0) -> self.split(items(split_sizes), dim=dim)
aten.chunk.default(self, chunks, dim=0) -> self.chunk(chunks, dim=dim)
aten.unbind.int(self, dim=0) -> self.unbind(dim)
aten.cat.default(tensors, dim=0) -> torch.cat(tensors, dim=dim)
aten.stack.default(tensors, dim=0) -> torch.stack(tensors, dim=dim)
aten.roll.default(self, shifts, dims=()) -> torch.roll(self, one(shifts), one(dims))
aten.flip.default(self, dims) -> self.flip(*dims)
aten.gather.default(self, dim, index, *, sparse_grad=False) -> self.gather(dim, index)
aten.index_select.default(self, dim, index) -> self.index_select(dim, index)
aten.scatter.src(self, dim, index, src) -> self.scatter(dim, index, src)
aten.scatter.value(self, dim, index, value) -> self.scatter(dim, index, value)
aten.scatter_add.default(self, dim, index, src) -> self.scatter_add(dim, index, src)
aten.index_add.default(self, dim, index, source, *, alpha=1) -> self.index_add(dim, index, source, alpha=alpha)
aten.one_hot.default(self, num_classes=-1) -> F.one_hot(self, num_classes)
aten.tril.default(self, diagonal=0) -> self.tril(diagonal)
aten.triu.default(self, diagonal=0) -> self.triu(diagonal)
aten.diagonal.default(self, offset=0, dim1=0, dim2=1) -> self.diagonal(offset, dim1, dim2)
aten.arange.default(end, *, OPTIONS) -> torch.arange(end, dtype=dtype, device=here)
aten.arange.start(start, end, *, OPTIONS) -> torch.arange(start, end, dtype=dtype, device=here)
aten.arange.start_step(start, end, step=1, *, OPTIONS) -> torch.arange(start, end, step, dtype=dtype, device=here)
aten.zeros.default(size, *, OPTIONS) -> torch.zeros(size, dtype=dtype, device=here)
aten.ones.default(size, *, OPTIONS) -> torch.ones(size, dtype=dtype, device=here)
aten.empty.memory_format(size, *, OPTIONS, memory_format=None) -> torch.empty(size, dtype=dtype, device=here)
aten.full.default(size, fill_value, *, OPTIONS) -> torch.full(size, fill_value, dtype=dtype, device=here)
aten.rand.default(size, *, OPTIONS) -> torch.rand(size, dtype=dtype, device=here)
aten.randn.default(size, *, OPTIONS) -> torch.randn(size, dtype=dtype, device=here)
aten.eye.default(n, *, OPTIONS) -> torch.eye(n, dtype=dtype, device=here)
aten.linspace.default(start, end, steps, *, OPTIONS) -> torch.linspace(start, end, steps, dtype=dtype, device=here)
aten.scalar_tensor.default(s, *, OPTIONS) -> torch.scalar_tensor(s, dtype=dtype, device=here)
aten.zeros_like.default(self, *, OPTIONS, memory_format=None) -> torch.zeros_like(self, dtype=dtype)
aten.ones_like.default(self, *, OPTIONS, memory_format=None) -> torch.ones_like(self, dtype=dtype)
aten.full_like.default(self, fill_value, *, OPTIONS, memory_format=None) -> torch.full_like(self, fill_value, dtype=dtype)
aten.rand_like.default(self, *, OPTIONS, memory_format=None) -> torch.rand_like(self, dtype=dtype)
aten.randn_like.default(self, *, OPTIONS, memory_format=None) -> torch.randn_like(self, dtype=dtype)
aten.new_zeros.default(self, size, *, OPTIONS) -> self.new_zeros(size, dtype=dtype)
aten.new_ones.default(self, size, *, OPTIONS) -> self.new_ones(size, dtype=dtype)
aten.new_full.default(self, size, fill_value, *, OPTIONS) -> self.new_full(size, fill_value, dtype=dtype)
aten.diff.default(self, n=1, dim=-1, prepend=None, append=None) -> self.diff(n, dim, prepend, append)
aten.fft_rfft2.default(self, s=None, dim=(-2, -1), norm=None) -> torch.fft.rfft2(self, s=s, dim=dim, norm=norm)
aten.fft_irfft2.default(self, s=None, dim=(-2, -1), norm=None) -> torch.fft.irfft2(self, s=s, dim=dim, norm=norm)
aten.fft_rfft.default(self, n=None, dim=-1, norm=None) -> torch.fft.rfft(self, n=n, dim=dim, norm=norm)
aten.fft_irfft.default(self, n=None, dim=-1, norm=None) -> torch.fft.irfft(self, n=n, dim=dim, norm=norm)
aten.add_.Tensor(self, other, *, alpha=1) -> self.add_(other, alpha=alpha)
aten.copy_.default(self, src, non_blocking=False) -> self.copy_(src)
comm.all_reduce(x) -> comm.all_reduce(x, replicas)
comm.all_gather(x, dim, outer) -> comm.all_gather(x, dim, outer, replicas)
comm.shard(x, dim, outer) -> comm.shard(x, dim, outer, replicas)
comm.to_partial(x) -> comm.to_partial(x, replicas)
comm.batch_norm(x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled)
    -> comm.batch_norm(x, weight, bias, running_mean, running_var, training(training), momentum, eps, replicas,
       mute(cudnn_enabled))
tensor.all_reduce(x) -> comm.all_reduce(x, tensor)
tensor.to_partial(x) -> comm.to_partial(x, tensor)
tensor.all_gather(x, dim, outer, units=None) -> comm.all_gather(x, dim, outer, tensor)
tensor.all_gather(x, dim, outer, units) -> comm.all_gather(x, dim, outer, tensor.of(units))
tensor.reduce_scatter(x, dim, outer, units=None) -> comm.reduce_scatter(x, dim, outer, tensor)
tensor.reduce_scatter(x, dim, outer, units) -> comm.reduce_scatter(x, dim, outer, tensor.of(units))
tensor.shard(x, dim, outer, units=None) -> comm.shard(x, dim, outer, tensor)
tensor.shard(x, dim, outer, units) -> comm.shard(x, dim, outer, tensor.of(units))
tensor.all_to_all(x, dim, outer, to_dim, to_outer, units=None, to_units=None)
    -> comm.all_to_all(x, dim, outer, to_dim, to_outer, tensor)
tensor.all_to_all(x, dim, outer, to_dim, to_outer, units, to_units)
    -> comm.all_to_all(x, dim, outer, to_dim, to_outer, tensor.of(units), to=tensor.of(to_units))
columns.embedding.default(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False, *, units=None)
    -> comm.embedding(weight, indices, tensor, padding_idx=padding_idx)
columns.embedding.default(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False, *, units)
    -> comm.embedding(weight, indices, tensor.of(units), padding_idx=padding_idx)
columns.cross_entropy_loss.default(self, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0, *, units=None,
    columns)
    -> comm.cross_entropy(self, target, tensor, mute(columns), weight=weight, ignore_index=ignore_index,
       reduction=reduction(reduction))
columns.cross_entropy_loss.default(self, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0, *, units,
    columns)
    -> comm.cross_entropy(self, target, tensor.of(units), mute(columns), weight=weight, ignore_index=ignore_index,
       reduction=reduction(reduction))
columns.dropout.default(input, p, train) -> comm.dropout(input, p, training(train), tensor)
columns.scaled_dot_product_attention.default(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, scale=None,
    enable_gqa=False)
    -> comm.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, dropout_p=rate(dropout_p), is_causal=is_causal,
       scale=scale, enable_gqa=enable_gqa, tensor=tensor)
"""
