"""BatchNorm in training with what stands around it, each map read as seldom as can be: the kernels of `net.normed`.

A map (N, C, *space) is taken as rows, one per pixel, whose channels lie side by side; a row may be a part of a longer
one, as of a slice of channels. With the mean and variance of each channel over all rows,

    out = relu((x - mean) / sqrt(variance + eps) * weight + shift + plus),   carried = out + carry

and out may lie in up to four parts, each a map of its own. A program takes ROWS x WIDE of a map and computes in
float32. What is summed over rows is summed per program, and by the last of them to finish in a fixed order: the same to
the bit every time.
"""

# mypy: disallow-untyped-defs=False

from functools import cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from fused import row
from fused.rows import ROWS, SUMMED, aligned, block, constants_of, grid, read, write

LEFT = tl.constexpr(64)  # programs whose sums are read at once: all of them are, one after the other, waited for
COUNTERS = 1024  # blocks of channels of a map

SIZES = ["rows", "channels", "filled", "momentum", "eps"]
LENGTHS = ["x_row", "plus_row", "carry_row", "carried_row", "out_row", "g_row", "last_row", "more_row", "to_row"]
# one kernel for all maps of a network and all sides of a run
jit: Any = triton.jit(do_not_specialize=SIZES + LENGTHS)


class Parts(NamedTuple):
    """Maps that together are one, of `channels` each; the rows of all but the last are of one length, filled with 0."""

    channels: int
    maps: tuple[Tensor, ...]

    @property
    def pointers(self) -> tuple[Tensor, ...]:
        return (*self.maps, *self.maps[:1] * (4 - len(self.maps)))

    @property
    def rows(self) -> tuple[int, int]:
        return row(self.maps[0]), row(self.maps[-1])


class Seen(NamedTuple):
    """What a map looks like: its statistics (2, C) float32, mean and 1 / sqrt(variance + eps), and the affine (C,)."""

    found: Tensor
    weight: Tensor
    shift: Tensor


@triton.jit
def _of_part(a, b, c, d, row, last_row, PARTS: tl.constexpr):
    """The pointer of this program's part, and the length of its rows."""
    if PARTS > 1:
        part = tl.program_id(2)
        if part == 1:
            a = b
        if part == 2:
            a = c
        if part == 3:
            a = d
            row = last_row
    return a, row


@triton.jit
def _leave(one, two, partial, done, place, there, channels):
    """Leave this program's sums; whether it is the last of its channels to do so."""
    at = partial + tl.program_id(0) * 2 * channels + place
    tl.store(at, one, there)
    tl.store(at + channels, two, there)
    tl.debug_barrier()
    counter = done + tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
    return tl.atomic_add(counter, 1) == tl.num_programs(0) - 1


@triton.jit
def _totals(partial, done, place, there, channels, WIDE: tl.constexpr):
    """What all programs have left, added in their order."""
    tl.store(done + tl.program_id(2) * tl.num_programs(1) + tl.program_id(1), 0)
    one, two = tl.zeros((LEFT, WIDE), tl.float32), tl.zeros((LEFT, WIDE), tl.float32)
    for start in range(0, tl.num_programs(0), LEFT):
        p = start + tl.arange(0, LEFT)
        at = partial + p[:, None] * 2 * channels + place[None, :]
        inside = (p < tl.num_programs(0))[:, None] & there[None, :]
        one += tl.load(at, inside, 0.0, cache_modifier=".cg")
        two += tl.load(at + channels, inside, 0.0, cache_modifier=".cg")
    return tl.sum(one, 0), tl.sum(two, 0)


