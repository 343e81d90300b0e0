"""Weighted F-measure [Margolin et al., "How to evaluate foreground maps?", CVPR 2014, equations 6-12], beta = 1.

The one score that needs to know where pixels are. An error E = |p - g| at a background pixel is seen at the nearest
foreground pixel (Et), smoothed by a 7 x 7 Gaussian (EA) and read at foreground pixels only; so the nearest one matters
within three pixels of the mask, squared distance 18. Farther away only the distance counts, as 2 - 0.5^(d / 5).

Among several nearest pixels the choice shows in the fourth digit. Official takes scipy's: the leftmost, of these the
topmost. PraNet's toolbox takes the one that the sweeps of Octave's bwdist reach first: to the left of the pixel or in
its column, topmost first; else, to its right, bottommost first.
"""

from collections.abc import Sequence
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics import inputs
from metrics.gpu import kernels_for
from metrics.nearest import FADED, FARTHEST, OFFSETS, REACH, nearest_error, squared_distance
from metrics.summary import stretch

GAUSSIAN = np.exp(-(np.arange(-REACH, REACH + 1.0) ** 2) / (2 * 5.0**2))
GAUSSIAN /= GAUSSIAN.sum()
DECAY = 0.5 ** (np.sqrt(np.arange(FADED**2 + 1)) / 5)  # by squared distance
STRIP = 2**16  # pixels worked on at once: what they need stays in the cache, and a huge map needs no memory
RING = 2**12  # pixels whose nearest are looked for at once, in the cache too
RADIUS = np.float32(FARTHEST + 0.5) ** np.float32(0.5)  # of the ring they lie in, between two distances of pixels
EPSILON = {"official": 1e-6, "pranet": 2.2e-16}


def _preferred(ties: str) -> np.ndarray:
    """(2, FARTHEST + 1, most) dy and dx to foreground at each squared distance as preferred, the last one repeated."""
    at = [[o for o in OFFSETS[ties] if o[0] ** 2 + o[1] ** 2 == squared] or [(0, 0)] for squared in range(FARTHEST + 1)]
    most = max(map(len, at))
    return np.moveaxis(np.array([offsets + offsets[-1:] * (most - len(offsets)) for offsets in at]), 2, 0)


PREFERRED = {ties: _preferred(ties) for ties in OFFSETS}


def weighted_f_of_maps(pred: Tensor, gt: Tensor, within: Tensor | None, constant: str, ties: str) -> Tensor:
    """(N,) float64 of maps as `Scores` has them: pred (N, H, W) levels 0..255, gt and within (N, H, W) bool.

    constant: what becomes of the levels, see `summary.stretch`. ties: whose nearest pixel, official or pranet.
    """
    low, high = (limit.double() for limit in inputs.limits(pred))
    offset, span = stretch(low, high, constant)
    if not inputs.on_cpu(pred):
        return weighted_f_batch(pred, gt, within, offset.flatten(), span.flatten(), ties)
    if within is not None:
        pred = torch.where(within, pred.double(), offset)  # p = 0 outside, also where all inside is one level
    maps = zip(pred.numpy(), gt.numpy(), offset.flatten().tolist(), span.flatten().tolist(), strict=True)
    return torch.from_numpy(np.array([weighted_f(*image, ties=ties) for image in maps]))


