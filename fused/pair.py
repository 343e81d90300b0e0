"""M2SNet's comparison of two maps [M2SNet, eq. 2], each read once: the kernels behind `net.compare`.

Of a, b (N, C, *space), and per view k a map n_k of each (one channel) and a scale w_k and a shift s_k per
channel:

    out = |a - b| + sum over k of |relu(n_k(a) w_k + s_k) - relu(n_k(b) w_k + s_k)|

A program takes BLOCK pixels of one image with all their channels and computes in float32, whatever the dtype. What is
summed over pixels is summed per program and then in a fixed order: the same to the bit every time.
"""

# mypy: disallow-untyped-defs=False
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fused import channels_last

MANY = 1 << 16  # pixels from which larger blocks, and so fewer partial sums, fill a GPU as well
jit: Callable[..., Any] = triton.jit(do_not_specialize=["images", "pixels"])  # one kernel for all sides of a run


@triton.jit
def _place(pixels, C: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Of this program: its image, its pixels (BLOCK,), the channels (WIDE,), and which of (BLOCK, WIDE) there are."""
    p = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    c = tl.arange(0, WIDE)
    return tl.program_id(1).to(tl.int64), p, c, (p < pixels)[:, None] & (c < C)[None, :]


@triton.jit
def _at(image, p, c, pixels, C: tl.constexpr, LAST: tl.constexpr):
    """(BLOCK, WIDE) offsets into (N, C, *space) whose channels are last in memory, or are not."""
    return image * pixels * C + (p[:, None] * C + c[None, :] if LAST else c[None, :] * pixels + p[:, None])


@triton.jit
def _sign(x):
    return (x > 0).to(tl.float32) - (x < 0).to(tl.float32)


@triton.jit
def _seen(n, w, s):
    """n (BLOCK,) through a view's affine maps (WIDE,), before the ReLU."""
    return n[:, None] * w[None, :] + s[None, :]


@triton.jit
def _relu(x):
    return tl.where(x <= 0, 0.0, x)  # a NaN stays one, as with torch.relu


@jit
def _sums(a, b, sums, images, pixels, C: tl.constexpr, A_LAST: tl.constexpr, B_LAST: tl.constexpr, WIDE: tl.constexpr,
          BLOCK: tl.constexpr):  # fmt: skip
    image, p, c, there = _place(pixels, C, WIDE, BLOCK)
    x = tl.load(a + _at(image, p, c, pixels, C, A_LAST), there, 0.0).to(tl.float32)
    y = tl.load(b + _at(image, p, c, pixels, C, B_LAST), there, 0.0).to(tl.float32)
    tl.store(sums + image * pixels + p, tl.sum(x, 1), p < pixels)
    tl.store(sums + (images + image) * pixels + p, tl.sum(y, 1), p < pixels)


@jit
def _forward(a, b, maps, affine, out, images, pixels, C: tl.constexpr, VIEWS: tl.constexpr, A_LAST: tl.constexpr,
             B_LAST: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    image, p, c, there = _place(pixels, C, WIDE, BLOCK)
    x = tl.load(a + _at(image, p, c, pixels, C, A_LAST), there, 0.0).to(tl.float32)
    y = tl.load(b + _at(image, p, c, pixels, C, B_LAST), there, 0.0).to(tl.float32)
    total = tl.abs(x - y)
    for k in tl.static_range(VIEWS):
        of_a = tl.load(maps + (2 * k * images + image) * pixels + p, p < pixels, 0.0)
        of_b = tl.load(maps + ((2 * k + 1) * images + image) * pixels + p, p < pixels, 0.0)
        w = tl.load(affine + k * C + c, c < C, 0.0).to(tl.float32)
        s = tl.load(affine + (VIEWS + k) * C + c, c < C, 0.0).to(tl.float32)
        total += tl.abs(_relu(_seen(of_a, w, s)) - _relu(_seen(of_b, w, s)))
    tl.store(out + _at(image, p, c, pixels, C, B_LAST), total.to(out.dtype.element_ty), there)


@jit
def _view_gradients(g, maps, affine, to_maps, to_affine, images, pixels, C: tl.constexpr, VIEWS: tl.constexpr,
                    LAST: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    image, p, c, there = _place(pixels, C, WIDE, BLOCK)
    grad = tl.load(g + _at(image, p, c, pixels, C, LAST), there, 0.0).to(tl.float32)
    sums = to_affine + (image * tl.num_programs(0) + tl.program_id(0)) * (2 * VIEWS * C) + c
    for k in tl.static_range(VIEWS):
        at_a, at_b = (2 * k * images + image) * pixels + p, ((2 * k + 1) * images + image) * pixels + p
        of_a, of_b = tl.load(maps + at_a, p < pixels, 0.0), tl.load(maps + at_b, p < pixels, 0.0)
        w = tl.load(affine + k * C + c, c < C, 0.0).to(tl.float32)
        s = tl.load(affine + (VIEWS + k) * C + c, c < C, 0.0).to(tl.float32)
        seen_a, seen_b = _seen(of_a, w, s), _seen(of_b, w, s)
        slope = grad * _sign(_relu(seen_a) - _relu(seen_b))
        to_a, to_b = tl.where(seen_a <= 0, 0.0, slope), tl.where(seen_b <= 0, 0.0, -slope)
        tl.store(to_maps + at_a, tl.sum(to_a * w[None, :], 1), p < pixels)
        tl.store(to_maps + at_b, tl.sum(to_b * w[None, :], 1), p < pixels)
        tl.store(sums + k * C, tl.sum(of_a[:, None] * to_a + of_b[:, None] * to_b, 0), c < C)
        tl.store(sums + (VIEWS + k) * C, tl.sum(to_a + to_b, 0), c < C)


@jit
def _pair_gradients(a, b, g, to_sums, to_a, to_b, images, pixels, C: tl.constexpr, VIEWS: tl.constexpr,
                    A_LAST: tl.constexpr, B_LAST: tl.constexpr, G_LAST: tl.constexpr, WIDE: tl.constexpr,
                    BLOCK: tl.constexpr):  # fmt: skip
    image, p, c, there = _place(pixels, C, WIDE, BLOCK)
    at_a, at_b = _at(image, p, c, pixels, C, A_LAST), _at(image, p, c, pixels, C, B_LAST)
    grad = tl.load(g + _at(image, p, c, pixels, C, G_LAST), there, 0.0).to(tl.float32)
    difference = tl.load(a + at_a, there, 0.0).to(tl.float32) - tl.load(b + at_b, there, 0.0).to(tl.float32)
    grad_a = grad * _sign(difference)
    grad_b = -grad_a
    if VIEWS > 0:
        grad_a += tl.load(to_sums + image * pixels + p, p < pixels, 0.0)[:, None]
        grad_b += tl.load(to_sums + (images + image) * pixels + p, p < pixels, 0.0)[:, None]
    tl.store(to_a + at_a, grad_a.to(to_a.dtype.element_ty), there)
    tl.store(to_b + at_b, grad_b.to(to_b.dtype.element_ty), there)


def channel_sums(a: Tensor, b: Tensor) -> Tensor:
    """(2 N, 1, *space) float32: the sums over the channels of a, then of b."""
    sums = a.new_empty((2 * len(a), 1, *a.shape[2:]), dtype=torch.float32)
    _launch(_sums, a, (a, b, sums), A_LAST=channels_last(a), B_LAST=channels_last(b))
    return sums


def compared(a: Tensor, b: Tensor, maps: Tensor | None = None, affine: Tensor | None = None) -> tuple[Tensor]:
    """(out,), in b's memory order. maps (views, 2, N, 1, *space) float32; affine (2, views, C): scales, then shifts."""
    out = torch.empty_like(b)
    lie = {"A_LAST": channels_last(a), "B_LAST": channels_last(b)}
    _launch(_forward, a, (a, b, maps, affine, out), VIEWS=0 if maps is None else len(maps), **lie)
    return (out,)


def view_gradients(g: Tensor, maps: Tensor, affine: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of maps and affine, where g is that of out."""
    to_maps, blocks = torch.empty_like(maps), _blocks(g)
    to_affine = maps.new_empty((blocks[0] * blocks[1], *affine.shape))
    _launch(_view_gradients, g, (g, maps, affine, to_maps, to_affine), VIEWS=len(maps), LAST=channels_last(g))
    return to_maps, to_affine.sum(0)


def pair_gradients(a: Tensor, b: Tensor, g: Tensor, to_sums: Tensor | None) -> tuple[Tensor, Tensor]:
    """Gradients of a and b; to_sums (2 N, 1, *space) float32: what reaches their channel sums through the views."""
    to_a, to_b = torch.empty_like(a), torch.empty_like(b)
    lie = {"A_LAST": channels_last(a), "B_LAST": channels_last(b), "G_LAST": channels_last(g)}
    _launch(_pair_gradients, a, (a, b, g, to_sums, to_a, to_b), VIEWS=int(to_sums is not None), **lie)
    return to_a, to_b


def _blocks(x: Tensor) -> tuple[int, int]:
    return triton.cdiv(x[0, 0].numel(), _block(x)), len(x)


def _block(x: Tensor) -> int:
    return 128 if len(x) * x[0, 0].numel() >= MANY else 32


def _launch(kernel: Any, x: Tensor, tensors: tuple[Tensor | None, ...], **constants: int) -> None:
    channels, pixels, block = x.shape[1], x[0, 0].numel(), _block(x)
    constants |= {"C": channels, "WIDE": triton.next_power_of_2(channels), "BLOCK": block}
    with torch.cuda.device_of(x):
        kernel[_blocks(x)](*tensors, len(x), pixels, **constants, num_warps=block // 8)
