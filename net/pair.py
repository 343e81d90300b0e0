"""The steps of `net.compare` in PyTorch's operations, for any device and dtype; `fused.pair` has them as kernels."""

import torch
from torch import Tensor

from net.blocks import at_least_float32


def channel_sums(a: Tensor, b: Tensor) -> Tensor:
    """(2 N, 1, *space): the sums over the channels of a, then of b, in float32 at least."""
    # float32 even under autocast: the sum of 64 x 25 activations overflows float16
    return torch.cat([x.sum(1, keepdim=True, dtype=at_least_float32(x.dtype)) for x in (a, b)])


def compared(a: Tensor, b: Tensor, maps: Tensor, affine: Tensor) -> tuple[Tensor, ...]:
    """|a - b| + the sum over views of |relu(n(a) w + s) - relu(n(b) w + s)|, and those ReLUs for the way back.

    maps (views, 2, N, 1, *space): n(a) and n(b) of each view; affine (2, views, C): each w, then each s.
    """
    out, seen = (a - b).abs_(), []
    for pair, w, s in zip(maps, *_wide(affine, a)):
        of_a, of_b = (torch.addcmul(s, n, w).relu_().to(a.dtype) for n in pair)
        out += (of_a - of_b).abs_()
        seen += [of_a, of_b]
    return out.to(b.dtype), *seen


def view_gradients(g: Tensor, maps: Tensor, affine: Tensor, *seen: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of maps and affine, where g is that of out and `seen` what `compared` kept."""
    maps, affine = (x.to(at_least_float32(x.dtype)) for x in (maps, affine))
    to_maps, to_affine = [], []
    for pair, w, of_a, of_b in zip(maps, affine[0], seen[::2], seen[1::2]):
        slope = (of_a - of_b).sgn_().mul_(g)
        to_a, to_b = (torch.ops.aten.threshold_backward(slope, x, 0) for x in (of_a, of_b))
        # sums over channels, and over all else, are products with this matrix: (2 N pixels, C)
        wide = torch.stack([x.movedim(1, -1) for x in (to_a, to_b.neg_())]).to(w.dtype).view(-1, len(w))
        with torch.autocast(g.device.type, enabled=False):
            to_maps.append(wide @ w)
            to_affine.append(torch.stack((pair.flatten(), torch.ones_like(to_maps[-1]))) @ wide)
    return torch.stack(to_maps).view(maps.shape), torch.stack(to_affine, 1)


def pair_gradients(a: Tensor, b: Tensor, g: Tensor, to_sums: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a and b; to_sums (2 N, 1, *space): what reaches their channel sums through the views."""
    by_a, by_b = to_sums.to(a.dtype).chunk(2)
    to_a = (a - b).sgn_().mul_(g)
    to_b = by_b - to_a
    return to_a.add_(by_a), to_b.to(b.dtype)


def _wide(affine: Tensor, x: Tensor) -> Tensor:
    """(2, views, C) -> (2, views, C, 1, ...), to meet maps (N, 1, *space) in x (N, C, *space)."""
    return affine.view(*affine.shape, *[1] * (x.ndim - 2))
