"""Weighted F-measure [Margolin et al., "How to evaluate foreground maps?", CVPR 2014, equations 6-12], beta = 1.

The one score that needs to know where pixels are. An error E = |p - g| at a background pixel is seen at the nearest
foreground pixel (Et), smoothed by a 7 x 7 Gaussian (EA) and read at foreground pixels only; so the nearest one matters
within three pixels of the mask, squared distance 18. Farther away only the distance counts, as 2 - 0.5^(d / 5).

Among several nearest pixels the choice shows in the fourth digit. Official takes scipy's: the leftmost, of these the
topmost. PraNet's toolbox takes the one that the sweeps of Octave's bwdist reach first: to the left of the pixel or in
its column, topmost first; else, to its right, bottommost first.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3  # half the Gaussian's side
GAUSSIAN = np.exp(-(np.arange(-REACH, REACH + 1.0) ** 2) / (2 * 5.0**2))
GAUSSIAN /= GAUSSIAN.sum()
FARTHEST = 2 * REACH**2  # squared distance
EPSILON = {"official": 1e-6, "pranet": 2.2e-16}


def _offsets(ties: str) -> list[tuple[int, int]]:
    """(dy, dx) to foreground that may be nearest, in the order in which they are preferred."""

    def preference(dy: int, dx: int) -> tuple[int, int]:
        return (dx, dy) if ties == "official" else (int(dx > 0), dy if dx <= 0 else -dy)

    near = range(-REACH - 1, REACH + 2)  # 4^2 <= FARTHEST < 5^2
    offsets = [(dy, dx) for dy in near for dx in near if 0 < dy * dy + dx * dx <= FARTHEST]
    return sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, *preference(*o)))


OFFSETS = {ties: _offsets(ties) for ties in ("official", "pranet")}


def weighted_f(pred: np.ndarray, gt: np.ndarray, ties: str = "official") -> float:
    """Of one map on the CPU: pred (H, W) float32 or float64 in [0, 1], gt (H, W) bool. An empty gt scores 0."""
    if not gt.any():
        return 0.0
    # a map is mostly zeros far from everything, where nothing can score
    live = _box(gt | (pred > 0))
    pred, gt = pred[live], np.ascontiguousarray(gt[live])
    crop = _box(gt)
    inside, p = gt[crop], pred[crop].astype(np.float64)
    distance = cv2.distanceTransform((~gt).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    ring = np.flatnonzero((distance[crop] > 0) & (distance[crop] < FARTHEST**0.5 + 0.1))
    # the background's p (2 - 0.5^(d / 5)) is summed over the whole map, where the foreground (d = 0) adds p
    decay = cv2.exp(distance * np.float32(np.log(0.5) / 5))
    near = np.einsum("ij,ij->", decay, pred, dtype=np.float64)
    false_positive = 2 * pred.sum(dtype=np.float64) - near - p[inside].sum()

    error = np.where(inside, 1 - p, 0)
    frame = cv2.copyMakeBorder(error, *(REACH + 1,) * 4, cv2.BORDER_CONSTANT, value=-1)
    frame[REACH + 1 : -REACH - 1, REACH + 1 : -REACH - 1][~inside] = -1  # no foreground here
    spread, source = error.copy(), frame.ravel()
    width = frame.shape[1]
    here = ring + (REACH + 1) * (width + 1) + ring // error.shape[1] * (width - error.shape[1])
    for dy, dx in OFFSETS[ties]:
        value = source[here + (dy * width + dx)]
        hit = value >= 0
        spread.flat[ring[hit]] = value[hit]
        ring, here = ring[~hit], here[~hit]
        if not ring.size:
            break
    smooth = cv2.sepFilter2D(spread, cv2.CV_64F, GAUSSIAN, GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    missed = np.minimum(error, smooth)[inside].sum()
    return float(_combine(float(inside.sum()), missed, false_positive, EPSILON[ties]))


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns around what is True, and as far beyond as the Gaussian reaches."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return np.s_[max(0, y - REACH) : y + height + REACH, max(0, x - REACH) : x + width + REACH]


def weighted_f_batch(pred: Tensor, gt: Tensor, ties: str = "official") -> Tensor:
    """(N,) float64: pred (N, H, W) float64 in [0, 1], gt (N, H, W) bool, on any device, without waiting for it."""
    error = (pred - gt.double()).abs()
    spread = nearest_error(error, gt, ties)
    kernel = torch.as_tensor(GAUSSIAN, device=pred.device)
    smooth = F.conv2d(spread[:, None], kernel.view(1, 1, -1, 1), padding=(REACH, 0))
    smooth = F.conv2d(smooth, kernel.view(1, 1, 1, -1), padding=(0, REACH))[:, 0]
    missed = (torch.minimum(error, smooth) * gt).sum((1, 2))
    weight = 2 - torch.exp(torch.sqrt(squared_distance(gt).double()) * (np.log(0.5) / 5))
    false_positive = (error * weight * ~gt).sum((1, 2))
    area = gt.sum((1, 2)).double()
    score = _combine(area.clamp(min=1), missed, false_positive, EPSILON[ties])
    return torch.where(area > 0, score, torch.zeros_like(score))


def _combine(area, missed, false_positive, epsilon):
    """Equations 10-12 from sums over the foreground (its area, its weighted error) and the background."""
    true_positive = area - missed
    recall = 1 - missed / area
    precision = true_positive / (true_positive + false_positive + epsilon)
    return 2 * recall * precision / (recall + precision + epsilon)


def nearest_error(error: Tensor, gt: Tensor, ties: str) -> Tensor:
    """(N, H, W): error at the nearest foreground pixel where one is within reach, else 0."""
    reach = REACH + 1
    frame = (reach,) * 4
    height, width = gt.shape[1:]
    inside, outer = F.pad(gt, frame), F.pad(error * gt, frame)
    spread, found = error * gt, gt.clone()
    for dy, dx in OFFSETS[ties]:
        window = np.s_[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width]
        hit = inside[window] & ~found
        spread = torch.where(hit, outer[window], spread)
        found |= hit
    return spread


def squared_distance(gt: Tensor) -> Tensor:
    """(N, H, W) int64 squared distance to the nearest foreground pixel, exact; some huge number if there is none.

    First along each column by a running maximum of positions, then along rows as a minimum over shifts.
    """
    _, height, width = gt.shape
    far = 2 * (height + width)
    y = torch.arange(height, device=gt.device).view(1, -1, 1).expand_as(gt)
    above = y - torch.where(gt, y, torch.full_like(y, -far)).cummax(1).values
    below = torch.where(gt, y, torch.full_like(y, height + far)).flip(1).cummin(1).values.flip(1) - y
    column = torch.minimum(above, below) ** 2
    nearest = column.clone()
    for shift in range(1, width):
        torch.minimum(nearest[..., shift:], column[..., :-shift] + shift**2, out=nearest[..., shift:])
        torch.minimum(nearest[..., :-shift], column[..., shift:] + shift**2, out=nearest[..., :-shift])
    return nearest
