"""Average pooling, on a GPU without the time that PyTorch takes for it where channels are last in memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import fused


class AvgPool(nn.AvgPool2d):
    """nn.AvgPool2d with a square window."""

    def forward(self, x: Tensor) -> Tensor:
        # a window that the edge cuts counts what is inside alone, if told so
        whole = self.count_include_pad or not self.padding
        uncut = not (self.ceil_mode and any(side % self.stride for side in x.shape[2:]))  # type: ignore[operator]
        if torch.compiler.is_compiling() or not fused.built(x) or not (whole and uncut and takes(x)):
            return super().forward(x)
        return _Average.apply(x, self.kernel_size, self.stride, self.padding)


def takes(x: Tensor) -> bool:
    """Whether kernels can take x (N, C, H, W)."""
    return fused.channels_last(x) and 0 < x.numel() < 2**31


def sides(x: Tensor, side: int, stride: int, around: int) -> list[int]:
    return [(length + 2 * around - side) // stride + 1 for length in x.shape[2:]]


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int, stride: int, around: int) -> Tensor:
        from fused.average import average  # here: Triton is not everywhere

        ctx.window, ctx.shape = (side, stride, around), x.shape
        return average(x, _empty(x, (*x.shape[:2], *sides(x, *ctx.window))), *ctx.window)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from fused.average import spread

        g = g.contiguous(memory_format=torch.channels_last)
        return spread(g, _empty(g, ctx.shape), *ctx.window), None, None, None


def _empty(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
