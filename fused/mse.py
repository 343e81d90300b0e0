"""Mean squared difference of two maps of any float dtype, read once and squared in float32."""

# mypy: disallow-untyped-defs=False

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096
PROGRAMS = 1024  # several for each multiprocessor of a large GPU; so many partial sums at most


@triton.jit
def _squares(x, y, partial, size, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    step = tl.num_programs(0).to(tl.int64) * BLOCK
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(first, size, step):
        i = start + tl.arange(0, BLOCK)
        inside = i < size
        difference = tl.load(x + i, inside, 0.0).to(tl.float32) - tl.load(y + i, inside, 0.0).to(tl.float32)
        total += difference * difference
    tl.store(partial + tl.program_id(0), tl.sum(total, 0))


@triton.jit
def _slope(x, y, grad, out, size, factor, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    difference = tl.load(x + i, inside, 0.0).to(tl.float32) - tl.load(y + i, inside, 0.0).to(tl.float32)
    tl.store(out + i, (tl.load(grad).to(tl.float32) * factor * difference).to(out.dtype.element_ty), inside)


def mean_squared(x: Tensor, y: Tensor) -> Tensor:
    """Scalar float32 of two tensors of one size that lie alike in memory; the same to the bit every time."""
    size = x.numel()
    programs = min(triton.cdiv(size, BLOCK), PROGRAMS)
    partial = torch.empty(programs, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _squares[(programs,)](x, y, partial, size, BLOCK=BLOCK, num_warps=8)
    return partial.sum() / size


def slope(x: Tensor, y: Tensor, grad: Tensor) -> Tensor:
    """Gradient of `mean_squared` for x, where `grad` () is its own."""
    out, size = torch.empty_like(x), x.numel()
    with torch.cuda.device_of(x):
        _slope[(triton.cdiv(size, BLOCK),)](x, y, grad, out, size, 2 / size, BLOCK=BLOCK, num_warps=8)
    return out
