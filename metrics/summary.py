"""What every score but the weighted F is made of: two histograms, twelve moments and three counts per image.

Notation: a map is stretched to p = v / r in [0, 1], v = k - min and r = max - min of its levels k. A constant map has
no stretch; the protocols differ in what they make of it. For 8-bit maps v and r are integers, so that every comparison
with a threshold is exact.
"""

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

LEVELS = 256
ROUNDING = 1e-9
MOST_PIXELS = 2**24  # OpenCV counts in float32, exact up to here


class Summary(NamedTuple):
    """N images; counts are float64, the last axis of `cells` and of the counts is (background, foreground)."""

    background: Tensor  # (N, 256) pixels by bin floor(255 p)
    foreground: Tensor  # (N, 256)
    cells: Tensor  # (N, 3, 4, 2): sums of 1, p, p^2 in the quadrants about the gt's centroid, rows first
    above_half: Tensor  # (N, 2) pixels with p > 0.5
    from_half: Tensor  # (N, 2) pixels with p >= 0.5
    adaptive: Tensor  # (N, 2) pixels with p >= min(1, 2 mean p)


def centroid(gt: Tensor, half_up: bool) -> Tensor:
    """(N, 2) int64: rows and columns in the first quadrant, one more than the rounded centroid of gt (N, H, W) bool.

    Halves are rounded to even as Python does (official), or up as MATLAB does for positive numbers (pranet).
    An empty gt gives (1, 1): S has its own rule for it.
    """
    count = gt.sum((1, 2)).clamp(min=1)
    centre = []
    for axis, length in ((2, gt.shape[1]), (1, gt.shape[2])):
        position = torch.arange(length, device=gt.device, dtype=torch.float64)
        mean = (gt.sum(axis).double() * position).sum(1) / count
        centre.append(torch.floor(mean + 0.5) if half_up else torch.round(mean))
    return torch.stack(centre, 1).long() + 1


