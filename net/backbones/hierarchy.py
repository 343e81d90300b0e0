"""The hierarchy of splits inside a Res2Net block, in training on a GPU: one step of autograd, in few passes.

In PyTorch's operations each split is copied out of a wider map and its result into another, forward and backward, and
a width of 26 or 52 is filled up to a multiple of 8 by each convolution anew. Here a split lies by itself from the start
and is that wide already.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from net.backbones.pool import empty
from net.normed import hooked, usable

MULTIPLE = 8  # channels that a GPU's matrix units take at a time


def takes(x: Tensor, convs: Iterable[nn.Module], norms: Sequence[nn.Module], stride: int) -> bool:
    """Whether `hierarchy` can take these."""
    left = x[:, :1, ::stride, ::stride].numel()  # of one value there is no variance, and PyTorch says so
    return left > 1 and all(usable(x, norm) for norm in norms) and not any(map(hooked, convs))


def hierarchy(x: Tensor, convs: Iterable[Any], norms: Sequence[nn.Module], stride: int, carries: bool) -> Tensor:
    """What a block's last convolution takes: x (N, splits * width, H, W) through `convs`, at their stride.

    norms: of x, then of what each convolution gives. carries: each split has the one before added, and the last is
    passed on as it is; otherwise it is pooled.
    """
    weights = [conv.weight for conv in convs]
    affine = [weight for norm in norms for weight in (norm.weight, norm.bias)]
    return _Hierarchy.apply(x, norms, stride, carries, *weights, *affine)


class _Hierarchy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norms: Any, stride: int, carries: bool, *weights: Tensor) -> Tensor:
        from fused.average import average  # here: Triton is not everywhere
        from fused.norm import Parts, forward, statistics

        kernels = [_filled(weight.to(x.dtype)) for weight in weights[: len(norms) - 1]]
        channels, (height, width) = x.shape[1], x.shape[2:]
        part = channels // len(norms)
        splits = [empty(x, (len(x), len(kernel), height, width)) for kernel in kernels]
        out = empty(x, (len(x), channels, -(-height // stride), -(-width // stride)))
        *places, last = out.split(part, 1)
        rest = last if carries else empty(x, (len(x), part, height, width))
        seen = [statistics(x, norms[0], channels)]
        forward(x, seen[0], Parts(part, (*splits, rest)))
        if not carries:
            average(rest, last, 3, stride, 1)

        taken, given = splits[:1], []
        for i, (kernel, norm, place) in enumerate(zip(kernels, norms[1:], places, strict=True)):
            given.append(_last(torch.conv2d(taken[i], kernel, stride=stride, padding=1)))
            seen.append(statistics(given[i], norm, part))
            after = splits[i + 1 : i + 2]
            carried = forward(given[i], seen[-1], Parts(part, (place,)), carry=after[0] if carries and after else None)
            taken += after if carried is None else [carried]
        ctx.stride, ctx.carries, ctx.count = stride, carries, len(kernels)
        ctx.save_for_backward(x, *kernels, *taken, *given, *itertools.chain(*seen))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        from fused.average import spread
        from fused.norm import Parts, Seen, backward

        x, *kept = ctx.saved_tensors
        kernels, taken, given = (kept[i * ctx.count : (i + 1) * ctx.count] for i in range(3))
        of_x, *seen = (Seen(*found) for found in zip(*[iter(kept[3 * ctx.count :])] * 3, strict=True))
        part, stride = x.shape[1] // (ctx.count + 1), [ctx.stride] * 2
        *to_places, to_rest = _last(g).split(part, 1)
        to_taken: list[Tensor] = []
        to_weights: list[Tensor] = []
        to_affine: list[Tensor] = []
        for i in reversed(range(ctx.count)):
            more = to_taken[0] if ctx.carries and to_taken else None
            to_given, affine, _ = backward(given[i], seen[i], Parts(part, (to_places[i],)), more)
            to_split, to_kernel, _ = torch.ops.aten.convolution_backward(
                to_given, taken[i], kernels[i], None, stride, [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            )
            to_taken = [_last(to_split), *to_taken]
            to_weights = [_last(to_kernel[:part, :part]), *to_weights]
            to_affine = [*affine, *to_affine]
        if not ctx.carries:
            to_rest = spread(to_rest, empty(x, (len(x), part, *x.shape[2:])), 3, ctx.stride, 1)
        to_x, affine, _ = backward(x, of_x, Parts(part, (*to_taken, to_rest)))
        return to_x, None, None, None, *to_weights, *affine, *to_affine


def _filled(kernel: Tensor) -> Tensor:
    """A kernel (width, width, 3, 3) with zeros up to the next multiple."""
    more = -len(kernel) % MULTIPLE
    return _last(F.pad(kernel, (0, 0, 0, 0, 0, more, 0, more)) if more else kernel)


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
