"""What LossNet does between its convolutions, each map read once: bias and ReLU, squared differences, max pooling.

Maps (2 N, C, H, W) are two stacks, x and y, with their channels last in memory. A program takes BLOCK windows of 2 x 2
pixels (or BLOCK pixels) with all their channels and computes in float32, whatever the dtype. Sums are taken per program
and then in a fixed order: the same to the bit every time.
"""

# mypy: disallow-untyped-defs=False
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

NUMBERS = 2048  # a program reads at a time: eight a thread, 16 bytes in half precision
jit: Callable[..., Any] = triton.jit(do_not_specialize=["windows", "pixels"])  # one kernel for all batches of a run


@triton.jit
def _place(windows, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Of this program's windows: image, upper row, left column (BLOCK,), channels (WIDE,), and which there are."""
    w = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, WIDE)
    across: tl.constexpr = (W + 1) // 2
    down: tl.constexpr = (H + 1) // 2
    image = (w // (down * across)).to(tl.int64)
    return image, w // across % down * 2, w % across * 2, c, (w < windows)[:, None] & (c < C)[None, :]


@triton.jit
def _at(image, row, column, c, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr):
    """(BLOCK, WIDE) offsets into maps of H x W."""
    return image[:, None] * (H * W * C) + ((row * W + column) * C)[:, None] + c[None, :]


@triton.jit
def _exceeds(x, most):
    return (x > most) | (x != x)  # what is not a number stays so, as with F.max_pool2d


@jit
def _rectify(maps, bias, pixels, C: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    p = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, WIDE)
    at, there = p[:, None] * C + c[None, :], (p < pixels)[:, None] & (c < C)[None, :]
    x = tl.load(maps + at, there, 0.0).to(tl.float32) + tl.load(bias + c, c < C, 0.0).to(tl.float32)[None, :]
    tl.store(maps + at, tl.where(x <= 0, 0.0, x).to(maps.dtype.element_ty), there)


@jit
def _forward(maps, pooled, partial, stack, pooled_stack, windows, factor, H: tl.constexpr, W: tl.constexpr,
             C: tl.constexpr, POOL: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    image, row, column, c, there = _place(windows, H, W, C, WIDE, BLOCK)
    total = tl.zeros((BLOCK, WIDE), tl.float32)
    most_x = tl.full((BLOCK, WIDE), float("-inf"), tl.float32)
    most_y = most_x
    for k in tl.static_range(4):
        r, s = row + k // 2, column + k % 2
        at, inside = _at(image, r, s, c, H, W, C), there & ((r < H) & (s < W))[:, None]
        x = tl.load(maps + at, inside, 0.0).to(tl.float32)
        y = tl.load(maps + stack + at, inside, 0.0).to(tl.float32)
        total += (x - y) * (x - y)
        most_x = tl.where(_exceeds(x, most_x), x, most_x)
        most_y = tl.where(_exceeds(y, most_y), y, most_y)
    tl.store(partial + tl.program_id(0), tl.sum(tl.sum(total, 1), 0) * factor)
    if POOL:
        at = _at(image, row // 2, column // 2, c, H // 2, W // 2, C)
        whole = there & ((row + 1 < H) & (column + 1 < W))[:, None]
        tl.store(pooled + at, most_x.to(pooled.dtype.element_ty), whole)
        tl.store(pooled + pooled_stack + at, most_y.to(pooled.dtype.element_ty), whole)


@jit
def _backward(maps, to_pooled, grad, out, stack, windows, factor, H: tl.constexpr, W: tl.constexpr, C: tl.constexpr,
              POOL: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    image, row, column, c, there = _place(windows, H, W, C, WIDE, BLOCK)
    if POOL:
        most, first = tl.full((BLOCK, WIDE), float("-inf"), tl.float32), tl.zeros((BLOCK, WIDE), tl.int32)
        for k in tl.static_range(4):
            r, s = row + k // 2, column + k % 2
            inside = there & ((r < H) & (s < W))[:, None]
            x = tl.load(maps + _at(image, r, s, c, H, W, C), inside, 0.0).to(tl.float32)
            first = tl.where(_exceeds(x, most), k, first)
            most = tl.where(_exceeds(x, most), x, most)
        at, whole = _at(image, row // 2, column // 2, c, H // 2, W // 2, C), (row + 1 < H) & (column + 1 < W)
        to_most = tl.load(to_pooled + at, there & whole[:, None], 0.0).to(tl.float32)
    scale = tl.load(grad).to(tl.float32) * factor
    for k in tl.static_range(4):
        r, s = row + k // 2, column + k % 2
        at, inside = _at(image, r, s, c, H, W, C), there & ((r < H) & (s < W))[:, None]
        x = tl.load(maps + at, inside, 0.0).to(tl.float32)  # again, from the cache
        slope = scale * (x - tl.load(maps + stack + at, inside, 0.0).to(tl.float32))
        if POOL:
            slope += tl.where(first == k, to_most, 0.0)
        tl.store(out + at, tl.where(x <= 0, 0.0, slope).to(out.dtype.element_ty), inside)


def rectify_(maps: Tensor, bias: Tensor) -> Tensor:
    """relu(maps + bias), where bias (C,), in the place of maps."""
    pixels = maps.numel() // maps.shape[1]
    _launch(_rectify, maps, pixels, (maps, bias, pixels))
    return maps


def squares(maps: Tensor, pool: bool) -> tuple[Tensor, Tensor | None]:
    """Float32 numbers that add up to F.mse_loss(x, y), and F.max_pool2d(maps, 2) if told."""
    n, channels, height, width = len(maps) // 2, *maps.shape[1:]
    small = maps.new_empty((2 * n, height // 2, width // 2, channels)).movedim(3, 1) if pool else None
    size, windows = maps[:n].numel(), _windows(maps)
    partial = torch.empty(triton.cdiv(windows, _block(maps)), dtype=torch.float32, device=maps.device)
    stacks = size, 0 if small is None else small[:n].numel()
    tensors = maps, small, partial, *stacks, windows, 1 / size
    _launch(_forward, maps, windows, tensors, H=height, W=width, POOL=pool)
    return partial, small


def slope(maps: Tensor, grad: Tensor, to_pooled: Tensor | None) -> Tensor:
    """Gradient (N, C, H, W) of what was x before its ReLU; grad () is that of the squares, to_pooled that of pooled x.

    Of equal numbers in a window the first has its gradient, row by row, as with F.max_pool2d.
    """
    out, (height, width) = torch.empty_like(maps[: len(maps) // 2]), maps.shape[2:]
    g = None if to_pooled is None else to_pooled.contiguous(memory_format=torch.channels_last)
    windows, size = _windows(maps), out.numel()
    tensors = maps, g, grad, out, size, windows, 2 / size
    _launch(_backward, maps, windows, tensors, H=height, W=width, POOL=g is not None)
    return out


def _windows(maps: Tensor) -> int:
    """Of one stack; those at an odd edge are smaller."""
    return len(maps) // 2 * -(-maps.shape[2] // 2) * -(-maps.shape[3] // 2)


def _block(maps: Tensor) -> int:
    return max(1, NUMBERS // triton.next_power_of_2(maps.shape[1]))


def _launch(kernel: Any, maps: Tensor, count: int, inputs: tuple[Any, ...], **constants: int) -> None:
    """`count` windows or pixels, over as many programs as they need."""
    channels, block = maps.shape[1], _block(maps)
    constants |= {"C": channels, "WIDE": triton.next_power_of_2(channels), "BLOCK": block}
    with torch.cuda.device_of(maps):
        kernel[(triton.cdiv(count, block),)](*inputs, **constants, num_warps=8)
