"""Maps as rows, one per pixel, whose channels lie side by side: what kernels over them have in common.

A program takes a block of rows and of channels, and computes in float32, whatever the dtype.
"""

# mypy: disallow-untyped-defs=False

from math import gcd

import triton
import triton.language as tl
from torch import Tensor

from fused import row

ROWS, SUMMED = 64, 128  # of a program that writes each, and of one that adds them up
PROGRAMS = 264  # two for each multiprocessor of a large GPU


@triton.jit
def block(WIDE: tl.constexpr, ROWS: tl.constexpr):
    """Of this program: its rows (ROWS,) and its channels (WIDE,) of a part."""
    return tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(1) * WIDE + tl.arange(0, WIDE)


@triton.jit
def aligned(length, ALIGN: tl.constexpr):
    """The same length, known to the compiler as a multiple of ALIGN: numbers are then moved so many at a time."""
    return length // ALIGN * ALIGN


@triton.jit
def read(x, row, r, c, inside):
    return tl.load(x + r[:, None] * row + c[None, :], inside, 0.0).to(tl.float32)


@triton.jit
def write(x, row, r, c, inside, value):
    tl.store(x + r[:, None] * row + c[None, :], value.to(x.dtype.element_ty), inside)


def wide(channels: int) -> int:
    return 32 if channels <= 32 else 64


def grid(rows: int, channels: int, parts: int = 1, once: bool = False) -> tuple[int, int, int]:
    """Blocks of rows and of channels, and parts. once: each program takes one block; else several, and adds them up."""
    blocks, across = triton.cdiv(rows, ROWS if once else SUMMED), triton.cdiv(channels, wide(channels))
    return (blocks if once else min(blocks, max(1, PROGRAMS // (across * parts)))), across, parts


def constants_of(channels: int, *maps: Tensor | None) -> dict[str, int]:
    lengths = [row(x) for x in maps if x is not None]
    assert all(lengths), "a map that does not lie in rows"
    align = gcd(8, channels, *lengths)
    return {"WIDE": wide(channels), "ALIGN": align, "num_warps": wide(channels) // 8}
