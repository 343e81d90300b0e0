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

from metrics import inputs
from metrics.gpu import kernels_for

LEVELS = 256
MOST_PIXELS = 2**24  # OpenCV counts in float32, exact up to here


class Summary(NamedTuple):
    """N images; counts are float64, the last axis of `cells` and of the counts is (background, foreground)."""

    background: Tensor  # (N, 256) pixels by bin floor(255 p)
    foreground: Tensor  # (N, 256)
    cells: Tensor  # (N, 3, 4, 2): sums of 1, p, p^2 in the quadrants about the gt's centroid, rows first
    above_half: Tensor  # (N, 2) pixels with p > 0.5
    from_half: Tensor  # (N, 2) pixels with p >= 0.5
    adaptive: Tensor  # (N, 2) pixels with p >= min(1, 2 mean p)
    beyond: Tensor | None = None  # (N, 2, 256) pixels by how many of the thresholds 0, 1/255 .. 1 they exceed


def bins_of(summary: Summary) -> dict[str, Tensor]:
    """All that curves are made of, counts (N, 256) int32 each: 2 KB an image where the curves take seven times that."""
    kept = {"background": summary.background, "foreground": summary.foreground}
    if summary.beyond is not None:
        kept |= {"beyond background": summary.beyond[:, 0], "beyond foreground": summary.beyond[:, 1]}
    return {name: counts.to(torch.int32) for name, counts in kept.items()}


def from_bins(bins: dict[str, Tensor]) -> Summary:
    """A Summary that is good for curves, from `bins_of`; it has the sizes of gt and background, NaN for the rest."""
    kept = {name: counts.double() for name, counts in bins.items()}
    beyond = [kept[f"beyond {side}"] for side in ("background", "foreground") if f"beyond {side}" in kept]
    sizes = torch.stack([kept["background"].sum(1), kept["foreground"].sum(1)], 1)
    unknown = torch.full_like(sizes, torch.nan)
    cells = torch.stack([sizes, unknown, unknown], 1)[:, :, None]  # of one quadrant
    return Summary(
        *(kept["background"], kept["foreground"], cells, unknown, unknown, unknown),
        torch.stack(beyond, 1) if beyond else None,
    )


def centroid(gt: Tensor, half_up: bool) -> Tensor:
    """(N, 2) int64: rows and columns in the first quadrant, one more than the rounded centroid of gt (N, H, W) bool.

    Halves are rounded to even as Python does (official), or up as MATLAB does for positive numbers (pranet).
    An empty gt gives (1, 1): S has its own rule for it.
    """
    if inputs.on_cpu(gt):
        mean = torch.from_numpy(np.array([_middle(mask) for mask in gt.view(torch.uint8).numpy()]))
    else:
        mean = torch.stack([_mean_place(gt.sum(axis).double()) for axis in (2, 1)], 1)
    return (torch.floor(mean + 0.5) if half_up else torch.round(mean)).long() + 1


