"""What a protocol reads of maps and gts before it scores them: counts by grey level, and the one spatial score."""

import numpy as np
import torch
from torch import Tensor

from metrics import inputs
from metrics.inputs import foreground
from metrics.protocol import Protocol
from metrics.summary import (
    Summary,
    centroid,
    count_levels,
    count_levels_batch,
    from_pixels,
    to_levels,
)


def count(rules: Protocol, pred: Tensor, gt: Tensor, within: Tensor | None = None) -> tuple[Tensor | Summary, Tensor]:
    """Counts by level (8-bit maps) or their summary (floats), and the spatial score (N,), of pred and gt (N, H, W)."""
    inside = foreground(gt, rules.gt_cut)
    pred = to_levels(pred) if pred.is_floating_point() else pred
    if within is not None:
        # outside, the gt is background and the map has its lowest level inside: no score but a count would notice
        inside = inside & within
        pred = torch.where(within, pred, torch.where(within, pred, 255).amin((1, 2), keepdim=True))
    centre = centroid(inside, rules.half_up)
    spatial = _spatial(rules, pred, inside, within)
    if pred.is_floating_point():
        return from_pixels(pred, inside, centre, rules.stretch, rules.strict, within), spatial
    if not inputs.on_cpu(pred):
        return count_levels_batch(pred, inside, centre, within), spatial
    fields = [None] * len(pred) if within is None else within.view(torch.uint8).numpy()
    images = zip(pred.numpy(), inside.view(torch.uint8).numpy(), centre.tolist(), fields, strict=True)
    return torch.from_numpy(np.stack([count_levels(*image) for image in images])), spatial


def _spatial(rules: Protocol, pred: Tensor, inside: Tensor, within: Tensor | None) -> Tensor:
    """(N,) float64: the one score that a summary cannot give; where there is none, zeros that nobody reads."""
    for score in rules.spatial.values():
        return score(pred, inside, within)
    return torch.zeros(len(pred), dtype=torch.float64, device=pred.device)
