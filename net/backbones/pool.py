"""Average pooling, on a GPU without the time that PyTorch takes for it where channels are last in memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

import fused
from net.normed import in_rows


class AvgPool(nn.AvgPool2d):
    """nn.AvgPool2d with a square window."""

    kernel_size: int
    stride: int
    padding: int

    def forward(self, x: Tensor) -> Tensor:
        if not fused.built(x) or not self._takes(x):  # in this order: a graph of any size must not ask for its sides
            return super().forward(x)
        return _Average.apply(x, self.kernel_size, self.stride, self.padding)

    def _takes(self, x: Tensor) -> bool:
        """Whether kernels can pool x (N, C, H, W) so."""
        around = self.padding
        # a window that the edge cuts counts what is inside alone, if told so
        whole = (self.count_include_pad or not around) and self.divisor_override is None
        cut = self.ceil_mode and any((length + 2 * around - self.kernel_size) % self.stride for length in x.shape[2:])
        return whole and not cut and x.numel() > 0 and in_rows(x)


def empty(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Memory for a map (N, C, H, W) like x, its channels last."""
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _sides(x: Tensor, side: int, stride: int, around: int) -> list[int]:
    return [(length + 2 * around - side) // stride + 1 for length in x.shape[2:]]


class _Average(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, side: int, stride: int, around: int) -> Tensor:
        from fused.average import average  # here: Triton is not everywhere

        ctx.window, ctx.shape = (side, stride, around), x.shape
        return average(x, empty(x, (*x.shape[:2], *_sides(x, *ctx.window))), *ctx.window)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from fused.average import spread

        g = g.contiguous(memory_format=torch.channels_last)
        return spread(g, empty(g, ctx.shape), *ctx.window), None, None, None
