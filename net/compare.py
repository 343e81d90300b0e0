"""Two maps compared, as they are and through box views [M2SNet, eq. 2]: one step of autograd, in few passes."""

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.nn.functional import all_reduce

import fused
from fused import captured
from net import pair
from net.blocks import LAYERS, BoxView, by_own_statistics, rows, standardised


def compare(a: Tensor, b: Tensor, views: Sequence[nn.Module] = ()) -> Tensor:
    """|a - b| + the sum over views of |view(a) - view(b)|, all (N, C, *space); a view sees a before b.

    What comes back has b's dtype: under autocast a resized map is float32, which the next convolution would cast.
    """
    finer = a.dtype == b.dtype or torch.promote_types(a.dtype, b.dtype) == a.dtype
    if not captured() and finer and a.shape == b.shape and _alike(views):
        kernels = fused.usable(a, b) and fused.few_enough(a)
        if kernels or views:
            return _Compared.apply(a, b, _affine(views), views, kernels)
    difference = (a - b).abs()
    for view in views:
        difference = difference + (view(a) - view(b)).abs()
    return difference.to(b.dtype)


def _alike(views: Sequence[nn.Module]) -> bool:
    """Whether these are box views that differ in their side and their weights alone, as M2SNet's do."""
    norms = [view.norm for view in views if isinstance(view, BoxView)]
    kinds = {(type(norm), norm.training, norm.eps, norm.momentum) for norm in norms}
    return len(norms) == len(views) and len(kinds) <= 1


def _affine(views: Sequence[Any]) -> Tensor | None:
    """(2, views, C): the scales, then the shifts."""
    if not views:
        return None
    scales, shifts = zip(*(view.affine() for view in views))
    return torch.stack(scales + shifts).view(2, len(views), -1)


class _Compared(torch.autograd.Function):
    """Derivatives by hand: of the views' one channel apart, of what is as wide as a and b in few passes.

    The wide steps lie in two modules under the same names: `fused.pair` in Triton, `net.pair` in PyTorch's operations.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, affine: Tensor | None, views: Sequence[Any], kernels: bool) -> Tensor:
        ctx.views, ctx.steps, ctx.count = views, _steps(kernels), None
        maps = scale = None
        wide: tuple[Tensor | None, ...] = ()
        if affine is not None:
            maps = _boxes(ctx.steps.channel_sums(a, b), views)
            wide = maps, affine
            norms = [view.norm for view in views]
            if by_own_statistics(norms[0]):
                flat, scale, ctx.count = standardised(rows(maps, norms[0]), norms)
                maps = flat.view(maps.shape)
                # small numbers, so the operations of a wide map take its dtype; a kernel computes in float32 anyway
                wide = (maps, affine) if kernels else (maps.to(a.dtype), affine.to(a.dtype))
        out, *kept = ctx.steps.compared(a, b, *wide)
        ctx.save_for_backward(a, b, maps, scale, *wide, *kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        a, b, maps, scale, *seen = ctx.saved_tensors
        to_sums = to_affine = None
        g = g if fused.dense(g) else g.contiguous()
        if ctx.views:
            to_maps, to_affine = ctx.steps.view_gradients(g, *seen)
            if scale is not None:
                to_maps, flat = (rows(x, ctx.views[0].norm) for x in (to_maps, maps))
                to_maps = _unstandardised(to_maps, flat, scale, ctx.count).view(maps.shape)
            # a box of zeros outside is its own transpose
            first, *others = (_box_sum(x.flatten(0, 1), view) for x, view in zip(to_maps, ctx.views))
            to_sums = sum(others, start=first)
        to_a, to_b = ctx.steps.pair_gradients(a, b, g, to_sums)
        return to_a, to_b, to_affine, None, None


def _steps(kernels: bool) -> ModuleType:
    """Imported where it is used: Triton is not everywhere."""
    return importlib.import_module("fused.pair") if kernels else pair


def _box_sum(x: Tensor, view: BoxView) -> Tensor:
    return LAYERS[view.dims].box_sum(x, view.kernel)


def _boxes(sums: Tensor, views: Sequence[BoxView]) -> Tensor:
    """(views, 2, N, 1, *space) of sums (2 N, 1, *space)."""
    boxes = torch.stack([_box_sum(sums, view) for view in views])
    return boxes.view(len(views), 2, -1, *sums.shape[1:])


def _unstandardised(g: Tensor, maps: Tensor, scale: Tensor, count: Tensor | int) -> Tensor:
    """Gradient of what `standardised` was given, where g is that of its maps, all (views, rows, n)."""
    means = torch.stack((g.mean(2, keepdim=True), (g * maps).mean(2, keepdim=True)))
    if isinstance(count, Tensor):
        means = all_reduce(means * (g.shape[2] / count))
    return (g - means[0]).addcmul_(maps, means[1], value=-1).mul_(scale)
