"""LossNet in half precision on a GPU: map and mask in one batch, few passes over memory, derivatives by hand."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import fused

Blocks = list[list[tuple[Tensor, Tensor]]]  # weight and bias of each convolution, block by block
ALIGNED = 8  # channels that cuDNN's half-precision kernels read at once; of others it makes copies first
AROUND = ([1, 1], [1, 1], [1, 1])  # stride, padding and dilation


def half(x: Tensor) -> torch.dtype | None:
    """The dtype in which autocast has convolutions of x computed, where `distance` can: on CUDA, in half precision."""
    if not x.is_cuda or not torch.is_autocast_enabled("cuda") or not x.numel() or x.dtype not in fused.DTYPES:
        return None
    dtype = torch.get_autocast_dtype("cuda")
    return dtype if dtype != torch.float32 and fused.usable(x.new_empty(0, dtype=dtype)) else None


def cast(blocks: Iterable[nn.Module], dtype: torch.dtype) -> Blocks:
    """Weights of VGG-16's blocks in `dtype`, their channels last in memory and the first one's filled up with zeros."""
    return [
        [(_aligned(conv.weight.detach()).to(dtype, memory_format=torch.channels_last), conv.bias.detach().to(dtype))
         for conv in block.modules() if isinstance(conv, nn.Conv2d) and conv.bias is not None]
        for block in blocks
    ]  # fmt: skip


def _aligned(weight: Tensor) -> Tensor:
    return F.pad(weight, (0, 0, 0, 0, 0, -weight.shape[1] % ALIGNED))


def distance(x: Tensor, y: Tensor, blocks: Blocks) -> Tensor:
    """Scalar float32: the sum over blocks of F.mse_loss of the features of x and y, (N, 3, H, W) each.

    A max pooling 2 x 2 lies before each block but the first, a ReLU behind each convolution. The gradient flows to x.
    """
    return _Distance.apply(x, y, blocks)


class _Distance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, blocks: Blocks) -> Tensor:
        from fused.pool import squares  # here: Triton is not everywhere

        ctx.blocks, ctx.channels, ctx.dtype = blocks, x.shape[1], x.dtype
        maps: Any = _stacked(x, y, blocks[0][0][0])
        kept: list[Tensor] = []
        sums: list[Tensor] = []
        for block in blocks:
            for weight, bias in block:
                kept.append(maps)
                maps = _conv_relu(maps, weight, bias)
            kept.append(maps)
            partial, maps = squares(maps, pool=len(sums) + 1 < len(blocks))
            sums.append(partial)
        ctx.save_for_backward(*kept)
        return torch.cat(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        from fused.pool import slope

        kept = list(ctx.saved_tensors)
        g: Any = None
        n = len(kept[0]) // 2
        for block in reversed(ctx.blocks):
            g = slope(kept.pop(), grad, g)
            for i, (weight, _) in reversed([*enumerate(block)]):
                x = kept.pop()[:n]
                g = _to_input(g, x, weight)
                if i:  # what the first convolution of a block sees was pooled, or is the map: no ReLU lies between
                    g = torch.ops.aten.threshold_backward(g, x, 0)
        return g[:, : ctx.channels].to(ctx.dtype), None, None


def _stacked(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """x, then y, as the first convolution takes them."""
    n, channels, height, width = x.shape
    maps = weight.new_zeros((2 * n, height, width, weight.shape[1])).movedim(3, 1)
    maps[:n, :channels], maps[n:, :channels] = x, y
    return maps


def _conv_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    from fused.pool import rectify_

    cudnn = torch.backends.cudnn
    if cudnn.enabled and not cudnn.deterministic and _in_one(x.device, x.dtype):  # it never heeds the second
        return torch.ops.aten.cudnn_convolution_relu(x, weight, bias, *AROUND, 1)
    return rectify_(F.conv2d(x, weight, padding=1).contiguous(memory_format=torch.channels_last), bias)


@cache
def _in_one(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether cuDNN adds the bias and cuts at zero while it convolves; it needs a card and a build that can."""
    if device.type != "cuda":
        return False
    x = torch.zeros(1, 8, 8, 8, dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
    try:
        torch.ops.aten.cudnn_convolution_relu(x, x[:, :, :3, :3].expand(8, -1, -1, -1), x[0, :, 0, 0], *AROUND, 1)
    except RuntimeError:
        return False
    return True


def _to_input(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient of a convolution's input x alone."""
    return torch.ops.aten.convolution_backward(g, x, weight, None, *AROUND, False, [0, 0], 1, (True, False, False))[0]
