"""Scores of objects in volumes (X, Y, Z), and in images (H, W): overlap, distances of surfaces, lesions one by one.

Every case has a Dice, an IoU and distances, whatever is empty: who finds nothing where there is something scores 0 and
the diagonal of the volume, which is farther than any voxel can be. metrics/README.md has the table.
"""

import math
from collections.abc import Sequence

import numpy as np

from metrics import surface
from metrics.protocol import Protocol


def measure(pred: np.ndarray, gt: np.ndarray, spacing: Sequence[float], tolerance: float) -> dict[str, float]:
    """Name -> score of two masks, bool of one shape; spacing in mm (or pixels) per axis, tolerance in the same."""
    diagonal = math.hypot(*(side * step for side, step in zip(pred.shape, spacing, strict=True)))
    pred, gt = surface.cropped(pred, gt)
    hit = pred & gt
    both, either = np.count_nonzero(hit), np.count_nonzero(pred | gt)
    return {
        "Dice": 2 * both / (both + either) if either else 1.0,
        "IoU": both / either if either else 1.0,
        **_apart(pred, gt, spacing, tolerance, diagonal),
        **_lesions(pred, gt, hit),
    }


def _apart(
    pred: np.ndarray, gt: np.ndarray, spacing: Sequence[float], tolerance: float, diagonal: float
) -> dict[str, float]:
    if not gt.size:  # nothing in either
        return {"HD95": 0.0, "ASSD": 0.0, "NSD": 1.0}
    if not (pred.any() and gt.any()):
        return {"HD95": diagonal, "ASSD": diagonal, "NSD": 0.0}
    found = surface.distances(pred, gt, spacing)
    return {"HD95": surface.hd95(*found), "ASSD": surface.assd(*found), "NSD": surface.nsd(*found, tolerance)}


def _lesions(pred: np.ndarray, gt: np.ndarray, hit: np.ndarray) -> dict[str, float]:
    """Of connected components: 8 neighbours in an image, 26 in a volume. One shared voxel is a hit.

    A case without lesions has no sensitivity; without an alarm either, no precision. Who finds nothing of several
    lesions has precision 0, for else silence would be the way to a high one.
    """
    lesions, found = _components(gt, hit)
    alarms, right = _components(pred, hit)
    sensitivity = found / lesions if lesions else math.nan
    precision = right / alarms if alarms else 0.0 if lesions else math.nan
    # the harmonic mean of both, where one of them is undefined too
    f1 = 2 * sensitivity * precision / (sensitivity + precision) if found else float(not lesions and not alarms)
    names = ("lesion_sen", "lesion_prec", "lesion_F1", "false_alarms")
    return dict(zip(names, (sensitivity, precision, f1, float(alarms - right)), strict=True))


def _components(mask: np.ndarray, hit: np.ndarray) -> tuple[int, int]:
    """How many connected components a mask has, and how many of them are hit."""
    from scipy import ndimage  # takes half a second, which scores of pictures need not wait for

    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return count, len(np.unique(labels[hit]))


PROTOCOL = Protocol(
    names=("Dice", "IoU", "HD95", "ASSD", "NSD", "lesion_sen", "lesion_prec", "lesion_F1", "false_alarms"),
    measure=measure,
    stretch="raw",
    lower_is_better=frozenset({"HD95", "ASSD", "false_alarms"}),
    no_fractions=frozenset({"HD95", "ASSD", "false_alarms"}),
    penalised=frozenset({"HD95", "ASSD"}),
)
