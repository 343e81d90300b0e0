"""ReLU of a BatchNorm, and of its sum with another map: in training on a GPU one step of autograd, in few passes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import fused

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def norm_relu(x: Tensor, norm: nn.Module, plus: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """relu(norm(x + bias) + plus), all (N, C, *space), bias (C,).

    Of a BatchNorm in training the bias moves nothing but the running mean, and its gradient is zero.
    """
    if usable(x, norm) and (plus is None or (plus.dtype == x.dtype and usable(plus, norm))):
        return _NormRelu.apply(x, bias, norm.weight, norm.bias, plus, norm)
    if bias is not None:
        x = x + bias.view(-1, *[1] * (x.ndim - 2))
    x = norm(x)
    return (x if plus is None else x + plus).relu_()


def usable(x: Tensor, norm: nn.Module) -> bool:
    """Whether kernels can take x (N, C, *space) and this norm: a BatchNorm in training, channels last in memory."""
    if type(norm) not in NORMS or not norm.training or not fused.built(x):
        return False
    tracks = norm.affine and norm.track_running_stats and norm.momentum is not None
    return bool(tracks) and not hooked(norm) and x.shape[1] < x.numel() and in_rows(x)


def in_rows(x: Tensor) -> bool:
    """Whether x (N, C, *space) and what is made like it lie as `fused.rows` are."""
    return fused.channels_last(x) and x.numel() < 2**31 and fused.row(x) == x.shape[1]


def hooked(module: nn.Module) -> bool:
    """Whether something is to happen before or behind a call of this module, which must then be called."""
    return bool(
        module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
    )


class _NormRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor | None, weight: Tensor, shift: Tensor, plus: Tensor | None, norm: Any
    ) -> Tensor:
        from fused.norm import Parts, forward, statistics  # here: Triton is not everywhere

        seen, out = statistics(x, norm, x.shape[1], bias), torch.empty_like(x)
        forward(x, seen, Parts(x.shape[1], (out,)), plus)
        ctx.bias = bias
        # without an addition x tells where the ReLU let through
        ctx.save_for_backward(x, *seen, None if plus is None else out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from fused.norm import Parts, Seen, backward

        x, found, weight, shift, out = ctx.saved_tensors
        g = g if fused.row(g) else g.contiguous(memory_format=fused.CHANNELS_LAST[g.ndim])
        to_x, (to_weight, to_shift), to_plus = backward(x, Seen(found, weight, shift), Parts(g.shape[1], (g,)), out=out)
        return to_x, None if ctx.bias is None else torch.zeros_like(ctx.bias), to_weight, to_shift, to_plus, None