def weighted_f(level: np.ndarray, gt: np.ndarray, offset: float, span: float, ties: str = "official") -> float:
    """Of one map on the CPU: level (H, W) uint8 or float64, gt (H, W) bool, p = (level - offset) / span in [0, 1].

    An empty gt scores 0. Exact to rounding, but for weights below 1e-12 that pixels over 200 from the mask would add.
    """
    box = cv2.boundingRect(gt.view(np.uint8))
    if not box[2]:
        return 0.0
    lit = _lit(level, box, offset)
    distance = cv2.distanceTransform((~gt[lit]).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # the background's p (2 - 0.5^(d / 5)) is summed over all pixels, where each one of the lesion (d = 0) adds p
    total = (cv2.sumElems(level)[0] - offset * level.size) / span
    everywhere = 2 * total - _decayed(level[lit], distance, offset, span)

    near = _window(box, gt.shape, REACH)
    inside = gt[near]
    error = np.where(inside, 1 - (level[near] - offset) / span, 0.0)
    rows, columns = (slice(n.start - part.start, n.stop - part.start) for n, part in zip(near, lit, strict=True))
    spread = _spread(error, inside, distance[rows, columns], ties)
    smooth = cv2.sepFilter2D(spread, cv2.CV_64F, GAUSSIAN, GAUSSIAN, borderType=cv2.BORDER_CONSTANT)
    missed = np.minimum(error, smooth).sum(where=inside)
    area = float(np.count_nonzero(inside))
    return float(_combine(area, missed, everywhere - (area - error.sum()), EPSILON[ties]))


def _window(box: Sequence[int], shape: tuple[int, ...], margin: int) -> tuple[slice, slice]:
    """An OpenCV box x, y, width, height, widened by a margin, within an image."""
    x, y, width, height = box
    rows = slice(max(0, y - margin), min(shape[0], y + height + margin))
    return rows, slice(max(0, x - margin), min(shape[1], x + width + margin))


def _lit(level: np.ndarray, box: Sequence[int], offset: float) -> tuple[slice, slice]:
    """Where p 0.5^(d / 5) is not 0, and REACH about the mask: within FADED of it, unless black."""
    window, near = _window(box, level.shape, FADED), _window(box, level.shape, REACH)
    dark = int(offset) if level.dtype == np.uint8 else offset  # bytes beside a float would become floats first
    x, y, width, height = cv2.boundingRect((level[window] != dark).view(np.uint8))
    top, left = window[0].start + y, window[1].start + x
    rows = slice(min(near[0].start, top), max(near[0].stop, top + height))
    return rows, slice(min(near[1].start, left), max(near[1].stop, left + width))


def _decayed(level: np.ndarray, distance: np.ndarray, offset: float, span: float) -> float:
    """Sum of p 0.5^(d / 5)."""
    table = (np.arange(256) - offset) / span
    total, strip = 0.0, max(1, STRIP // level.shape[1])
    for start in range(0, len(level), strip):
        k, d = level[start : start + strip], distance[start : start + strip]
        p = cv2.LUT(k, table) if k.dtype == np.uint8 else (k - offset) / span
        # not np.vdot: on so little, BLAS waits longer for its threads than it works
        total += float(np.einsum("ij,ij->", p, DECAY.take(_squared(d), mode="clip")))
    return total


def _squared(distance: np.ndarray) -> np.ndarray:
    """The whole numbers whose float32 square roots OpenCV gives."""
    return (distance * distance + np.float32(0.5)).astype(np.intp)


def _spread(error: np.ndarray, inside: np.ndarray, distance: np.ndarray, ties: str) -> np.ndarray:
    """error, and in the ring around the foreground the error of the nearest foreground pixel within reach."""
    reach = REACH + 1
    frame = cv2.copyMakeBorder(np.where(inside, error, -1.0), *(reach,) * 4, cv2.BORDER_CONSTANT, value=-1)
    source, width = frame.ravel(), frame.shape[1]  # -1: no foreground here
    ring = np.flatnonzero((distance > 0) & (distance < RADIUS))
    dy, dx = PREFERRED[ties]
    steps, spread = dy * width + dx, error.copy()
    for start in range(0, len(ring), RING):  # else thin masks, all of whose image is ring, would take much memory
        part = ring[start : start + RING]
        y, x = np.divmod(part, error.shape[1])
        values = source[((y + reach) * width + x + reach)[:, None] + steps[_squared(distance[y, x])]]
        first = (values >= 0).argmax(1)
        spread.flat[part] = np.take_along_axis(values, first[:, None], 1)[:, 0]
    return spread


def weighted_f_batch(
    level: Tensor, gt: Tensor, within: Tensor | None, offset: Tensor, span: Tensor, ties: str = "official"
) -> Tensor:
    """(N,) float64 of maps as `weighted_f_of_maps` has them, on any device, without waiting for it.

    level uint8 or float64, p = (level - offset) / span in [0, 1] with offset and span (N,) float64; p = 0 outside.
    """
    background = ~gt if within is None else within & ~gt
    kernels = kernels_for(gt)
    if kernels is None:
        missed, false_positive = error_sums(level, gt, background, offset, offset + span, ties)
    else:
        missed, false_positive = kernels.error_sums(level, gt, background, offset, offset + span, ties == "official")
    area = gt.sum((1, 2)).double()
    score = _combine(area.clamp(min=1), missed / span, false_positive / span, EPSILON[ties])
    return torch.where(area > 0, score, torch.zeros_like(score))


def error_sums(
    level: Tensor, gt: Tensor, background: Tensor, offset: Tensor, top: Tensor, ties: str
) -> tuple[Tensor, Tensor]:
    """What `launch.error_sums` gives, by PyTorch's own operations: weighted errors of foreground and background."""
    offset, top = offset[:, None, None], top[:, None, None]
    error = (top - level.double()) * gt
    smooth = _smooth(_smooth(nearest_error(error, gt, ties)).mT).mT
    missed = (torch.minimum(error, smooth) * gt).sum((1, 2))
    weight = 2 - torch.exp(torch.sqrt(squared_distance(gt).double()) * (np.log(0.5) / 5))
    return missed, ((level - offset) * weight * background).sum((1, 2))


def _smooth(image: Tensor) -> Tensor:
    """(N, H, W) filtered by the Gaussian along its columns, zeros outside; the weights are Python's, none is copied."""
    height = image.shape[1]
    frame = F.pad(image, (0, 0, REACH, REACH))
    total = torch.zeros_like(image)
    for shift, weight in enumerate(GAUSSIAN.tolist()):
        total.add_(frame[:, shift : shift + height], alpha=weight)
    return total


Number = TypeVar("Number", float, Tensor)


def _combine(area: Number, missed: Number, false_positive: Number, epsilon: float) -> Number:
    """Equations 10-12 from sums over the foreground (its area, its weighted error) and the background."""
    true_positive = area - missed
    recall = 1 - missed / area
    precision = true_positive / (true_positive + false_positive + epsilon)
    return 2 * recall * precision / (recall + precision + epsilon)
