"""Average pooling of a window that may lap over others and over the edge: kernels, each way a sum over the window.

Maps are `fused.rows`; beyond the edge lie zeros, which count. PyTorch's own take several times as
long as to write the result where channels are last in memory.
"""

# mypy: disallow-untyped-defs=False

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fused import row
from fused.rows import ROWS, aligned, block, constants_of, grid, read, write

# one kernel for all maps of a network and all sides of a run
jit: Any = triton.jit(
    do_not_specialize=["x_row", "out_row", "rows", "channels", "height", "width", "out_height", "out_width"]
)


@jit
def _average(x, x_row, out, out_row, rows, channels, height, width, out_height, out_width, SIDE: tl.constexpr,
             STRIDE: tl.constexpr, AROUND: tl.constexpr, BACK: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr,
             ROWS: tl.constexpr):  # fmt: skip
    r, c = block(WIDE, ROWS)
    x_row, out_row, channels = aligned(x_row, ALIGN), aligned(out_row, ALIGN), aligned(channels, ALIGN)
    there = (r < rows)[:, None] & (c < channels)[None, :]
    image, down, across = r // (out_height * out_width), r // out_width % out_height, r % out_width
    total = tl.zeros((ROWS, WIDE), tl.float32)
    for k in tl.static_range(SIDE * SIDE):
        if BACK:  # a pixel gives its share to each window that it is the k-th of
            y, z = down + AROUND - k // SIDE, across + AROUND - k % SIDE
            inside = (y % STRIDE == 0) & (z % STRIDE == 0)
            y, z = tl.where(y < 0, -1, y // STRIDE), tl.where(z < 0, -1, z // STRIDE)
        else:
            y, z = down * STRIDE - AROUND + k // SIDE, across * STRIDE - AROUND + k % SIDE
            inside = r >= 0
        inside = inside & (y >= 0) & (y < height) & (z >= 0) & (z < width)
        total += read(x, x_row, (image * height + y) * width + z, c, there & inside[:, None])
    write(out, out_row, r, c, there, total / (SIDE * SIDE))


def average(x: Tensor, out: Tensor, side: int, stride: int, around: int) -> Tensor:
    """F.avg_pool2d(x, side, stride, around), written to `out`; both (N, C, H, W) in rows."""
    return _launch(x, out, SIDE=side, STRIDE=stride, AROUND=around, BACK=False)


def spread(g: Tensor, out: Tensor, side: int, stride: int, around: int) -> Tensor:
    """The gradient of what `average` was given, written to `out`, where g is that of its result."""
    return _launch(g, out, SIDE=side, STRIDE=stride, AROUND=around, BACK=True)


def _launch(x: Tensor, out: Tensor, **window: int) -> Tensor:
    rows, channels = out.numel() // out.shape[1], out.shape[1]
    with torch.cuda.device_of(x):
        _average[grid(rows, channels, once=True)](
            x, row(x), out, row(out), rows, channels, *x.shape[2:], *out.shape[2:], ROWS=ROWS, **window,
            **constants_of(channels, x, out),
        )  # fmt: skip
    return out