@jit
def _statistics(x, x_row, bias, running_mean, running_var, tracked, found, partial, done, rows, channels, momentum, eps,
                BIAS: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    r, c = block(WIDE, ROWS)
    x_row, channels = aligned(x_row, ALIGN), aligned(channels, ALIGN)
    there = c < channels
    # what is summed stays small, and the variance keeps its digits
    near = tl.load(x + rows // 2 * x_row + c, there, 0.0).to(tl.float32)
    total, squares = tl.zeros((ROWS, WIDE), tl.float32), tl.zeros((ROWS, WIDE), tl.float32)
    for start in range(0, rows, tl.num_programs(0) * ROWS):
        inside = (start + r < rows)[:, None] & there[None, :]
        value = tl.where(inside, read(x, x_row, start + r, c, inside) - near[None, :], 0.0)
        total += value
        squares += value * value
    if _leave(tl.sum(total, 0), tl.sum(squares, 0), partial, done, c, there, channels):
        one, two = _totals(partial, done, c, there, channels, WIDE)
        mean = one / rows
        var = two / rows - mean * mean
        var = tl.where(var < 0, 0.0, var)  # a NaN stays one
        mean += near
        tl.store(found + c, mean, there)
        tl.store(found + channels + c, 1 / tl.sqrt(var + eps), there)
        if BIAS:
            mean += tl.load(bias + c, there, 0.0).to(tl.float32)
        before = tl.load(running_mean + c, there, 0.0)
        tl.store(running_mean + c, before + momentum * (mean - before), there)
        before = tl.load(running_var + c, there, 0.0)
        tl.store(running_var + c, before + momentum * (var * (rows / (rows - 1.0)) - before), there)
        if tl.program_id(1) == 0:
            tl.store(tracked, tl.load(tracked) + 1)


@triton.jit
def _normal(x, x_row, found, weight, shift, r, place, inside, there, total):
    """(x - mean) / sqrt(variance + eps) of this program's (ROWS, WIDE), and that through the affine map."""
    mean, scale = tl.load(found + place, there, 0.0), tl.load(found + total + place, there, 0.0)
    w, s = tl.load(weight + place, there, 0.0), tl.load(shift + place, there, 0.0)
    normal = (read(x, x_row, r, place, inside) - mean[None, :]) * scale[None, :]
    return normal, normal * w[None, :] + s[None, :], w * scale


@jit
def _forward(x, x_row, found, weight, shift, plus, plus_row, carry, carry_row, out, out1, out2, out3, out_row, last_row,
             carried, carried_row, rows, channels, PLUS: tl.constexpr, CARRY: tl.constexpr, PARTS: tl.constexpr,
             ALIGN: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    r, c = block(WIDE, ROWS)
    x_row, plus_row, carry_row = aligned(x_row, ALIGN), aligned(plus_row, ALIGN), aligned(carry_row, ALIGN)
    out_row, last_row, carried_row = aligned(out_row, ALIGN), aligned(last_row, ALIGN), aligned(carried_row, ALIGN)
    channels = aligned(channels, ALIGN)
    there, place = c < channels, tl.program_id(2) * channels + c
    inside = (r < rows)[:, None] & there[None, :]
    _, value, _ = _normal(x, x_row, found, weight, shift, r, place, inside, there, PARTS * channels)
    if PLUS:
        value += read(plus, plus_row, r, c, inside)
    value = tl.where(value <= 0, 0.0, value)  # a NaN stays one, as with torch.relu
    into, into_row = _of_part(out, out1, out2, out3, out_row, last_row, PARTS)
    if PARTS > 1:  # the row's end is filled with zeros, but for the last part's, which is another's
        filled = (r < rows)[:, None] & (c < tl.where(tl.program_id(2) == PARTS - 1, channels, into_row))[None, :]
        write(into, into_row, r, c, filled, tl.where(inside, value, 0.0))
    else:
        write(into, into_row, r, c, inside, value)
    if CARRY:
        filled = (r < rows)[:, None] & (c < carried_row)[None, :]
        value += read(carry, carry_row, r, c, inside)
        write(carried, carried_row, r, c, filled, tl.where(inside, value, 0.0))


@triton.jit
def _gradient(value, out, out_row, g, g1, g2, g3, g_row, last_row, more, more_row, r, c, inside, OUT: tl.constexpr,
              MORE: tl.constexpr, PARTS: tl.constexpr):  # fmt: skip
    """The gradient of what the ReLU was given: `value`, or where that is not known, whatever gave `out`."""
    of, of_row = _of_part(g, g1, g2, g3, g_row, last_row, PARTS)
    grad = read(of, of_row, r, c, inside)
    if MORE:
        grad += read(more, more_row, r, c, inside)
    if OUT:
        value = read(out, out_row, r, c, inside)
    return tl.where(value <= 0, 0.0, grad)


@jit
def _sums(x, x_row, found, weight, shift, out, out_row, g, g1, g2, g3, g_row, last_row, more, more_row, sums, partial,
          done, rows, channels, OUT: tl.constexpr, MORE: tl.constexpr, PARTS: tl.constexpr, WIDE: tl.constexpr,
          ALIGN: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    r, c = block(WIDE, ROWS)
    x_row, out_row, g_row = aligned(x_row, ALIGN), aligned(out_row, ALIGN), aligned(g_row, ALIGN)
    last_row, more_row = aligned(last_row, ALIGN), aligned(more_row, ALIGN)
    channels = aligned(channels, ALIGN)
    there, place = c < channels, tl.program_id(2) * channels + c
    one, two = tl.zeros((ROWS, WIDE), tl.float32), tl.zeros((ROWS, WIDE), tl.float32)
    for start in range(0, rows, tl.num_programs(0) * ROWS):
        inside = (start + r < rows)[:, None] & there[None, :]
        normal, value, _ = _normal(x, x_row, found, weight, shift, start + r, place, inside, there, PARTS * channels)
        grad = _gradient(value, out, out_row, g, g1, g2, g3, g_row, last_row, more, more_row, start + r, c, inside, OUT,
                         MORE, PARTS)  # fmt: skip
        one += grad
        two += grad * normal
    if _leave(tl.sum(one, 0), tl.sum(two, 0), partial, done, place, there, PARTS * channels):
        to_shift, to_weight = _totals(partial, done, place, there, PARTS * channels, WIDE)
        tl.store(sums + place, to_weight, there)
        tl.store(sums + PARTS * channels + place, to_shift, there)


@jit
def _backward(x, x_row, found, weight, shift, out, out_row, g, g1, g2, g3, g_row, last_row, more, more_row, sums, to_x,
              to_row, to_plus, plus_row, rows, channels, filled, OUT: tl.constexpr, MORE: tl.constexpr,
              PARTS: tl.constexpr, ALIGN: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr):  # fmt: skip
    r, c = block(WIDE, ROWS)
    x_row, out_row, g_row, last_row = (
        aligned(x_row, ALIGN), aligned(out_row, ALIGN), aligned(g_row, ALIGN), aligned(last_row, ALIGN)
    )  # fmt: skip
    more_row, to_row, plus_row = aligned(more_row, ALIGN), aligned(to_row, ALIGN), aligned(plus_row, ALIGN)
    channels = aligned(channels, ALIGN)
    there, place = c < channels, tl.program_id(2) * channels + c
    inside = (r < rows)[:, None] & there[None, :]
    normal, value, slope = _normal(x, x_row, found, weight, shift, r, place, inside, there, PARTS * channels)
    grad = _gradient(value, out, out_row, g, g1, g2, g3, g_row, last_row, more, more_row, r, c, inside, OUT, MORE,
                     PARTS)  # fmt: skip
    if OUT:
        write(to_plus, plus_row, r, c, inside, grad)
    by_weight = tl.load(sums + place, there, 0.0) / rows
    by_shift = tl.load(sums + PARTS * channels + place, there, 0.0) / rows
    grad = (grad - by_shift[None, :] - normal * by_weight[None, :]) * slope[None, :]
    written = (r < rows)[:, None] & (c < aligned(filled, ALIGN))[None, :]
    write(to_x, to_row, r, place, written, tl.where(inside, grad, 0.0))


def statistics(x: Tensor, norm: Any, channels: int, bias: Tensor | None = None) -> Seen:
    """Of the first `channels` of x, entered into the running ones of `norm` as those of x + bias (C,)."""
    found = torch.empty(2, channels, dtype=torch.float32, device=x.device)
    rows = x.numel() // x.shape[1]
    programs = grid(rows, channels)
    with torch.cuda.device_of(x):
        _statistics[programs](
            x, row(x), bias, norm.running_mean, norm.running_var, norm.num_batches_tracked, found,
            *_left(programs, channels, x.device), rows, channels, norm.momentum, norm.eps, BIAS=bias is not None,
            ROWS=SUMMED, **constants_of(channels, x),
        )  # fmt: skip
    return Seen(found, norm.weight.detach(), norm.bias.detach())


def forward(
    x: Tensor, seen: Seen, out: Parts, plus: Tensor | None = None, carry: Tensor | None = None
) -> Tensor | None:
    """Write `out`; returns `carried`, of the shape of carry, if that is given."""
    rows, parts = x.numel() // x.shape[1], len(out.maps)
    carried = None if carry is None else torch.empty_like(carry)
    with torch.cuda.device_of(x):
        _forward[grid(rows, out.channels, parts, once=True)](
            x, row(x), *seen, plus, row(plus), carry, row(carry), *out.pointers, *out.rows, carried, row(carried),
            rows, out.channels, PLUS=plus is not None, CARRY=carry is not None, PARTS=parts, ROWS=ROWS,
            **constants_of(out.channels, x, *out.maps, plus, carry),
        )  # fmt: skip
    return carried


def backward(
    x: Tensor, seen: Seen, g: Parts, more: Tensor | None = None, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of x (zeros where its rows are longer than `channels`), of weight and shift (2, C), and of plus.

    g, and more: what reaches `out` and `carried`. out: what was written, if something was added to it.
    """
    rows, parts, total = x.numel() // x.shape[1], len(g.maps), seen.weight.numel()
    sums = torch.empty(2, total, dtype=torch.float32, device=x.device)
    to_x, to_plus = torch.empty_like(x), None if out is None else torch.empty_like(out)
    inputs = (x, row(x), *seen, out, row(out), *g.pointers, *g.rows, more, row(more), sums)
    constants = {"OUT": out is not None, "MORE": more is not None, "PARTS": parts}
    constants |= constants_of(g.channels, x, *g.maps, more, out)
    filled = x.shape[1] if parts == 1 else g.channels
    programs = grid(rows, g.channels, parts)
    with torch.cuda.device_of(x):
        _sums[programs](*inputs, *_left(programs, total, x.device), rows, g.channels, ROWS=SUMMED, **constants)
        _backward[grid(rows, g.channels, parts, once=True)](
            *inputs, to_x, row(to_x), to_plus, row(to_plus), rows, g.channels, filled, ROWS=ROWS, **constants
        )
    return to_x, sums, to_plus


def _left(programs: tuple[int, int, int], channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the programs leave their sums, and the counters of how many have."""
    return torch.empty(programs[0], 2, channels, dtype=torch.float32, device=device), _counters(device)


@cache
def _counters(device: torch.device) -> Tensor:
    """Zeros; the last program to count has them so again. One stream at a time uses them."""
    return torch.zeros(COUNTERS, dtype=torch.int32, device=device)