def count_levels(pred: np.ndarray, gt: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(4, 2, 256) pixels by quadrant, gt and level of one map: pred (H, W) uint8, gt (H, W) uint8 0 or 1."""
    y, x = centre
    counts = np.zeros((4, 2, LEVELS))
    for i, quadrant in enumerate((np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:])):
        p, g = pred[quadrant], gt[quadrant]
        rows = max(1, MOST_PIXELS // max(1, p.shape[1]))
        for start in range(0, p.shape[0] if p.shape[1] else 0, rows):
            part = np.ascontiguousarray(p[start : start + rows])
            mask = np.ascontiguousarray(g[start : start + rows])
            inside = cv2.calcHist([part], [0], mask, [LEVELS], [0, LEVELS])[:, 0]
            counts[i, 1] += inside
            counts[i, 0] += cv2.calcHist([part], [0], None, [LEVELS], [0, LEVELS])[:, 0] - inside
    return counts


def count_levels_batch(pred: Tensor, gt: Tensor, centre: Tensor) -> Tensor:
    """(N, 4, 2, 256) as `count_levels`, for pred (N, H, W) uint8 and gt bool on any device, without waiting for it."""
    n, height, width = pred.shape
    lower = torch.arange(height, device=pred.device)[None, :, None] >= centre[:, 0, None, None]
    right = torch.arange(width, device=pred.device)[None, None, :] >= centre[:, 1, None, None]
    image = torch.arange(n, device=pred.device)[:, None, None]
    index = (((image * 2 + lower) * 2 + right) * 2 + gt) * LEVELS + pred
    counts = torch.zeros(n * 8 * LEVELS, dtype=torch.int64, device=pred.device)
    # not bincount: it asks the device for the largest index, and waits
    counts.scatter_add_(0, index.flatten(), torch.ones((), dtype=torch.int64, device=pred.device).expand(index.numel()))
    return counts.view(n, 4, 2, LEVELS).double()


def from_levels(counts: Tensor, constant: str) -> Summary:
    """Summary of 8-bit maps from their counts (N, 4, 2, 256); see `stretch` for `constant`."""
    per_class = counts.sum(1)  # (N, 2, 256)
    present = per_class.sum(1) > 0
    level = torch.arange(LEVELS, device=counts.device).expand_as(present)
    low = torch.where(present, level, LEVELS).amin(1, keepdim=True)
    high = torch.where(present, level, -1).amax(1, keepdim=True)
    v, r = (x.long() for x in stretch(level, low, high, 255, constant))
    v = torch.where(present, v, 0)  # levels that do not occur: anything in range
    if constant == "one":
        k, least, most = (x.double() / 255 for x in (level, low, high))  # the toolbox's own order of rounding
        bins = toolbox_bins(*stretch(k, least, most, 1, constant))
    else:
        bins = torch.div(255 * v, r, rounding_mode="floor")
    binned = torch.zeros_like(per_class).scatter_add_(2, bins[:, None].expand_as(per_class), per_class)
    p = (v.double() / r)[:, None, None]
    cells = torch.stack([counts.sum(3), (counts * p).sum(3), (counts * p**2).sum(3)], 1)
    pixels = per_class.sum(1).long()
    total, size = (v * pixels).sum(1, keepdim=True), pixels.sum(1, keepdim=True)

    def count(kept: Tensor) -> Tensor:
        return (per_class * kept[:, None]).sum(2)

    adaptive = (v * size >= 2 * total) | (v >= r)
    return Summary(binned[:, 0], binned[:, 1], cells, count(2 * v > r), count(2 * v >= r), count(adaptive))


def from_pixels(pred: Tensor, gt: Tensor, centre: Tensor, constant: str) -> Summary:
    """Summary of float maps: pred (N, H, W) float64 in [0, 1], gt (N, H, W) bool, on any device, without waiting.

    Comparisons allow for rounding, so that the float copy of an 8-bit map (see `snap`) scores as that map.
    """
    n, height, width = pred.shape
    low, high = pred.amin((1, 2), keepdim=True), pred.amax((1, 2), keepdim=True)
    v, r = stretch(pred, low, high, 1, constant)
    p = v / r
    bins = toolbox_bins(v, r) if constant == "one" else torch.floor(255 * p + ROUNDING).long()
    image = torch.arange(n, device=pred.device)[:, None, None]
    index = ((image * 2 + gt) * LEVELS + bins.clamp(0, 255)).flatten()
    binned = torch.zeros(n * 2 * LEVELS, dtype=torch.float64, device=pred.device)
    binned.scatter_add_(0, index, torch.ones((), dtype=torch.float64, device=pred.device).expand(index.numel()))
    binned = binned.view(n, 2, LEVELS)

    # sums over quadrants are two matrix products: (N, 2, H) row halves x map x (N, W, 2) column halves
    rows = torch.arange(height, device=pred.device) >= centre[:, :1]
    columns = torch.arange(width, device=pred.device) >= centre[:, 1:]
    rows, columns = (torch.stack([~half, half], 1).double() for half in (rows, columns))
    classes = torch.stack([~gt, gt], 1).double()  # (N, 2, H, W)
    powers = (classes, classes * p[:, None], classes * (p * p)[:, None])
    cells = torch.stack([(rows[:, None] @ x @ columns[:, None].mT).flatten(2).mT for x in powers], 1)

    def count(kept: Tensor) -> Tensor:
        return (classes * kept[:, None]).sum((2, 3))

    adaptive = p >= (2 * p.mean((1, 2), keepdim=True)).clamp(max=1) - ROUNDING
    above, from_ = p > 0.5 + ROUNDING, p >= 0.5 - ROUNDING
    return Summary(binned[:, 0], binned[:, 1], cells, count(above), count(from_), count(adaptive))


def snap(pred: Tensor) -> Tensor:
    """float64, with values within 4e-7 of k / 255 put there: float32 copies of 8-bit maps become exact again."""
    level = (255 * pred.double()).round()
    return torch.where((255 * pred.double() - level).abs() < 1e-4, level / 255, pred.double())


def toolbox_bins(v: Tensor, r: Tensor) -> Tensor:
    """How many of the thresholds 1/255 .. 1 each v / r (float64) reaches in PraNet's toolbox, rounding for rounding.

    It compares doubles: a level that should equal a threshold misses it by an ulp now and then.
    """
    threshold = 1 + torch.arange(254, -1, -1, device=v.device, dtype=torch.float64) * (-1 / 255)
    return torch.bucketize((v.double() / r.double()).contiguous(), threshold, right=True)


def stretch(k: Tensor, low: Tensor, high: Tensor, full: int, constant: str) -> tuple[Tensor, Tensor]:
    """(v, r) with p = v / r: the levels k of a map stretched from [low, high] to [0, 1].

    A constant map: "full" divides by the full scale `full` (official), "one" makes 1 of all but 0 (mat2gray, pranet).
    """
    flat = high == low
    value = k if constant == "full" else (k > 0) * full
    return torch.where(flat, value.to(k.dtype), k - low), torch.where(flat, full, high - low)
