"""Ops that only this file registers, with what is to be found out about them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _like(x: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(x)


def _trained(op: Any, forward: Any) -> Any:
    """With the gradients of ``forward``, which is ordinary torch."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(t.is_floating_point()) for t in ctx.saved_tensors]
            out = forward(*leaves)
        floating = [leaf for leaf in leaves if leaf.requires_grad]
        found = iter(torch.autograd.grad(out, floating, grad))
        return tuple(next(found) if leaf.requires_grad else None for leaf in leaves)  # type: ignore[misc]

    op.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    return op


def _clip(x: Tensor, bound: Tensor) -> Tensor:
    return bound * torch.tanh(x / bound)


@torch.library.custom_op("autopart_tests::soft_clip", mutates_args=())
def soft_clip(x: Tensor, bound: Tensor) -> Tensor:
    """By sample; ``bound`` is everybody's."""
    return _clip(x, bound)


soft_clip.register_fake(_like)
_trained(soft_clip, _clip)


def _centre(x: Tensor) -> Tensor:
    return x - x.mean(0, keepdim=True)


@torch.library.custom_op("autopart_tests::centre", mutates_args=())
def centre(x: Tensor) -> Tensor:
    """Linear, and it mixes samples."""
    return _centre(x)


centre.register_fake(_like)
_trained(centre, _centre)


def _correlate(x: Tensor, y: Tensor) -> Tensor:
    return x.T @ y


@torch.library.custom_op("autopart_tests::correlate", mutates_args=())
def correlate(x: Tensor, y: Tensor) -> Tensor:
    """A sum over samples."""
    return _correlate(x, y)


correlate.register_fake(lambda x, y: x.new_empty((x.shape[1], y.shape[1])))
_trained(correlate, _correlate)


@torch.library.custom_op("autopart_tests::noisy", mutates_args=())
def noisy(x: Tensor) -> Tensor:
    """Random, though nothing says so."""
    return x + torch.rand_like(x)


noisy.register_fake(_like)
_trained(noisy, lambda x: x * 1.0)


@torch.library.custom_op("autopart_tests::wrong_backward", mutates_args=())
def wrong_backward(x: Tensor) -> Tensor:
    """By sample forward; its gradient is centred over the samples."""
    return x * 2.0


wrong_backward.register_fake(_like)
wrong_backward.register_autograd(lambda ctx, grad: 2.0 * (grad - grad.mean(0, keepdim=True)))


@torch.library.custom_op("autopart_tests::pick", mutates_args=())
def pick(x: Tensor, column: Tensor) -> Tensor:
    """One column of each sample, by integers."""
    return x.gather(1, column[:, None])[:, 0]


pick.register_fake(lambda x, column: x.new_empty((x.shape[0],)))
_trained(pick, lambda x, column: x.gather(1, column[:, None])[:, 0])


@torch.library.custom_op("autopart_tests::first_is_special", mutates_args=())
def first_is_special(x: Tensor) -> Tensor:
    """By sample, but for the batch's first: a rank can't know whether it has that one."""
    return torch.cat([x[:1] * 3.0, x[1:]])


first_is_special.register_fake(_like)
_trained(first_is_special, lambda x: torch.cat([x[:1] * 3.0, x[1:]]))