def _middle(mask: np.ndarray) -> list[float]:
    """Mean row and column of the ones of a mask (H, W) uint8; 0 if there is none. Whole sums: exact but for a division.

    In numpy: on so few numbers most of PyTorch's time is its calls.
    """
    sums = [cv2.reduce(mask, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (1, 0)]
    size = max(1, int(sums[0].sum()))
    # int64: numpy's own may have 32 bits, and a large mask's sum more
    return [int(of_lines @ np.arange(len(of_lines), dtype=np.int64)) / size for of_lines in sums]


def _mean_place(counts: Tensor) -> Tensor:
    """(N,) float64: the mean index of what is counted, counts (N, length) float64."""
    position = torch.arange(counts.shape[1], device=counts.device, dtype=torch.float64)
    return (counts * position).sum(1) / counts.sum(1).clamp(min=1)


def count_levels(pred: np.ndarray, gt: np.ndarray, centre: list[int], within: np.ndarray | None = None) -> np.ndarray:
    """(4, 2, 256) pixels by quadrant, gt and level of one map: pred (H, W) uint8, gt (H, W) uint8 0 or 1.

    within (H, W) uint8 0 or 1: the field of view, of which gt is a part; None counts every pixel.
    """
    y, x = centre
    counts = np.zeros((4, 2, LEVELS))
    for i, quadrant in enumerate((np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:])):
        p, g = pred[quadrant], gt[quadrant]
        all_of_it = None if within is None else within[quadrant]
        rows = max(1, MOST_PIXELS // max(1, p.shape[1]))
        for start in range(0, p.shape[0] if p.shape[1] else 0, rows):
            part, mask = p[start : start + rows], g[start : start + rows]
            field = None if all_of_it is None else all_of_it[start : start + rows]
            inside = cv2.calcHist([part], [0], mask, [LEVELS], [0, LEVELS]).ravel()
            counts[i, 1] += inside
            counts[i, 0] += cv2.calcHist([part], [0], field, [LEVELS], [0, LEVELS]).ravel() - inside
    return counts


def count_levels_batch(pred: Tensor, gt: Tensor, centre: Tensor, within: Tensor | None = None) -> Tensor:
    """(N, 4, 2, 256) as `count_levels`, for pred (N, H, W) uint8 and gt bool on any device, without waiting for it."""
    height, width = pred.shape[1:]
    lower = torch.arange(height, device=pred.device)[None, :, None] >= centre[:, 0, None, None]
    right = torch.arange(width, device=pred.device)[None, None, :] >= centre[:, 1, None, None]
    index = 4 * LEVELS * lower.short() + 2 * LEVELS * right.short()
    index.add_(gt, alpha=LEVELS).add_(pred)
    return tally(index, 8 * LEVELS, within).view(-1, 4, 2, LEVELS).double()


def tally(index: Tensor, bins: int, within: Tensor | None = None) -> Tensor:
    """(N, bins) whole numbers: how often each number below `bins` occurs in index (N, H, W) int16, where it counts."""
    index = index if within is None else torch.where(within, index, -1)
    kernels = kernels_for(index)
    if kernels is not None:
        return kernels.tally(index, bins)
    counts = torch.zeros(len(index) * bins, dtype=torch.int32, device=index.device)
    place = torch.arange(len(index), device=index.device)[:, None, None] * bins + index.clamp(min=0)
    # not bincount: it asks the device for the largest index, and waits
    counts.scatter_add_(0, place.flatten(), (index >= 0).flatten().int())
    return counts.view(-1, bins)


def from_levels(counts: Tensor, constant: str, strict: bool = False) -> Summary:
    """Summary of 8-bit maps from their counts (N, 4, 2, 256); see `stretch` for `constant`. strict: with `beyond`."""
    per_class = counts.sum(1)  # (N, 2, 256)
    present = per_class.sum(1) > 0
    level = torch.arange(LEVELS, device=counts.device).expand_as(present)
    low = torch.where(present, level, LEVELS).amin(1, keepdim=True)
    high = torch.where(present, level, -1).amax(1, keepdim=True)
    offset, r = stretch(low, high, constant)
    v = torch.where(present, level - offset, 0)  # levels that do not occur: anything in range
    bins = toolbox_bins(level, low, high) if constant == "one" else torch.div(255 * v, r, rounding_mode="floor")

    def regrouped(bins: Tensor) -> Tensor:
        return torch.zeros_like(per_class).scatter_add_(2, bins[:, None].expand_as(per_class), per_class)

    binned = regrouped(bins)
    beyond = regrouped(toolbox_bins(level, low, high, strict=True)) if strict else None
    p = v.double() / r
    cells = torch.stack([counts.sum(3), (counts * p[:, None, None]).sum(3), (counts * p[:, None, None] ** 2).sum(3)], 1)
    size = per_class.sum((1, 2))[:, None].long()
    total = (present * v * per_class.sum(1).long()).sum(1, keepdim=True)

    def count(kept: Tensor) -> Tensor:
        return (per_class * kept[:, None]).sum(2)

    adaptive = (v * size >= 2 * total) | (v >= r)
    halves = count(2 * v > r), count(2 * v >= r)
    return Summary(binned[:, 0], binned[:, 1], cells, *halves, count(adaptive), beyond)


def to_levels(pred: Tensor) -> Tensor:
    """Grey levels 0..255, float64, of a float map in [0, 1]; those of an 8-bit map that was divided by 255 are whole.

    float32 holds k / 255 to 1e-5 levels; without rounding, such a k would fall on either side of its own threshold.
    """
    level = pred.double() * 255
    whole = level.round()
    return torch.where((level - whole).abs() < 1e-5, whole, level)


def from_pixels(
    level: Tensor, gt: Tensor, centre: Tensor, constant: str, strict: bool = False, within: Tensor | None = None
) -> Summary:
    """Summary of float maps: level (N, H, W) from `to_levels`, gt (N, H, W) bool, on any device, without waiting.

    within (N, H, W) bool: the field of view, of which gt is a part; outside of it a level is one that occurs inside.
    """
    height, width = level.shape[1:]
    low, high = level.amin((1, 2), keepdim=True), level.amax((1, 2), keepdim=True)
    offset, r = stretch(low, high, constant)
    v = level - offset
    p = v / r
    if constant == "one":
        bins = toolbox_bins(level, low, high)
    else:
        bins = torch.floor(255 * v / r).nan_to_num().long().clamp(0, 255)
    counted = torch.ones((), dtype=torch.float64, device=level.device).expand(level.shape)
    counted = counted if within is None else within.double()

    def grouped(bins: Tensor) -> Tensor:
        return tally(bins.short().add_(gt, alpha=LEVELS), 2 * LEVELS, within).view(-1, 2, LEVELS).double()

    binned = grouped(bins)
    beyond = grouped(toolbox_bins(level, low, high, strict=True)) if strict else None

    # sums over quadrants are two matrix products: (N, 2, H) row halves x map x (N, W, 2) column halves
    rows = torch.arange(height, device=level.device) >= centre[:, :1]
    columns = torch.arange(width, device=level.device) >= centre[:, 1:]
    rows, columns = (torch.stack([~half, half], 1).double() for half in (rows, columns))
    classes = torch.stack([~gt, gt], 1) * counted[:, None]  # (N, 2, H, W)
    cells = torch.stack(
        [
            (rows[:, None] @ (classes * power[:, None]) @ columns[:, None].mT).flatten(2).mT
            for power in (torch.ones_like(p), p, p * p)
        ],
        1,
    )

    def count(kept: Tensor) -> Tensor:
        return (classes * kept[:, None]).sum((2, 3))

    size = counted.sum((1, 2), keepdim=True)
    adaptive = (v * size >= 2 * (v * counted).sum((1, 2), keepdim=True)) | (v >= r)
    halves = count(2 * v > r), count(2 * v >= r)
    return Summary(binned[:, 0], binned[:, 1], cells, *halves, count(adaptive), beyond)


def toolbox_bins(level: Tensor, low: Tensor, high: Tensor, strict: bool = False) -> Tensor:
    """How many of the thresholds 1/255 .. 1 each level reaches in PraNet's toolbox, rounding for rounding.

    strict: how many of 0, 1/255 .. 1 it exceeds. The toolbox compares doubles: a level that should equal a threshold
    misses it by an ulp now and then. On CUDA a tensor divided by a Python number is multiplied by its reciprocal, which
    rounds otherwise; hence the tensor.
    """
    whole = torch.full((), 255, dtype=torch.float64, device=level.device)
    k, low, high = (x.double() / whole for x in (level, low, high))
    p = torch.where(high == low, (k > 0).double(), (k - low) / (high - low)).clamp(0, 1)
    # MATLAB builds 1:-1/255:0 from both ends
    step = torch.arange(LEVELS, device=level.device, dtype=torch.float64)
    threshold = torch.where(step < LEVELS // 2, step * (1 / 255), 1 + (255 - step) * (-1 / 255))
    return torch.bucketize(p, threshold) if strict else torch.bucketize(p, threshold[1:], right=True)


def stretch(low: Tensor, high: Tensor, constant: str) -> tuple[Tensor, Tensor]:
    """(offset, span) with p = (k - offset) / span: the levels k of a map stretched from [low, high] to [0, 1].

    A constant map: "full" divides by 255 (official), "one" makes 1 of all but 0 (mat2gray, pranet). "raw": no map is
    stretched, p is the level / 255.
    """
    if constant == "raw":
        return torch.zeros_like(low), torch.full_like(high, 255)
    flat = high == low
    start = torch.zeros_like(low) if constant == "full" else torch.where(low > 0, low - 255, 0)
    return torch.where(flat, start, low), torch.where(flat, 255, high - low)
